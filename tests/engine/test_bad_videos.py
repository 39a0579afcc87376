import logging
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from engine.bad_videos import BadVideos, TooManyBadVideosError
from engine.distributed import World

WORLD = World(rank=0, size=1, local_rank=0, device=torch.device("cpu"))
VIDEOS = [f"class/v_{number}.mp4" for number in range(10)]

TWO_PROCESSES = """
import sys
from pathlib import Path
from engine.bad_videos import BadVideos
from engine.distributed import LaunchOptions, launch

def run(world, folder):
    videos = BadVideos(Path(folder), [f"v_{number}" for number in range(10)], 0.3, world)
    videos.add({7 - world.rank: f"reason of {world.rank}"})
    videos.collect()
    if world.is_main:
        assert len(Path(folder, "bad_videos.txt").read_text().splitlines()) == 2
    videos.add({world.rank: "another"})
    try:
        videos.collect()
        outcome = "goes on"
    except ValueError as error:
        outcome = str(error)
    Path(folder, f"{world.rank}.txt").write_text(outcome)

if __name__ == "__main__":
    launch(run, LaunchOptions(), sys.argv[1])
"""


def bad_videos_of(folder: Path, max_share: float = 0.2) -> BadVideos:
    return BadVideos(folder, VIDEOS, max_share, WORLD)


def test_each_unreadable_video_is_said_once_and_kept_in_the_file(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    videos = bad_videos_of(tmp_path)
    videos.add({})
    videos.collect()
    assert not videos.file.exists()
    videos.add({7: "data/v_7.mp4: PyAV: InvalidDataError:\n  Invalid data"})
    videos.add({2: "data/v_2.mp4: gone", 7: "data/v_7.mp4: once more"})
    videos.collect()
    assert videos.file.read_text().splitlines() == [
        "class/v_2.mp4\tdata/v_2.mp4: gone",
        "class/v_7.mp4\tdata/v_7.mp4: PyAV: InvalidDataError: Invalid data",
    ]
    said = [record for record in caplog.records if "left out of the training" in record.message]
    assert len(said) == 2
    assert all(record.levelno == logging.WARNING for record in said)
    assert "2 of 10 training videos were unreadable and left out so far" in caplog.text


def test_file_of_an_earlier_part_of_the_run_is_gone_on_with(tmp_path: Path) -> None:
    (tmp_path / "bad_videos.txt").write_text("class/v_1.mp4\told\nclass/v_3.mp4\told\n")
    videos = bad_videos_of(tmp_path)
    videos.add({3: "new"})
    videos.collect()
    assert videos.file.read_text() == "class/v_1.mp4\told\nclass/v_3.mp4\tnew\n"


def test_more_than_the_share_is_an_error_that_leaves_the_file(tmp_path: Path) -> None:
    videos = bad_videos_of(tmp_path)
    videos.add({0: "a", 1: "b"})
    with pytest.raises(TooManyBadVideosError) as caught:
        videos.add({2: "c: PyAV: EndsEarlyError: decoded 3 frames"})
    assert str(caught.value) == (
        "3 of 10 training videos are unreadable, more than TRAIN.MAX_BAD_SHARE=0.2 allows; "
        f"all in {videos.file}; the last: c: PyAV: EndsEarlyError: decoded 3 frames"
    )
    assert len(videos.file.read_text().splitlines()) == 3


def test_share_of_zero_is_an_error_at_the_first_and_of_one_never(tmp_path: Path) -> None:
    with pytest.raises(TooManyBadVideosError, match="1 of 10"):
        bad_videos_of(tmp_path, max_share=0.0).add({4: "a"})
    bad_videos_of(tmp_path, max_share=1.0).add(dict.fromkeys(range(10), "a"))


@pytest.mark.ddp
def test_videos_of_all_processes_are_kept_and_counted_together(
    tmp_path: Path, run_processes: Callable[..., None]
) -> None:
    run_processes(TWO_PROCESSES, str(tmp_path), num=2, is_launched=True)
    lines = (tmp_path / "bad_videos.txt").read_text().splitlines()
    assert sorted(lines) == ["v_0\tanother", "v_1\tanother", "v_6\treason of 1", "v_7\treason of 0"]
    assert "4 of 10 training videos are unreadable" in (tmp_path / "0.txt").read_text()
