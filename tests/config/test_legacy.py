import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from config import load_cfg, load_cfg_text
from config.checks import value_at
from config.legacy import LEGACY_KEYS, is_legacy, released_run_name
from tests.conftest import released_words

# The flat file of a released run. Values are unlike our defaults, wherever a key has an effect.
TREE: dict[str, Any] = {
    "DATASET": "toy",
    "FRAME_REPO": "frames",
    "TRN_LIST_TXT": "train.txt",
    "VAL_LIST_TXT": "val.txt",
    "TEST_LIST_TXT": "test.txt",
    "FRAME_FORMAT": "{:06d}.jpg",
    "USE_SUBSET": True,
    "LABEL_SMOOTH": 0.01,
    "PIXEL_MEAN": [102, 127.5, 51],
    "PIXEL_STD": [0.25, 1, 0.5],
    "TRN_BATCH": 2,
    "VAL_BATCH": 3,
    "LR_TYPE": "sgd",
    "LR_SCHEME": "step",
    "LR": 0.05,
    "LR_STEPS": [1, 2],
    "EPOCH": 3,
    "MOMENTUM": 0.5,
    "WEIGHT_DECAY": "5e-4",
    "GRADIENT_ACCUMULATION_STEPS": 4,
    "CLIP_GD": 20,
    "T_SIZE": 5,
    "T_STEP": 6,
    "UNIFORM_TWICE": True,
    "DENSE_OR_UNIFORM": "uniform",
    "VAL_SAMPLE_TIMES": 7,
    "VAL_FLIP": True,
    "VAL_TEST_AUG": 5,
    "TRN_PATCH_SIZE": 64,
    "TRN_SHORT_SIDE_RANGE": [64, 88],
    "VAL_PATCH_SIZE": 64,
    "VAL_SHORT_SIDE": 72,
    "NET": "ViT",
    "VER": 3,
    "NUM_CLASS": 6,
    "BASE_NET": "ViT-B_32",
    "CONSENSUS_TYPE": "avg",
    "DROP_OUT": 0.5,
    "PARTIAL_BN": True,
    "PRINT_SPEC": True,
    "PRETRAIN": "imagenet",
    "IS_SHIFT": False,
    "SHIFT_DIV": 8,
    "USE_PRECISE_BN": 0,
    "DROP_BLOCK": 0.0,
}
# What each key becomes. Those without effect become nothing, and say so.
BECOMES: dict[str, dict[str, Any]] = {
    "DATASET": {"DATA.NAME": "toy"},
    "FRAME_REPO": {"DATA.ROOT": "frames"},
    "TRN_LIST_TXT": {"DATA.TRAIN_LIST": "train.txt"},
    "VAL_LIST_TXT": {"DATA.VAL_LIST": "val.txt"},
    "TEST_LIST_TXT": {"DATA.TEST_LIST": ""},  # the release never reads it
    "FRAME_FORMAT": {"DATA.FRAME_TEMPLATE": "{:06d}.jpg"},
    "USE_SUBSET": {"DATA.USE_SUBSET": True},
    "LABEL_SMOOTH": {"LOSS.LABEL_SMOOTHING": 0.1},
    "PIXEL_MEAN": {"DATA.PIXEL_MEAN": [0.4, 0.5, 0.2]},
    "PIXEL_STD": {"DATA.PIXEL_STD": [0.25, 1.0, 0.5]},
    "TRN_BATCH": {"TRAIN.CLIPS_PER_GPU": 2},
    "VAL_BATCH": {"VAL.VIDEOS_PER_GPU": 3},
    "LR_TYPE": {"OPTIM.NAME": "sgd"},
    "LR_SCHEME": {"OPTIM.SCHEDULE": "multistep"},
    "LR": {"OPTIM.LR": 0.05},
    "LR_STEPS": {"OPTIM.MILESTONES": [1, 2]},
    "EPOCH": {"TRAIN.EPOCHS": 3},
    "MOMENTUM": {"OPTIM.MOMENTUM": 0.5},
    "WEIGHT_DECAY": {"OPTIM.WEIGHT_DECAY": 5e-4},
    "GRADIENT_ACCUMULATION_STEPS": {"TRAIN.ACCUMULATION": 4},
    "CLIP_GD": {"OPTIM.CLIP_GRAD_NORM": 20.0},
    "T_SIZE": {"DATA.NUM_FRAMES": 5},
    "T_STEP": {"DATA.FRAME_STRIDE": 6},
    "UNIFORM_TWICE": {"DATA.UNIFORM_TWICE": True},
    "DENSE_OR_UNIFORM": {"DATA.SAMPLING": "uniform"},
    "VAL_SAMPLE_TIMES": {"VAL.NUM_CLIPS": 7, "TEST.NUM_CLIPS": 10},  # 10 under --evaluate
    "VAL_FLIP": {"TEST.FLIP": True},
    "VAL_TEST_AUG": {"VAL.NUM_CROPS": 5, "TEST.NUM_CROPS": 5},
    "TRN_PATCH_SIZE": {"DATA.IMAGE_SIZE": 64},
    "TRN_SHORT_SIDE_RANGE": {"AUG.SHORT_SIDE_RANGE": [64, 88]},
    "VAL_PATCH_SIZE": {"DATA.IMAGE_SIZE": 64},
    "VAL_SHORT_SIDE": {"DATA.TEST_SHORT_SIDE": 72},
    "NET": {"MODEL.NAME": "vit"},
    "NUM_CLASS": {"MODEL.NUM_CLASSES": 6},
    "BASE_NET": {"MODEL.BACKBONE": "ViT-B_32", "MODEL.VIT.PATCH_SIZE": 32},
    "CONSENSUS_TYPE": {},
    "DROP_OUT": {"MODEL.VIT.DROPOUT": 0.0},
    "PARTIAL_BN": {"MODEL.PARTIAL_BN": True},
    "SHIFT_DIV": {"MODEL.SHIFT.FOLD_DIV": 8},
    "IS_SHIFT": {},
    "PRINT_SPEC": {},
    "PRETRAIN": {},
    "VER": {},
    "USE_PRECISE_BN": {},
    "DROP_BLOCK": {"MODEL.DROP_PATH": 0.0},
}
WITHOUT_EFFECT = (
    *("TEST_LIST_TXT", "LR_TYPE", "LR_SCHEME", "IS_SHIFT", "DROP_OUT", "DROP_BLOCK"),
    *("PRETRAIN", "PRINT_SPEC", "USE_PRECISE_BN", "VER"),
)


def load(*overrides: str, **changes: Any) -> Any:
    return load_cfg_text(yaml.safe_dump(TREE | changes), "flat.yml", overrides)


def notes_on(key: str, records: list[logging.LogRecord]) -> list[str]:
    return [text for text in (record.getMessage() for record in records) if f": {key}: " in text]


def test_tables_of_these_tests_hold_every_released_key() -> None:
    assert TREE.keys() == BECOMES.keys() == LEGACY_KEYS.keys()


@pytest.mark.parametrize("key", BECOMES)
def test_key_of_a_flat_file_becomes_ours(key: str) -> None:
    cfg = load()
    for path, expected in BECOMES[key].items():
        value = value_at(cfg, path)
        assert value == expected
        assert type(value) is type(expected)


@pytest.mark.parametrize("key", [key for key in BECOMES if "PATCH_SIZE" not in key])
def test_key_works_on_the_command_line_too(key: str) -> None:
    image_size = ["DATA.IMAGE_SIZE", "64", "MODEL.SHIFT.FOLD_DIV", "8"]
    cfg = load_cfg_text("", "exp.yml", [*image_size, key, str(TREE[key])])
    for path, expected in BECOMES[key].items():
        assert value_at(cfg, path) == expected


def test_later_override_wins_whichever_of_the_two_names_it_has() -> None:
    assert load("LR", "0.5").OPTIM.LR == 0.5
    assert load("LR", "0.5", "OPTIM.LR", "0.25").OPTIM.LR == 0.25
    assert load("OPTIM.LR", "0.25", "LR", "0.5").OPTIM.LR == 0.5
    assert load("VAL_PATCH_SIZE", "96").DATA.IMAGE_SIZE == 96


def test_released_run_loads_with_explicit_sizes(
    golden: Callable[[str], dict[str, Any]], tmp_path: Path
) -> None:
    data = golden("tokshift/f_eval.npz")
    path = tmp_path / "cfg.yml"
    path.write_text(yaml.safe_dump(data["cfg"]))
    cfg = load_cfg(path, released_words(data["arch"]))
    _, log_folder, _ = data["meta"]["train_run"]["tb"][0]
    name = released_run_name(cfg)
    assert log_folder == f"./LOG/{name}"
    assert value_at(cfg, "OUTPUT_DIR") == f"runs/{name}"
    ours = {
        "DATA.NAME": "DATASET",
        "DATA.ROOT": "FRAME_REPO",
        "DATA.TRAIN_LIST": "TRN_LIST_TXT",
        "DATA.VAL_LIST": "VAL_LIST_TXT",
        "DATA.FRAME_TEMPLATE": "FRAME_FORMAT",
        "DATA.USE_SUBSET": "USE_SUBSET",
        "DATA.NUM_FRAMES": "T_SIZE",
        "DATA.FRAME_STRIDE": "T_STEP",
        "DATA.SAMPLING": "DENSE_OR_UNIFORM",
        "DATA.UNIFORM_TWICE": "UNIFORM_TWICE",
        "DATA.IMAGE_SIZE": "TRN_PATCH_SIZE",
        "DATA.TEST_SHORT_SIDE": "VAL_SHORT_SIDE",
        "DATA.PIXEL_STD": "PIXEL_STD",
        "AUG.SHORT_SIDE_RANGE": "TRN_SHORT_SIDE_RANGE",
        "MODEL.NUM_CLASSES": "NUM_CLASS",
        "MODEL.BACKBONE": "BASE_NET",
        "MODEL.SHIFT.FOLD_DIV": "SHIFT_DIV",
        "MODEL.PARTIAL_BN": "PARTIAL_BN",
        "OPTIM.LR": "LR",
        "OPTIM.MILESTONES": "LR_STEPS",
        "OPTIM.MOMENTUM": "MOMENTUM",
        "OPTIM.WEIGHT_DECAY": "WEIGHT_DECAY",
        "OPTIM.CLIP_GRAD_NORM": "CLIP_GD",
        "TRAIN.EPOCHS": "EPOCH",
        "TRAIN.CLIPS_PER_GPU": "TRN_BATCH",
        "TRAIN.ACCUMULATION": "GRADIENT_ACCUMULATION_STEPS",
        "VAL.NUM_CLIPS": "VAL_SAMPLE_TIMES",
        "VAL.NUM_CROPS": "VAL_TEST_AUG",
        "VAL.VIDEOS_PER_GPU": "VAL_BATCH",
        "TEST.FLIP": "VAL_FLIP",
    }
    for path, key in ours.items():
        assert value_at(cfg, path) == data["cfg"][key], path
    released = data["cfg"]
    converted = {
        "MODEL.NAME": released["NET"].lower(),
        "LOSS.LABEL_SMOOTHING": 0.1 if released["LABEL_SMOOTH"] else 0.0,
        "DATA.PIXEL_MEAN": [value / 255 for value in released["PIXEL_MEAN"]],
    }
    for path, expected in converted.items():
        assert value_at(cfg, path) == expected, path


def test_keys_without_effect_and_surprising_keys_say_so_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    load()
    for key in WITHOUT_EFFECT:
        (note,) = notes_on(key, caplog.records)
        assert note.startswith(f"flat.yml: {key}: {TREE[key]!r} ")
        assert "is not read" in note or "has no effect" in note
    for key in ("LABEL_SMOOTH", "PIXEL_MEAN", "VAL_SAMPLE_TIMES", "USE_SUBSET"):
        (note,) = notes_on(key, caplog.records)
    for key in ("LR", "NET", "NUM_CLASS", "T_SIZE"):
        assert notes_on(key, caplog.records) == []


def test_override_without_effect_says_so(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    before = load()
    caplog.clear()
    assert load("IS_SHIFT", "True", "DROP_OUT", "0.9") == before
    notes = notes_on("IS_SHIFT", caplog.records)
    assert any(note.startswith("the command line: IS_SHIFT: True") for note in notes)


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0.01, 0.1), (0.1, 0.1), (0.5, 0.1), (True, 0.1), (0, 0.0), (0.0, 0.0), (False, 0.0)],
)
def test_label_smoothing_is_on_or_off(
    value: Any, expected: float, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    assert value_at(load(LABEL_SMOOTH=value), "LOSS.LABEL_SMOOTHING") == expected
    says_otherwise = value in (0.01, 0.5) or value is True
    assert ("smooths by 0.1" in caplog.text) == says_otherwise
    cfg = load_cfg_text("", "exp.yml", ["LABEL_SMOOTH", str(value)])
    assert value_at(cfg, "LOSS.LABEL_SMOOTHING") == expected


@pytest.mark.parametrize(("value", "crops"), [(5, 5), (3, 3), (1, 1), (0, 1), (30, 1)])
def test_number_of_crops_is_three_five_or_else_one(value: int, crops: int) -> None:
    cfg = load(VAL_TEST_AUG=value)
    assert [value_at(cfg, key) for key in ("VAL.NUM_CROPS", "TEST.NUM_CROPS")] == [crops, crops]


@pytest.mark.parametrize("value", ["dense", "Uniform", "anything"])
def test_sampling_is_dense_unless_it_is_uniform_to_the_letter(value: str) -> None:
    assert load(DENSE_OR_UNIFORM=value).DATA.SAMPLING == "dense"


@pytest.mark.parametrize(("net", "name"), [("ViT", "vit"), ("TokShift", "tokshift")])
def test_net_names_the_model(net: str, name: str) -> None:
    assert value_at(load(NET=net), "MODEL.NAME") == name


@pytest.mark.parametrize("value", ["tokshift", "TSM", "", None])
def test_unknown_net_is_an_error_that_lists_the_known(value: Any) -> None:
    expected = rf"^flat\.yml: NET={value!r}: choose one of \['TokShift', 'ViT'\]"
    with pytest.raises(ValueError, match=expected):
        load(NET=value)


@pytest.mark.parametrize("value", ["identity", "rnn", "max"])
def test_other_consensus_is_an_error_that_names_the_one(value: str) -> None:
    with pytest.raises(ValueError, match=rf"^flat\.yml: CONSENSUS_TYPE='{value}': only 'avg'"):
        load(CONSENSUS_TYPE=value)


def test_two_patch_sizes_are_an_error_that_names_both() -> None:
    expected = r"^flat\.yml: TRN_PATCH_SIZE=64 and VAL_PATCH_SIZE=96 differ; .* one size"
    with pytest.raises(ValueError, match=expected):
        load(VAL_PATCH_SIZE=96)


def test_two_patch_sizes_on_the_command_line_are_an_error_too() -> None:
    with pytest.raises(ValueError, match="TRN_PATCH_SIZE=64 and VAL_PATCH_SIZE=96 differ"):
        load_cfg_text("", "exp.yml", ["TRN_PATCH_SIZE", "64", "VAL_PATCH_SIZE", "96"])


def test_value_of_the_wrong_type_is_an_error_that_names_the_released_key() -> None:
    with pytest.raises(ValueError, match=r"^flat\.yml: LR='fast': "):
        load(LR="fast")
    with pytest.raises(ValueError, match=r"^the command line: LR='fast': "):
        load("LR", "fast")
    with pytest.raises(ValueError, match=r"^flat\.yml: PIXEL_MEAN=0\.5: "):
        load(PIXEL_MEAN=0.5)


def test_unknown_key_in_a_flat_file_is_an_error_that_names_the_nearest() -> None:
    expected = r"^flat\.yml: unknown key 'LR_STEP'; the nearest valid key is LR_STEPS"
    with pytest.raises(ValueError, match=expected):
        load(LR_STEP=[1])


@pytest.mark.parametrize("is_first", [True, False])
def test_our_sections_may_stand_beside_released_keys(is_first: bool) -> None:
    flat = yaml.safe_dump(TREE)
    ours = "MODEL: {VIT: {NUM_LAYERS: 3}}\nOPTIM: {NESTEROV: True}\n"
    cfg = load_cfg_text(ours + flat if is_first else flat + ours, "flat.yml")
    assert (cfg.MODEL.VIT.NUM_LAYERS, cfg.OPTIM.NESTEROV) == (3, True)
    for expected in BECOMES.values():
        for path, value in expected.items():
            assert value_at(cfg, path) == value, path


@pytest.mark.parametrize("flat", ["NET: ViT\nMODEL:\n", "MODEL:\nNET: ViT\n"])
def test_empty_section_may_stand_beside_released_keys(flat: str) -> None:
    assert load_cfg_text(flat, "flat.yml").MODEL.NAME == "vit"


@pytest.mark.parametrize("flat", ["NET: ViT\nMODEL: vit\n", "SHIFT_DIV: 2\nMODEL: {SHIFT: 4}\n"])
def test_value_for_a_section_beside_released_keys_is_an_error(flat: str) -> None:
    with pytest.raises(ValueError, match=r"^flat\.yml: MODEL"):
        load_cfg_text(flat, "flat.yml")


def test_flat_file_is_known_by_any_of_its_keys() -> None:
    assert is_legacy({"LR": 1})
    assert is_legacy({"MODEL": {}, "NET": "ViT"})
    assert not is_legacy({})
    assert not is_legacy({"MODEL": {"NAME": "vit"}, "OPTIM": {"LR": 0.1}})


def test_run_name_of_the_image_model_and_of_dense_clips() -> None:
    cfg = load(NET="ViT", SHIFT_DIV=0, LR="5e-4", DENSE_OR_UNIFORM="dense", CLIP_GD=1)
    assert released_run_name(cfg) == (
        "ViT_ViT-B_32_toy_dense_cls6_segs5x6_e3_lr0.0005_gd1.0_ShiftDiv0_bch2_VAL64"
    )


def test_dump_of_a_flat_file_loads_as_the_same_config() -> None:
    cfg = load()
    assert load_cfg_text(cfg.dump(), "config.yml") == cfg
