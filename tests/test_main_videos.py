"""Training and testing on video files as they are, some of them broken."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from config import load_cfg
from datasets.annotations import VideoRecord, read_list
from datasets.decode.pyav_frames import decode_frames
from datasets.loaders import EpochSampler, build_view_loader
from datasets.readers import FrameFolder, VideoFile
from engine.scores import Scores
from models import build_model
from ops.pixels import normalize
from tests.ranks import Ranks
from tests.test_main import Experiment, assert_same
from tests.test_main_errors import assert_clear
from tools.extract_frames import FrameOptions, write_frames

av = pytest.importorskip("av")

TESTED = ("TEST.AFTER_TRAINING", True)


def encode(folder: Path, target: Path) -> None:
    """Make a lossless video file of a folder of frames."""
    with av.open(str(target), "w") as container:
        stream = container.add_stream("libx264rgb", rate=25, options={"qp": "0", "g": "8"})
        stream.width, stream.height, stream.pix_fmt = 24, 20, "rgb24"
        for file in sorted(folder.iterdir()):
            frame = av.VideoFrame.from_image(Image.open(file))
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


class VideoExperiment(Experiment):
    """The tiny data set, each video a file beside its folder of frames; lists name the files."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        for split in ("train", "val"):
            lines = []
            for record in read_list(folder / f"{split}.txt", num_classes=3):
                frames = self.frames / record.path
                encode(frames, frames.with_suffix(".mkv"))
                lines.append(f"{record.path}.mkv {record.num_frames} {record.label}\n")
            (folder / f"{split}_files.txt").write_text("".join(lines))

    @property
    def files(self) -> tuple[object, ...]:
        """The words that choose the lists of files."""
        lists = (self.folder / f"{split}_files.txt" for split in ("train", "val"))
        train, val = lists
        return "DATA.TRAIN_LIST", train, "DATA.VAL_LIST", val

    def bad_videos(self) -> dict[str, str]:
        lines = (self.run_folder / "bad_videos.txt").read_text().splitlines()
        return dict(line.split("\t") for line in lines)


@pytest.fixture(scope="module")
def encoded(tmp_path_factory: pytest.TempPathFactory) -> VideoExperiment:
    """Video files to be looked at only."""
    return VideoExperiment(tmp_path_factory.mktemp("encoded"))


@pytest.fixture
def experiment(tmp_path: Path) -> VideoExperiment:
    return VideoExperiment(tmp_path)


def test_run_on_files_is_that_on_their_frames_to_the_last_bit(
    encoded: VideoExperiment, tmp_path: Path
) -> None:
    folders, files = tmp_path / "folders", tmp_path / "files"
    encoded.run("--output", folders, *TESTED)
    encoded.run(
        "--output", files, *encoded.files, *TESTED
    )  # lossless: only where they are read from
    ours, expected = (encoded.checkpoint(folder=folder) for folder in (files, folders))
    assert_same(ours["state_dict"], expected["state_dict"])
    scores, reference = (Scores.load(folder / "scores.npz") for folder in (files, folders))
    np.testing.assert_array_equal(scores.view_logits, reference.view_logits)


@pytest.mark.parametrize("is_counted", [True, False])
def test_list_may_hold_folders_and_files_counted_or_not(
    is_counted: bool, encoded: VideoExperiment, tmp_path: Path
) -> None:
    lines = [
        f"{record.path}{'.mkv' if number % 2 else ''} "
        f"{f'{record.num_frames} ' if is_counted else ''}{record.label}\n"
        for number, record in enumerate(read_list(encoded.folder / "val.txt", num_classes=3))
    ]
    (tmp_path / "mixed.txt").write_text("".join(lines))
    words = ("TRAIN.EPOCHS", 1, *TESTED, "DATA.VAL_LIST")
    encoded.run("--output", tmp_path / "mixed", *words, tmp_path / "mixed.txt")
    encoded.run("--output", tmp_path / "plain", *words, encoded.folder / "val.txt")
    scores, reference = (Scores.load(tmp_path / name / "scores.npz") for name in ("mixed", "plain"))
    np.testing.assert_array_equal(scores.view_logits, reference.view_logits)


def test_extracted_frames_give_the_same_views_and_logits_within_what_jpeg_costs(
    make_clip: Callable[..., Path], encoded: VideoExperiment, tmp_path: Path
) -> None:
    path = make_clip("x264.mp4")
    (tmp_path / "frames").mkdir()
    options = FrameOptions(short_side=0, quality=95)
    write_frames(decode_frames(path), tmp_path / "frames", options)
    assert len(VideoFile(path)) == len(FrameFolder(tmp_path / "frames")) == 61
    cfg = load_cfg(encoded.config, ["DATA.ROOT", "", "TEST.NUM_CLIPS", "10"])
    records = [VideoRecord(str(place), 61, 0, 1) for place in (path, tmp_path / "frames")]
    of_file, of_frames = next(iter(build_view_loader(cfg, records, "test", 0, 1)))
    assert torch.equal(of_file.view_of, of_frames.view_of)
    cost = (of_file.distinct.float() - of_frames.distinct.float()).abs().mean()
    of_next = (of_file.distinct[:, 1:].float() - of_file.distinct[:, :-1].float()).abs().mean()
    assert cost < of_next / 4  # one frame off would cost more
    torch.manual_seed(0)
    model = build_model(cfg).eval()
    torch.nn.init.normal_(model.head.weight)
    logits, reference = (
        model(normalize(views.distinct, cfg.DATA.PIXEL_MEAN, cfg.DATA.PIXEL_STD))
        for views in (of_file, of_frames)
    )
    assert (logits - reference).abs().max() < 0.1 * reference.std()


def cut(path: Path, share: float = 0.6) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])


@pytest.mark.parametrize("workers", [0, 1])
def test_broken_files_are_left_out_of_the_training_in_plain_sight(
    workers: int, experiment: VideoExperiment
) -> None:
    cut(experiment.frames / "swim/train_0.mkv")
    (experiment.frames / "run/train_3.mkv").unlink()
    text = experiment.run("-j", workers, *experiment.files, "TRAIN.MAX_BAD_SHARE", 0.25)
    bad = experiment.bad_videos()
    assert sorted(bad) == ["run/train_3.mkv", "swim/train_0.mkv"]
    assert re.search(r"swim/train_0\.mkv: PyAV: .*the header promises", bad["swim/train_0.mkv"])
    assert bad["run/train_3.mkv"].endswith("run/train_3.mkv: No such file or directory")
    assert text.count("left out of the training: ") == 2
    assert "2 of 12 training videos were unreadable and left out so far" in text
    losses = [entry["loss"] for entry in experiment.log("train")]
    assert len(losses) == 6
    assert all(np.isfinite(losses))


def test_more_broken_files_than_allowed_end_the_training(experiment: VideoExperiment) -> None:
    cut(experiment.frames / "swim/train_0.mkv")
    code, text = experiment.outcome(*experiment.files)
    assert code == 1
    assert_clear(text, r"1 of 12 training videos are unreadable, more than TRAIN\.MAX_BAD_SHARE")
    assert list(experiment.bad_videos()) == ["swim/train_0.mkv"]


def test_count_in_the_list_that_is_too_high_is_an_error_that_says_both(
    experiment: VideoExperiment,
) -> None:
    listed = experiment.folder / "val_files.txt"
    listed.write_text(listed.read_text().replace("run/val_1.mkv 30 ", "run/val_1.mkv 900 "))
    code, text = experiment.outcome(*experiment.files, "TRAIN.EPOCHS", 1, *TESTED)
    assert code == 1
    assert_clear(text, r"run/val_1\.mkv: PyAV: no frame \d+: the file holds 30 frames")


def test_uncounted_broken_file_ends_the_test_and_not_the_training(
    experiment: VideoExperiment,
) -> None:
    for split in ("train", "val"):
        listed = experiment.folder / f"{split}_files.txt"
        listed.write_text(re.sub(r" \d+ (\d)\n", r" \1\n", listed.read_text()))
    (experiment.frames / "swim/train_0.mkv").write_bytes(b"no video")
    words = (*experiment.files, "TRAIN.EPOCHS", 1)
    code, text = experiment.outcome(*words)
    assert code == 1
    assert_clear(text, r"1 of 12 videos are unreadable:\n  .*swim/train_0\.mkv: PyAV: Invalid")
    experiment.run(*words, "TRAIN.MAX_BAD_SHARE", 0.1)
    assert list(experiment.bad_videos()) == ["swim/train_0.mkv"]
    (experiment.frames / "run/val_0.mkv").write_bytes(b"no video")
    code, text = experiment.outcome(*words, "TRAIN.MAX_BAD_SHARE", 0.1)
    assert code == 1
    assert_clear(text, r"1 of 6 videos are unreadable:\n  .*run/val_0\.mkv: PyAV: Invalid")
    words = (*words, *TESTED, "TRAIN.MAX_BAD_SHARE", 0.1, "TEST.SKIPS_UNREADABLE", True)
    assert "test of 5 of 6 videos" in experiment.run(*words)


@pytest.mark.ddp
def test_process_whose_whole_batch_is_broken_keeps_step_with_the_other(
    experiment: VideoExperiment, ranks: Ranks
) -> None:
    records = read_list(experiment.folder / "train_files.txt", num_classes=3)
    first_batch = list(EpochSampler(len(records), rank=1, world_size=2, seed=0))[:2]
    broken = [records[key[1]].path for key in first_batch]
    for path in broken:
        cut(experiment.frames / path, share=0.3)
    words = (*experiment.files, "TRAIN.CLIPS_PER_GPU", 2, "TRAIN.MAX_BAD_SHARE", 0.2)
    done = ranks.run(2, "main_ddp_shift.py", "--cfg", experiment.config, *words)
    assert done.returncode == 0, done.stdout
    assert sorted(experiment.bad_videos()) == sorted(broken)
    assert "epoch 2 validated" in done.stdout
    weights: dict[str, Any] = experiment.checkpoint()["state_dict"]
    assert all(torch.isfinite(weight).all() for weight in weights.values())
