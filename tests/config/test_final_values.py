"""--print-config: what is printed loads again and says where each value comes from."""

from pathlib import Path

import pytest

from config import load_cfg, load_cfg_text
from config.command_line import check_command_line
from config.final_values import final_values
from config.loading import KEYS, load_with_sources

CONFIG = Path(__file__).parents[2] / "config"
RECIPES = sorted(CONFIG.rglob("*.yml"))


def sources_in(text: str) -> dict[str, str]:
    """Return what is behind the # of each line, by the name and the indent of its key."""
    lines = [line for line in text.splitlines() if "  # " in line]
    return {line.partition(":")[0]: line.rpartition("  # ")[2] for line in lines}


def printed(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    with pytest.raises(SystemExit, match="0"):
        check_command_line([*words, "--print-config"])
    return capsys.readouterr().out


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_final_values_of_each_recipe_load_again(path: Path, tmp_path: Path) -> None:
    cfg, sources = load_with_sources(path)
    text = final_values(cfg, sources, str(path))
    assert len(sources_in(text)) <= text.count("  # ") == len(KEYS)
    copy = tmp_path / "final.yml"
    copy.write_text(text)
    assert load_cfg(copy) == cfg


@pytest.mark.parametrize(
    "value",
    [
        "a # b",
        "yes",
        "null",
        "010",
        "'",
        '"',
        "[x]",
        "- a",
        "a: b",
        "é \\ ü",
        "x" * 500,
        "{}",
        " a ",
    ],
)
def test_odd_texts_come_back(value: str) -> None:
    cfg = load_cfg(CONFIG / "quickstart.yml", ["DATA.NAME", value, "DATA.CLASS_NAMES", value])
    again = load_cfg_text(final_values(cfg, {"DATA.NAME": "a\nb: 3"}, "a\nb: 3"), "text")
    assert (value, value) == (again.DATA.NAME, again.DATA.CLASS_NAMES)


def test_base_is_named_as_a_user_would_type_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(CONFIG.parent)
    mine = "config/k400/k400_vit_8x32_224.yml"
    found = sources_in(printed(capsys, "--cfg", mine))
    base = "config/k400/k400_tokshift_div4_8x32_base_224.yml"
    assert found["  REFERENCE_LR"] == f"{base} (_BASE_ of {mine})"


def test_each_value_names_the_file_or_the_flag_that_set_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base, mine = tmp_path / "base.yml", tmp_path / "mine.yml"
    base.write_text("OPTIM: {LR: 0.3, GAMMA: 0.5}\nTRAIN: {EPOCHS: 5}\n")
    mine.write_text("_BASE_: base.yml\nOPTIM: {LR: 0.2}\n")
    words = ["--cfg", str(mine), "--seed", "4", "--amp", "-j", "2"]
    text = printed(capsys, *words, "TRAIN.AMP=fp16", "EPOCH", "7", "OPTIM.MIN_LR=0.0")
    assert "WARNING" not in text
    found = sources_in(text)
    assert found["  LR"] == str(mine)
    assert found["  GAMMA"] == f"{base} (_BASE_ of {mine})"
    assert found["SEED"] == "--seed"
    assert (found["  WORKERS"], found["  AMP"]) == ("--workers", "the command line")
    assert (found["  EPOCHS"], found["  MIN_LR"]) == ("the command line", "the command line")
    assert found["  MOMENTUM"] == "default"
    assert found["    HIDDEN_SIZE"] == "MODEL.BACKBONE"
    assert found["OUTPUT_DIR"] == "the name of the experiment"


def test_fault_in_the_config_is_told_in_place_of_its_values(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit, match="1"):
        check_command_line(
            ["--cfg", str(CONFIG / "quickstart.yml"), "--print-config", "TRAIN.EPOCHS=0"]
        )
    assert capsys.readouterr().out.startswith("error: the command line:\n  TRAIN.EPOCHS=0")
