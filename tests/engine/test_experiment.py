from pathlib import Path

import pytest
import torch

from config import load_cfg_text
from config.command_line import parse_args
from engine.distributed import World
from engine.experiment import choose_checkpoint, load_experiment, print_experiment

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


def test_final_values_of_a_checkpoint_are_said_to_be_its_own(
    checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--evaluate", "--resume", str(checkpoint), "--print-config", "--seed", "3"]
    print_experiment(parse_args([*words, "OPTIM.LR=0.5", "LR_STEPS", "[3]"]))
    text = capsys.readouterr().out
    for line, source in (
        ("  NUM_CLASSES: 3", f"the config in {checkpoint}"),
        (f"OUTPUT_DIR: {checkpoint.parent}", "a test of a checkpoint"),
        ("  LR: 0.5", "the command line"),
        ("  MILESTONES: [3.0]", "the command line"),
        ("SEED: 3", "--seed"),
    ):
        assert f"{line}  # {source}\n" in text
    assert load_cfg_text(text, "text") == load_experiment(
        parse_args([*words, "OPTIM.LR", "0.5", "LR_STEPS=[3]"])
    )


# Which checkpoint a run goes on from


def chosen(folder: Path, *words: str) -> str | None:
    yml = folder / "a.yml"
    yml.write_text(YML.format(folder=folder))
    args = parse_args(["--cfg", str(yml), "--output", str(folder / "run"), *words])
    world = World(rank=0, size=1, local_rank=0, device=torch.device("cpu"))
    return choose_checkpoint(args, load_experiment(args), world)


def write(folder: Path, *names: str) -> None:
    (folder / "run").mkdir(exist_ok=True)
    for name in names:
        torch.save({"epoch": 1}, folder / "run" / name)


def test_run_without_resume_is_fresh_whatever_is_there(tmp_path: Path) -> None:
    write(tmp_path, "last.pth")
    assert chosen(tmp_path) is None


@pytest.mark.parametrize("words", [("--resume", "auto"), ("--resume", "auto", "--tune_from", "a")])
def test_auto_begins_where_there_is_no_checkpoint_and_goes_on_where_there_is(
    words: tuple[str, ...], tmp_path: Path
) -> None:
    assert chosen(tmp_path, *words) is None
    write(tmp_path, "last.pth", "last.1.pth", "best.pth")
    assert chosen(tmp_path, *words) == str(tmp_path / "run" / "last.pth")
    (tmp_path / "run" / "last.pth").write_bytes(b"cut short")
    assert chosen(tmp_path, *words) == str(tmp_path / "run" / "last.1.pth")
    (tmp_path / "run" / "last.1.pth").write_bytes(b"")
    with pytest.raises(ValueError, match=r"no checkpoint in .* can be read"):
        chosen(tmp_path, *words)  # a fresh run in its place would be no answer


def test_bare_resume_and_a_test_need_a_checkpoint(tmp_path: Path) -> None:
    for words in (("--resume",), ("--evaluate", "--resume"), ("--evaluate", "--resume", "auto")):
        with pytest.raises(ValueError, match="found no checkpoint in the run folder"):
            chosen(tmp_path, *words)


def test_processes_that_are_started_again_go_on_whatever_was_asked_for_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    assert chosen(tmp_path) is None
    assert chosen(tmp_path, "--resume", "elsewhere/last.pth") == "elsewhere/last.pth"
    write(tmp_path, "last.pth")
    for words in ((), ("--resume", "elsewhere/last.pth"), ("--resume", "auto")):
        assert chosen(tmp_path, *words) == str(tmp_path / "run" / "last.pth")
