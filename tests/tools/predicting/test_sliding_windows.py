"""Where windows lie, and clips whose frames come by once."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from config import load_cfg_text
from datasets.live import LiveFrame
from datasets.readers import UnreadableVideoError, open_reader
from tests.tools.test_predict import YML
from tools.predicting.sliding_windows import (
    Pictures,
    at_rate,
    clip_span,
    clips_in_passing,
    numbered_frames,
    place_windows,
    window_firsts,
)


def test_windows_follow_each_other_and_the_last_ends_with_the_video() -> None:
    assert window_firsts(20, length=8, hop=4).tolist() == [0, 4, 8, 12]
    assert window_firsts(21, length=8, hop=4).tolist() == [0, 4, 8, 12, 13]
    assert window_firsts(8, length=8, hop=4).tolist() == [0]


@pytest.mark.parametrize(
    ("keys", "span"),
    [
        ("SAMPLING: dense", 8),
        ("SAMPLING: tsm_dense", 64),
        ("SAMPLING: linspace, WINDOW: paddle, FPS: 15.0", 64),  # 32 * 4 / 30 seconds
    ],
)
def test_window_is_the_span_of_a_clip(keys: str, span: int) -> None:
    cfg = load_cfg_text(YML.replace("NUM_FRAMES: 4", f"NUM_FRAMES: 4, {keys}"), "t")
    assert clip_span(cfg) == span


def test_seconds_are_of_the_videos_own_rate() -> None:
    cfg = at_rate(load_cfg_text(YML, "t"), 10.0)
    firsts, length = place_windows(cfg, num_frames=30, window=1.0, hop=0.5)
    assert (firsts.tolist(), length) == ([0, 5, 10, 15, 20], 10)
    firsts, length = place_windows(cfg, num_frames=30)
    assert (firsts[:3].tolist(), length) == ([0, 4, 8], 8)
    firsts, length = place_windows(cfg, num_frames=6, window=1.0)
    assert (firsts.tolist(), length) == ([0], 6)


def test_clips_come_when_their_last_frame_has_and_nothing_is_kept_for_long() -> None:
    clips = np.array([[4, 6, 9], [0, 1, 2], [2, 3, 5], [5, 5, 5]])
    came: list[int] = []

    def frames() -> Iterator[LiveFrame]:
        for number in (0, 1, 2, 3, 4, 5, 6, 9):
            came.append(number)
            yield LiveFrame(number, 0.0, np.full((1, 1, 3), number, np.uint8))

    seen: list[tuple[int, int]] = []
    kept: list[Pictures] = []
    for place, pictures in clips_in_passing(frames(), clips):
        assert {int(pictures[n][0, 0, 0]) for n in clips[place]} == {*clips[place].tolist()}
        seen.append((place, came[-1]))
        kept.append(pictures)
    assert seen == [(1, 2), (2, 5), (3, 5), (0, 9)]
    assert sorted(kept[-1]) == [4, 5, 6, 9]


def test_folder_whose_frames_change_size_is_unreadable(tmp_path: Path) -> None:
    for number, side in enumerate((16, 16, 20), start=1):
        Image.new("RGB", (side, 16)).save(tmp_path / f"img_{number:05d}.jpg")
    with pytest.raises(UnreadableVideoError, match="frame 2 is 20 x 16 pixels, those before it 16"):
        list(numbered_frames(open_reader(tmp_path), None, []))
