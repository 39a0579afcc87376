"""Weights to hand on: the file, its config and its card, and the way back in."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from config import load_cfg_text
from engine.checkpoints import build_description
from engine.provenance import file_sha256
from models import build_model, load_model
from models.pretrained import load_weights
from tools.export import main

YML = """
MODEL: {NAME: tokshift, NUM_CLASSES: 3, BACKBONE: small,
  VIT: {PATCH_SIZE: 8, HIDDEN_SIZE: 16, MLP_DIM: 16, NUM_HEADS: 2, NUM_LAYERS: 1}}
DATA: {NUM_FRAMES: 4, IMAGE_SIZE: 16, TEST_SHORT_SIDE: 16, PIXEL_STD: [0.25, 0.5, 0.4]}
"""
NAMES = ["up", "down", "ä 'b'"]
CLIPS = torch.randn(2, 4, 3, 16, 16, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("tools.exporting.export_check.SECONDS_TIMED", 0.0)
    cfg = load_cfg_text(YML, "small")
    torch.manual_seed(0)
    model = build_model(cfg)
    torch.nn.init.normal_(model.head.weight)
    (tmp_path / "run").mkdir()
    content = {"state_dict": model.state_dict(), **build_description(cfg, NAMES)}
    torch.save(content, tmp_path / "run" / "best.pth")
    return tmp_path / "run" / "best.pth"


def export(checkpoint: Path, *words: Any) -> Path:
    output = checkpoint.parent.parent / "out" / "mine.safetensors"
    main(["--checkpoint", str(checkpoint), "--output", str(output), *map(str, words)])
    return output


def test_file_and_folder_open_as_the_checkpoint_does(checkpoint: Path) -> None:
    output = export(checkpoint)
    ours = load_model(checkpoint)
    moved = output.parent.parent / "alone.safetensors"  # its config lies in its own header
    moved.write_bytes(output.read_bytes())
    for path in (output, output.parent, moved):
        loaded = load_model(path)
        assert loaded.cfg == ours.cfg
        assert loaded.class_names == NAMES
        assert torch.equal(loaded.model(CLIPS), ours.model(CLIPS))
        report = load_weights(build_model(ours.cfg), path)
        assert (report.class_names, len(report.loaded)) == (NAMES, len(ours.report.loaded))
        assert report.pixels == ([0.5] * 3, [0.25, 0.5, 0.4])


def test_config_and_card_say_what_the_model_is(checkpoint: Path) -> None:
    card = export(checkpoint).with_name("README.md").read_text(encoding="utf-8")
    assert "Not measured" in card
    config = json.loads((checkpoint.parent.parent / "out" / "config.json").read_text("utf-8"))
    assert (config["weights"], config["num_frames"]) == ("mine.safetensors", 4)
    assert config["id2label"] == {"0": "up", "1": "down", "2": "ä 'b'"}
    assert config["image_std"] == [0.25, 0.5, 0.4]
    results = {"top1": 91.234, "num_videos": 5, "num_listed": 5, "protocol": "10x3 views"}
    results |= {"checkpoint_sha256": file_sha256(checkpoint), "remarks": ["a remark"]}
    (checkpoint.parent / "results.json").write_text(json.dumps(results))
    card = export(checkpoint).with_name("README.md").read_text(encoding="utf-8")
    for text in ("top-1 91.23, percent, on 5 of 5 videos, measured as: 10x3 views", "- a remark"):
        assert text in card
    for text in ("class-token channels shifted: 4 of 16", "--resume mine.safetensors", "up, down"):
        assert text in card
    (checkpoint.parent / "results.json").write_text(json.dumps(results | {"checkpoint_sha256": ""}))
    assert "Not measured" in export(checkpoint).with_name("README.md").read_text("utf-8")


@pytest.mark.parametrize(
    ("name", "text"),
    [("config.json", "{}"), ("config.json", '{"weights": "x"}'), ("README.md", "# a")],
)
def test_what_is_anothers_is_not_replaced(name: str, text: str, checkpoint: Path) -> None:
    folder = checkpoint.parent.parent / "out"
    folder.mkdir()
    (folder / name).write_text(text)
    with pytest.raises(SystemExit):
        export(checkpoint)
    assert (folder / name).read_text() == text
    assert [path.name for path in folder.iterdir()] == [name]


@pytest.mark.parametrize(
    "words", [["--views", "2x1"], ["--normalized"], ["--int8"], ["--opset", 18]]
)
def test_options_of_graphs_are_refused(words: list, checkpoint: Path) -> None:
    with pytest.raises(SystemExit):
        export(checkpoint, *words)
    assert not (checkpoint.parent.parent / "out" / "mine.safetensors").exists()


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"class_names": "3"}, "no class names and preprocessing"),
        ({"class_names": "["}, "class_names in .* is not JSON"),
        ({"preprocessing": ""}, "preprocessing in .* is not JSON"),
        ({"config": "MODEL: {NAME: x}"}, r"the config in .*\n.*MODEL\.NAME"),
        ({"class_names": "[" * 100_000}, "is nested too deeply"),
    ],
)
def test_header_that_is_not_ours_is_an_error(
    changes: dict[str, str], text: str, checkpoint: Path
) -> None:
    output = export(checkpoint)
    header = {"config": YML, "class_names": json.dumps(NAMES), "preprocessing": "{}"} | changes
    save_file(load_file(output), output, header)
    with pytest.raises(ValueError, match=text):
        load_model(output)
