"""Weights or logits that are not finite: every tool says so, and none names a class."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from config import load_cfg_text
from models import build_model
from tools import average_checkpoints, export, online_check, predict, stream, visualize

YML = """
DATA: {NUM_FRAMES: 2, FRAME_STRIDE: 1, IMAGE_SIZE: 16, TEST_SHORT_SIDE: 16, WORKERS: 0}
MODEL:
  BACKBONE: small
  NUM_CLASSES: 3
  SHIFT: {DIRECTION: past}
  VIT: {PATCH_SIZE: 8, HIDDEN_SIZE: 8, MLP_DIM: 8, NUM_HEADS: 1, NUM_LAYERS: 1}
TEST: {NUM_CLIPS: 1, NUM_CROPS: 1}
"""
NOT_NUMBERS, OVERFLOW = "blocks.0.mlp.fc1.bias", "head.weight"
LARGE = 3e38  # a finite float32, whose double is none

Run = Callable[[Path, Path], object]


def run_predict(checkpoint: Path, frames: Path, *words: str) -> None:
    predict.main(["--checkpoint", str(checkpoint), "--input", str(frames), *words])


def run_timeline(checkpoint: Path, frames: Path) -> None:
    run_predict(checkpoint, frames, "--timeline", str(frames.parent / "timeline"))


def run_visualize(checkpoint: Path, frames: Path) -> None:
    out = str(frames.parent / "out")
    visualize.main(["--checkpoint", str(checkpoint), "--input", str(frames), "--output", out])


def run_stream(checkpoint: Path, frames: Path) -> None:
    words = ["--checkpoint", str(checkpoint), "--input", str(frames), "--timeout", "0"]
    stream.main(words)


def run_export(checkpoint: Path, frames: Path) -> None:
    out = str(frames.parent / "model.pt2")
    export.main(["--checkpoint", str(checkpoint), "--output", out, "--clips", str(frames)])


def run_average(checkpoint: Path, frames: Path) -> None:
    out = str(frames.parent / "mean.pth")
    average_checkpoints.main(["--output", out, str(checkpoint), str(checkpoint)])


def run_online_check(checkpoint: Path, frames: Path) -> None:
    listed = frames.parent / "list.txt"
    listed.write_text(f"{frames} 0\n")
    words = ["--pairs", "1", "DATA.VAL_LIST", str(listed)]
    online_check.main(["--checkpoint", str(checkpoint), *words])


@pytest.fixture
def frames(tmp_path: Path) -> Path:
    folder = tmp_path / "frames"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(1, 4):
        noise = rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)
        Image.fromarray(noise).save(folder / f"img_{number:05d}.png")
    return folder


def write_checkpoint(path: Path, broken: str) -> Path:
    cfg = load_cfg_text(YML, "test")
    torch.manual_seed(0)
    model = build_model(cfg)
    state = model.state_dict()
    state[broken].fill_(LARGE) if broken == OVERFLOW else state[broken][3:5].fill_(torch.nan)
    content = {"state_dict": state, "config": cfg.dump(), "class_names": ["a", "b", "c"]}
    torch.save(content, path)
    return path


def last_line(run: Run, checkpoint: Path, frames: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """Return the line that a program fails with; it has named no class before."""
    with pytest.raises(SystemExit) as caught:
        run(checkpoint, frames)
    assert caught.value.code == 1
    printed = capsys.readouterr().out
    assert "top-1" not in printed
    assert "Traceback" not in printed
    assert printed.count("error: ") == 1
    return printed.splitlines()[-1]


@pytest.mark.parametrize(
    "run",
    [run_predict, run_visualize, run_stream, run_export, run_average, run_online_check],
)
def test_weights_that_are_no_numbers_are_named(
    run: Run, frames: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = write_checkpoint(frames.parent / "nan.pth", NOT_NUMBERS)
    line = last_line(run, checkpoint, frames, capsys)
    due = f"error: {checkpoint} holds weights that are not finite: {NOT_NUMBERS} (2 of 8 values)"
    assert due in line


@pytest.mark.parametrize(
    ("run", "where"),
    [
        (run_predict, "frames: "),
        (run_timeline, "frames: "),
        (run_visualize, "the clip of the frames 0 to 1: "),
        (run_stream, "frame 0: "),
        (run_export, "the model itself, on random clips, batch 1: "),
        (run_online_check, "frame 0: "),
    ],
)
def test_logits_that_are_not_finite_end_the_program_and_name_no_class(
    run: Run, where: str, frames: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = write_checkpoint(frames.parent / "large.pth", OVERFLOW)
    line = last_line(run, checkpoint, frames, capsys)
    assert where in line
    assert "logits are not finite, so that no class is the best" in line
    assert not (frames.parent / "model.pt2").exists()
