"""KEY VALUE and KEY=VALUE on a command line."""

from pathlib import Path

import pytest

from config import begins_override, load_cfg
from config.command_line import parse_args
from config.overrides import override_pairs
from tools import flops, predict

RECIPE = Path(__file__).parents[2] / "config/quickstart.yml"


@pytest.mark.parametrize(
    "words",
    [
        ["OPTIM.LR", "0.5", "DATA.ROOT", "a=b"],
        ["OPTIM.LR=0.5", "DATA.ROOT", "a=b"],
        ["OPTIM.LR", "0.5", "DATA.ROOT=a=b"],
        ["OPTIM.LR=0.5", "DATA.ROOT=a=b"],
    ],
)
def test_both_forms_stand_for_the_same_in_any_mixture(words: list[str]) -> None:
    assert override_pairs(words) == [("OPTIM.LR", "0.5"), ("DATA.ROOT", "a=b")]


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("OPTIM.MILESTONES=[10, 15]", [10.0, 15.0]),
        ("OPTIM.MILESTONES=10,15", [10.0, 15.0]),
        ("LR_STEPS=[10,15]", [10.0, 15.0]),
        ("AUG.HUE=[-0.5, 0.5]", [-0.5, 0.5]),
        ("DATA.VAL_LIST=lists/fold=1/val=all.txt", "lists/fold=1/val=all.txt"),
        ("DATA.CLASS_NAMES=", ""),
        ("TRAIN.FREEZE=all but last 4", "all but last 4"),
        ("OPTIM.MIN_LR=-0.0", 0.0),
    ],
)
def test_value_is_read_as_behind_a_space(word: str, value: object) -> None:
    key, _, text = word.partition("=")
    assert load_cfg(RECIPE, [word]) == load_cfg(RECIPE, [key, text])
    name = "OPTIM.MILESTONES" if key == "LR_STEPS" else key
    section, name = name.split(".")
    assert load_cfg(RECIPE, [word])[section][name] == value


def test_key_where_a_value_is_due_stays_a_value() -> None:
    assert load_cfg(RECIPE, ["DATA.NAME", "OPTIM.LR=3"]).DATA.NAME == "OPTIM.LR=3"


@pytest.mark.parametrize(
    "words", [["OPTIM.LR"], ["SEED=1", "OPTIM.LR"], ["OPTIM.LR", "=", "0.1"], ["OPTIM.LR", "="]]
)
def test_key_without_a_value_is_an_error(words: list[str]) -> None:
    with pytest.raises(ValueError, match=r"KEY=VALUE, without spaces, .*'OPTIM.LR' has no value"):
        load_cfg(RECIPE, words)


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("OPTIM.LRR=1", "unknown key 'OPTIM.LRR'; the nearest valid key is OPTIM.LR"),
        ("=1", "unknown key ''"),
        ("TRAIN.EPOCHS=1=2", "TRAIN.EPOCHS takes an int .* got '1=2'"),
    ],
)
def test_fault_is_told_by_its_key(word: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        load_cfg(RECIPE, [word])


def test_words_that_set_keys_are_known_among_others() -> None:
    begin = ["OPTIM.LR", "OPTIM.LR=0.1", "SEED=", "LR_STEPS=[1]"]
    others = ["a.mp4", "name=clip.mp4", "optim.lr=0.1", "", "=", "OPTIM=1"]
    assert [word for word in [*begin, *others] if begins_override(word)] == begin
    args = parse_args(["--cfg", "a.yml", "--resume", "OPTIM.LR=0.1", "--amp", "SEED", "3"])
    assert (args.resume, args.overrides) == ("", ["OPTIM.LR=0.1", "SEED", "3"])


def test_tools_that_take_other_words_beside_keys_know_them_too() -> None:
    args = predict.parse(["--checkpoint", "c", "--input", "x=1.mp4", "y", "SEED=3", "--topk", "1"])
    assert (args.input, args.overrides) == (["x=1.mp4", "y"], ["SEED=3"])
    args = flops._parse(["a.yml", "DISTILL.TEACHER_CFG=b.yml", "SEED", "3", "--frames", "9"])
    assert args.files == ["a.yml"]
    assert args.overrides == ["DISTILL.TEACHER_CFG=b.yml", "SEED", "3"]
