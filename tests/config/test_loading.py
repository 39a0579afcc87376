import logging
from pathlib import Path
from typing import Any

import pytest

from config import get_defaults, is_key, load_cfg, load_cfg_text
from config.loading import all_leaves


def saved(text: str, folder: Path) -> Path:
    path = folder / "exp.yml"
    path.write_text(text, encoding="utf-8")
    return path


def value_of(key: str, *overrides: str, text: str = "") -> Any:
    return dict(all_leaves(load_cfg_text(text, "exp.yml", overrides)))[key]


def test_file_overrides_the_defaults_and_the_command_line_the_file(tmp_path: Path) -> None:
    path = saved("MODEL: {NUM_CLASSES: 7}\nOPTIM:\n  LR: 0.5\n  MOMENTUM: 0.5\n", tmp_path)
    cfg = load_cfg(path, ["OPTIM.LR", "0.25"])
    assert (cfg.MODEL.NUM_CLASSES, cfg.OPTIM.MOMENTUM, cfg.OPTIM.LR) == (7, 0.5, 0.25)
    assert cfg.TRAIN.EPOCHS == get_defaults().TRAIN.EPOCHS


@pytest.mark.parametrize("text", ["", "# nothing\n", "DATA:\nMODEL:\n"])
def test_empty_file_and_empty_sections_give_the_defaults(text: str) -> None:
    cfg, defaults = load_cfg_text(text, "exp.yml"), get_defaults()
    for key, value in all_leaves(cfg):
        if not key.startswith("MODEL.VIT.") and key != "OUTPUT_DIR":
            assert value == dict(all_leaves(defaults))[key]


def test_loaded_config_is_frozen() -> None:
    cfg = load_cfg_text("", "exp.yml")
    for node in (cfg, cfg.MODEL, cfg.MODEL.VIT):
        assert node.is_frozen()
    with pytest.raises(AttributeError, match="immutable"):
        cfg.OPTIM.LR = 1.0


def test_run_folder_is_named_after_the_experiment_unless_the_config_names_it() -> None:
    assert value_of("OUTPUT_DIR", "TRAIN.EPOCHS", "3").startswith("runs/TokShift_ViT-B_16_k400_")
    assert "_e3_" in value_of("OUTPUT_DIR", "TRAIN.EPOCHS", "3")
    assert value_of("OUTPUT_DIR", text="OUTPUT_DIR: here") == "here"


@pytest.mark.parametrize(
    ("key", "text", "expected"),
    [
        ("OPTIM.LR", "1", 1.0),
        ("OPTIM.LR", "5e-4", 5e-4),  # text to YAML 1.1
        ("OPTIM.LR", "5.0e-4", 5e-4),
        ("OPTIM.WEIGHT_DECAY", "0", 0.0),
        ("OPTIM.BETAS", "[0, 0.5]", [0.0, 0.5]),
        ("DATA.PIXEL_MEAN", "[0, 1, 5e-1]", [0.0, 1.0, 0.5]),
        ("OPTIM.MILESTONES", "[1, 2]", [1.0, 2.0]),
        ("AUG.SHORT_SIDE_RANGE", "[1, 2]", [1, 2]),
        ("OPTIM.MILESTONES", "[]", []),
        ("OPTIM.MILESTONES", "[1.5, 3]", [1.5, 3.0]),
        ("TRAIN.EPOCHS", "3", 3),
        ("AUG.FLIP", "False", False),
        ("AUG.FLIP", "false", False),
        ("DATA.USE_SUBSET", "true", True),
        ("DATA.NAME", "ucf101", "ucf101"),
        ("DATA.NAME", "101", "101"),
        ("DATA.ROOT", "/data/my videos", "/data/my videos"),
        ("MODEL.VIT.DROPOUT", "0", 0.0),
        ("MODEL.VIT.DROPOUT", "0.25", 0.25),
    ],
)
def test_value_takes_the_type_of_its_default(key: str, text: str, expected: Any) -> None:
    section, _, name = key.rpartition(".")
    yml = name + ": " + text
    for part in reversed(section.split(".")):
        yml = part + ": {" + yml + "}"
    for value in (value_of(key, text=yml), value_of(key, key, text)):
        assert value == expected
        assert type(value) is type(expected)
        if isinstance(expected, list):
            assert [type(item) for item in value] == [type(item) for item in expected]


@pytest.mark.parametrize(
    ("key", "value", "allowed"),
    [
        ("OPTIM.LR", "fast", r"a float \(default 0\.1\), got 'fast' \(str\)"),
        ("OPTIM.LR", "[0.1]", r"a float \(default 0\.1\), got \[0\.1\] \(list\)"),
        ("OPTIM.LR", "True", r"a float .*, got True \(bool\)"),
        ("TRAIN.EPOCHS", "1.5", r"an int \(default 18\), got 1\.5 \(float\)"),
        ("TRAIN.EPOCHS", "True", r"an int .*, got True \(bool\)"),
        ("TRAIN.EPOCHS", "ten", r"an int .*, got 'ten' \(str\)"),
        ("AUG.FLIP", "1", r"a bool \(default True\), got 1 \(int\)"),
        ("AUG.FLIP", "maybe", r"a bool .*, got 'maybe' \(str\)"),
        ("OPTIM.MILESTONES", "10", r"a list of float .*, got 10 \(int\)"),
        ("AUG.SHORT_SIDE_RANGE", "[1.5]", r"a list of int .*, got \[1\.5\] \(list\)"),
        ("OPTIM.BETAS", "[a]", r"a list of float .*got '?\[.?a.?\]"),
        ("MODEL.VIT.DROPOUT", "high", r"a float .*, got 'high' \(str\)"),
    ],
)
def test_value_of_the_wrong_type_is_an_error_with_key_type_and_source(
    key: str, value: str, allowed: str
) -> None:
    with pytest.raises(ValueError, match=rf"^the command line: {key} takes {allowed}"):
        value_of(key, key, value)
    section, _, name = key.rpartition(".")
    yml = f"{name}: {value}"
    for part in reversed(section.split(".")):
        yml = f"{part}: {{{yml}}}"
    with pytest.raises(ValueError, match=rf"^exp\.yml: {key} takes {allowed}"):
        value_of(key, text=yml)


@pytest.mark.parametrize("value", ["[a.txt, b.txt]", "{a: 1}"])
def test_list_or_mapping_for_a_text_is_an_error(value: str) -> None:
    with pytest.raises(ValueError, match=r"^exp\.yml: DATA\.TRAIN_LIST takes a str"):
        load_cfg_text(f"DATA: {{TRAIN_LIST: {value}}}", "exp.yml")


@pytest.mark.parametrize(
    ("key", "nearest"),
    [
        ("OPTIM.LRR", "OPTIM.LR"),
        ("OPTIM.NUM_CLASSES", "MODEL.NUM_CLASSES"),
        ("optim.lr", "OPTIM.LR"),
        ("MODEL.VIT.PATCHSIZE", "MODEL.VIT.PATCH_SIZE"),
        ("LR_STEP", "LR_STEPS"),
    ],
)
def test_unknown_key_is_an_error_that_names_the_nearest_and_where_it_stood(
    key: str, nearest: str
) -> None:
    text = f"unknown key '{key}'; the nearest valid key is {nearest}$"
    with pytest.raises(ValueError, match=f"^the command line: {text}"):
        value_of("OPTIM.LR", key, "1")
    yml = key.split(".")[-1] + ": 1"
    for part in reversed(key.split(".")[:-1]):
        yml = f"{part}: {{{yml}}}"
    if key != "optim.lr":  # of a whole section: see the next test
        with pytest.raises(ValueError, match=rf"^exp\.yml: {text}"):
            value_of("OPTIM.LR", text=yml)


def test_unknown_section_is_an_error_that_names_it() -> None:
    with pytest.raises(ValueError, match=r"exp\.yml: unknown key 'TRIAN'; .* is "):
        value_of("OPTIM.LR", text="TRIAN: {EPOCHS: 3}")


@pytest.mark.parametrize("text", ["MODEL: tokshift", "MODEL: {SHIFT: 4}", "MODEL: [1]"])
def test_section_given_a_value_is_an_error_that_lists_its_keys(text: str) -> None:
    with pytest.raises(ValueError, match=r"exp\.yml: MODEL.* is a section with keys \['"):
        load_cfg_text(text, "exp.yml")


def test_overrides_without_partner_are_an_error() -> None:
    with pytest.raises(ValueError, match=r"KEY VALUE pairs; 'TRAIN\.EPOCHS' has no value"):
        load_cfg_text("", "exp.yml", ["OPTIM.LR", "0.1", "TRAIN.EPOCHS"])


def test_file_that_is_not_yaml_or_no_mapping_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"exp\.yml is not YAML: "):
        load_cfg(saved("MODEL: {NAME: vit", tmp_path))
    with pytest.raises(ValueError, match=r"exp\.yml holds a str; a config is KEY: value lines"):
        load_cfg(saved("just words", tmp_path))
    with pytest.raises(ValueError, match=r"exp\.yml holds a list"):
        load_cfg(saved("- 1\n- 2\n", tmp_path))


def test_yaml_that_would_run_code_is_refused(tmp_path: Path) -> None:
    text = f"OUTPUT_DIR: !!python/object/apply:os.mkdir ['{tmp_path / 'ran'}']"
    with pytest.raises(ValueError, match="is not YAML"):
        load_cfg_text(text, "exp.yml")
    assert not (tmp_path / "ran").exists()


def test_missing_file_and_directory_are_errors_that_name_them(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"cannot read the config .*absent\.yml'"):
        load_cfg(tmp_path / "absent.yml")
    with pytest.raises(ValueError, match=f"cannot read the config '{tmp_path}'"):
        load_cfg(tmp_path)


def test_file_that_is_no_text_is_an_error_that_names_it(tmp_path: Path) -> None:
    path = tmp_path / "exp.yml"
    path.write_bytes(b"PK\x03\x04\xff\xfe\x00")
    with pytest.raises(ValueError, match=r"exp\.yml"):
        load_cfg(path)


@pytest.mark.parametrize("name", ["ViT-B_16", "ViT-H_14"])
def test_dump_of_a_config_loads_as_the_same_config(name: str) -> None:
    overrides = ["MODEL.BACKBONE", name, "OPTIM.LR", "5e-4", "DATA.ROOT", "my: {videos}"]
    cfg = load_cfg_text("", "exp.yml", [*overrides, "DATA.IMAGE_SIZE", "112"])
    again = load_cfg_text(cfg.dump(), "config.yml")
    assert again == cfg
    assert again.dump() == cfg.dump()


def test_keys_are_known_in_full() -> None:
    assert is_key("OPTIM.LR")
    assert is_key("MODEL.VIT.DROPOUT")
    assert is_key("SEED")
    assert is_key("LR_STEPS")
    for name in ("OPTIM", "lr", "OPTIM.lr", "best.pth", "", "MODEL.VIT"):
        assert not is_key(name)


@pytest.mark.parametrize(
    ("old", "now"), [("True", "underweight"), ("False", "reweight"), ("false", "reweight")]
)
def test_key_of_an_earlier_version_keeps_its_meaning_and_is_noted(
    old: str, now: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    text = f"TRAIN: {{UNDERWEIGHTS_LAST_GROUP: {old}}}"
    assert value_of("TRAIN.LAST_GROUP", text=text) == now
    value, note = old.capitalize() == "True", f"is TRAIN.LAST_GROUP {now} now"
    assert f"exp.yml: TRAIN.UNDERWEIGHTS_LAST_GROUP: {value} {note}" in caplog.text
    assert value_of("TRAIN.LAST_GROUP", "TRAIN.UNDERWEIGHTS_LAST_GROUP", old) == now
    assert f"the command line: TRAIN.UNDERWEIGHTS_LAST_GROUP: '{old}' {note}" in caplog.text
    assert is_key("TRAIN.UNDERWEIGHTS_LAST_GROUP")


def test_later_of_an_old_and_a_new_name_wins() -> None:
    old = ("TRAIN.UNDERWEIGHTS_LAST_GROUP", "False")
    assert value_of("TRAIN.LAST_GROUP", *old, "TRAIN.LAST_GROUP", "drop") == "drop"
    assert value_of("TRAIN.LAST_GROUP", "TRAIN.LAST_GROUP", "drop", *old) == "reweight"


def test_value_that_a_key_of_an_earlier_version_did_not_take_is_an_error() -> None:
    text = r"exp\.yml: TRAIN\.UNDERWEIGHTS_LAST_GROUP='drop': it took True or False; it is TRAIN\."
    with pytest.raises(ValueError, match=text):
        value_of("OPTIM.LR", text="TRAIN: {UNDERWEIGHTS_LAST_GROUP: drop}")
