from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from config import load_cfg_text
from datasets.live import Every
from models import build_model, load_model
from tools.online_check import compare_latency, main, measure_accuracy, without_shift

YML = """
DATA:
  ROOT: {root}
  VAL_LIST: {root}/list.txt
  NUM_FRAMES: 4
  FRAME_STRIDE: 1
  IMAGE_SIZE: 16
  TEST_SHORT_SIDE: 16
MODEL:
  BACKBONE: small
  NUM_CLASSES: 2
  SHIFT: {{DIRECTION: past}}
  VIT: {{PATCH_SIZE: 8, HIDDEN_SIZE: 8, MLP_DIM: 8, NUM_HEADS: 1, NUM_LAYERS: 2}}
"""


@pytest.fixture
def experiment(tmp_path: Path) -> Path:
    """Dark and bright videos, and weights whose answer is bright for each of them."""
    for video, grey in enumerate((0, 255, 255)):
        (tmp_path / f"v{video}").mkdir()
        for number in range(1, 7):
            picture = np.full((16, 16, 3), grey, dtype=np.uint8)
            Image.fromarray(picture).save(tmp_path / f"v{video}" / f"img_{number:05d}.png")
    (tmp_path / "list.txt").write_text("v0 6 0\nv1 6 1\nv2 6 1\n")
    (tmp_path / "past.yml").write_text(YML.format(root=tmp_path))
    cfg = load_cfg_text(YML.format(root=tmp_path), "test")
    model = build_model(cfg)
    torch.nn.init.zeros_(model.head.weight)
    model.head.bias.data = torch.tensor([0.0, 1.0])
    content = {"state_dict": model.state_dict(), "config": cfg.dump()}
    torch.save(content, tmp_path / "past.pth")
    return tmp_path


def test_accuracy_is_the_share_of_last_answers_that_are_right(experiment: Path) -> None:
    cfg = load_cfg_text(YML.format(root=experiment), "test")
    accuracy = measure_accuracy(load_model(experiment / "past.pth", cfg), Every(2))
    assert accuracy == {
        "mean of all so far": pytest.approx(200 / 3),
        "mean of the last 4": pytest.approx(200 / 3),
    }


def test_both_figures_are_printed(experiment: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["--checkpoint", str(experiment / "past.pth"), "--pairs", "2"])
    out = capsys.readouterr().out
    assert "times as long" in out
    assert "top-1 after the last frame, mean of the last 4: 66.67" in out
    main(["--cfg", str(experiment / "past.yml"), "--pairs", "2"])
    out = capsys.readouterr().out
    assert "times as long" in out
    assert "top-1" not in out


def test_the_image_model_is_the_same_without_the_shift() -> None:
    for overrides in (
        ["MODEL.NAME", "tokshift"],
        ["MODEL.NAME", "tsm", "MODEL.BACKBONE", "resnet18", "MODEL.TSM.WIDTH", "8"],
    ):
        cfg = load_cfg_text(YML.format(root="."), "test", overrides)
        shapes = [
            {name: value.shape for name, value in build_model(each).state_dict().items()}
            for each in (cfg, without_shift(cfg))
        ]
        assert shapes[0] == shapes[1]


def test_times_come_in_pairs() -> None:
    times = compare_latency(load_cfg_text(YML.format(root="."), "test"), num_pairs=3)
    assert times.keys() == {"online", "image", "ratio"}
    assert min(times.values()) > 0
