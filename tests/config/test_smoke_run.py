"""--max-iterations: what it makes of a config."""

from pathlib import Path

import pytest

from config import load_cfg, load_cfg_text
from config.command_line import check_command_line
from config.smoke_run import smoke_iterations

RECIPE = Path(__file__).parents[2] / "config/quickstart.yml"
SWA = ["TRAIN.SWA.START_EPOCH", "12", "TRAIN.SWA.LR", "0.001", "TRAIN.SWA.CYCLE_EPOCHS", "2"]


def test_smoke_run_is_one_epoch_of_the_whole_path_in_a_folder_of_its_own() -> None:
    cfg = load_cfg(RECIPE, ["TRAIN.MAX_ITERATIONS", "3", "TEST.AFTER_TRAINING=False", *SWA])
    assert (cfg.TRAIN.EPOCHS, cfg.TRAIN.SWA.START_EPOCH, cfg.TEST.AFTER_TRAINING) == (1, 1, True)
    assert cfg.OUTPUT_DIR == "runs/quickstart_smoke"
    assert smoke_iterations(cfg.dump()) == 3


def test_saved_config_of_a_smoke_run_is_read_as_it_is() -> None:
    cfg = load_cfg(RECIPE, ["TRAIN.MAX_ITERATIONS", "3", *SWA])
    assert load_cfg_text(cfg.dump(), "a checkpoint") == cfg


def test_real_run_is_left_as_it_is() -> None:
    cfg = load_cfg(RECIPE)
    assert (cfg.OUTPUT_DIR, cfg.TRAIN.EPOCHS) == ("runs/quickstart", 25)
    assert smoke_iterations(cfg.dump()) == 0


@pytest.mark.parametrize("saved", [None, {"TRAIN": 3}, "", b"x", "MAX_ITERATIONS: 3", "  MAX_I"])
def test_config_of_others_is_no_smoke_run(saved: object) -> None:
    assert smoke_iterations(saved) == 0


@pytest.mark.parametrize(
    ("folder", "expected"),
    [("", "_smoke"), ("runs/x", "runs/x_smoke"), ("x/", "x_smoke"), (".", "_smoke")],
)
def test_folder_is_beside_the_real_run_s(folder: str, expected: str) -> None:
    cfg = load_cfg(RECIPE, ["OUTPUT_DIR", folder, "TRAIN.MAX_ITERATIONS=1"])
    assert cfg.OUTPUT_DIR.endswith(expected)


def test_fault_of_the_real_run_is_told_in_the_smoke_run_too() -> None:
    with pytest.raises(ValueError, match=r"TRAIN.SWA.START_EPOCH=99; it must be at most"):
        load_cfg(RECIPE, ["TRAIN.MAX_ITERATIONS=1", "TRAIN.SWA.START_EPOCH=99"])


def test_flag_is_told_as_what_set_the_values(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--cfg", str(RECIPE), "--max-iterations", "2", "--output", "x", "--print-config"]
    with pytest.raises(SystemExit, match="0"):
        check_command_line([*words, "TRAIN.EPOCHS=9"])
    text = capsys.readouterr().out
    for line in ("  MAX_ITERATIONS: 2", "  EPOCHS: 1", "OUTPUT_DIR: x_smoke"):
        assert f"{line}  # --max-iterations\n" in text


@pytest.mark.parametrize("number", ["0", "-1", "x", "1.5"])
def test_number_of_iterations_is_at_least_one(
    number: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        check_command_line(["--cfg", str(RECIPE), "--max-iterations", number])
    assert "argument --max-iterations: " in capsys.readouterr().err
