import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from config import load_cfg_text
from engine.scores import Scores
from main_ddp_shift import main as train_or_test
from models import build_model
from tools.temporal_check import MEANING, InEveryOrder, compare, frame_orders, main

NUM_FRAMES = 4
YML = """
DATA:
  ROOT: {root}
  VAL_LIST: {root}/list.txt
  NUM_FRAMES: 4
  FRAME_STRIDE: 1
  IMAGE_SIZE: 16
  TEST_SHORT_SIDE: 16
  WORKERS: 0
MODEL:
  BACKBONE: small
  NUM_CLASSES: 3
  VIT: {{PATCH_SIZE: 8, HIDDEN_SIZE: 8, MLP_DIM: 8, NUM_HEADS: 1, NUM_LAYERS: 2}}
TEST:
  NUM_CLIPS: 2
  NUM_CROPS: 1
"""


@pytest.fixture
def experiment(tmp_path: Path) -> Path:
    """A folder with a yml, four videos of noise, and random weights of vit and tokshift."""
    rng = np.random.default_rng(0)
    for video in range(4):
        (tmp_path / f"v{video}").mkdir()
        for number in range(1, 9):
            noise = rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)
            Image.fromarray(noise).save(tmp_path / f"v{video}" / f"img_{number:05d}.png")
    (tmp_path / "list.txt").write_text("".join(f"v{k} 8 {k % 3}\n" for k in range(4)))
    text = YML.format(root=tmp_path)
    (tmp_path / "check.yml").write_text(text)
    for name in ("vit", "tokshift"):
        cfg = load_cfg_text(text, "test", ["MODEL.NAME", name])
        torch.manual_seed(0)
        model = build_model(cfg)
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.5)
        torch.save({"state_dict": model.state_dict()}, tmp_path / f"{name}.pth")
    return tmp_path


def run(experiment: Path, name: str) -> list[dict[str, Any]]:
    words = ["--checkpoint", experiment / f"{name}.pth", "--cfg", experiment / "check.yml"]
    words += ["--json", experiment / "out.json", "MODEL.NAME", name]
    main([str(word) for word in words])
    return json.loads((experiment / "out.json").read_text())["rows"]


def test_a_model_of_single_frames_answers_alike_in_every_order(
    experiment: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = run(experiment, "vit")
    assert [row["frames"] for row in rows] == [*frame_orders(0)]
    assert [row["same_answer"] for row in rows[:3]] == [100.0, 100.0, 100.0]
    shown = capsys.readouterr().out
    assert MEANING in shown
    assert "one frame repeated" in shown


def test_the_true_order_gives_the_figures_of_the_test(experiment: Path) -> None:
    rows = run(experiment, "tokshift")
    words = ["--cfg", experiment / "check.yml", "--evaluate", "--output", experiment / "run"]
    words += ["--resume", experiment / "tokshift.pth", "MODEL.NAME", "tokshift"]
    train_or_test([str(word) for word in words])
    results = json.loads((experiment / "run/results.json").read_text())
    for key in ("top1", "top5", "mean_class_accuracy"):
        assert rows[0][key] == results[key]


def test_orders_move_frames_and_nothing_else() -> None:
    clips = torch.arange(2 * NUM_FRAMES).reshape(2, NUM_FRAMES, 1, 1, 1)
    seen = {name: order(clips).flatten(1).tolist() for name, order in frame_orders(3).items()}
    assert seen["as it is"] == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert seen["reversed"] == [[3, 2, 1, 0], [7, 6, 5, 4]]
    assert seen["one frame repeated"] == [[2] * 4, [6] * 4]
    assert [sorted(clip) for clip in seen["shuffled"]] == seen["as it is"]
    assert frame_orders(3)["shuffled"](clips).flatten(1).tolist() == seen["shuffled"]


def test_every_order_has_its_own_logits() -> None:
    model = torch.nn.Flatten()
    clips = torch.randn(2, NUM_FRAMES, 1, 1, 1)
    both = InEveryOrder(model, [lambda clips: clips, lambda clips: clips.flip(1)])(clips)
    assert torch.equal(both[:, :NUM_FRAMES], both[:, NUM_FRAMES:].flip(1))


def test_answers_are_compared_with_the_true_order() -> None:
    def scores(answers: list[int]) -> Scores:
        logits = np.eye(3, dtype=np.float32)[answers][:, None]
        return Scores(np.array(["a", "b"]), np.array([0, 1]), logits, 1, 1)

    rows = compare({"true": scores([0, 1]), "spoilt": scores([0, 2])}, average_logits=True)
    assert [(row["top1"], row["same_answer"]) for row in rows] == [(100, 100), (50, 50)]


def test_a_missing_checkpoint_is_an_error(
    experiment: Path, caplog: pytest.LogCaptureFixture
) -> None:
    words = ["--checkpoint", "none.pth", "--cfg", experiment / "check.yml"]
    with pytest.raises(SystemExit):
        main([str(word) for word in words])


def test_broken_videos_are_not_left_out_in_silence(
    experiment: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (experiment / "v1/img_00004.png").write_bytes(b"broken")
    with pytest.raises(SystemExit):
        run(experiment, "vit")
    assert "1 of 4 videos are unreadable; mend them" in capsys.readouterr().out
