from pathlib import Path

import pytest
import torch

from config.command_line import parse_args
from engine.experiment import load_experiment

YML = """
OUTPUT_DIR: {folder}/elsewhere
DATA: {{ROOT: {folder}/data, VAL_LIST: {folder}/val.txt, GENERATE_TOY: True}}
MODEL: {{NAME: tsm, BACKBONE: resnet50, NUM_CLASSES: 3}}
"""


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    (tmp_path / "run").mkdir()
    path = tmp_path / "run" / "best.pth"
    torch.save({"state_dict": {}, "config": YML.format(folder=tmp_path)}, path)
    return path


def test_config_in_a_checkpoint_says_what_to_read_and_not_where_to_write(checkpoint: Path) -> None:
    cfg = load_experiment(parse_args(["--evaluate", "--resume", str(checkpoint)]))
    assert str(checkpoint.parent) == cfg.OUTPUT_DIR
    assert not cfg.DATA.GENERATE_TOY
    assert str(checkpoint.parents[1] / "data") == cfg.DATA.ROOT


@pytest.mark.parametrize("words", [["--output", "/x"], ["OUTPUT_DIR", "/x"]])
def test_what_the_command_line_says_is_obeyed(words: list[str], checkpoint: Path) -> None:
    words += ["DATA.GENERATE_TOY", "True"]
    cfg = load_experiment(parse_args(["--evaluate", "--resume", str(checkpoint), *words]))
    assert (cfg.OUTPUT_DIR, cfg.DATA.GENERATE_TOY) == ("/x", True)


def test_config_that_the_user_names_is_obeyed(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "a.yml").write_text(YML.format(folder=tmp_path))
    words = ["--evaluate", "--resume", str(checkpoint), "--cfg", str(tmp_path / "a.yml")]
    cfg = load_experiment(parse_args(words))
    assert str(tmp_path / "elsewhere") == cfg.OUTPUT_DIR
    assert cfg.DATA.GENERATE_TOY
