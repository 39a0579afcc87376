"""The yaml files of TokShift's second version."""

import logging
from pathlib import Path
from typing import Any

import pytest
import yaml
from yacs.config import CfgNode

from config import load_cfg, load_cfg_text
from config.command_line import parse_args
from config.legacy_laps import LAPS_KEYS

V2: dict[str, dict[str, Any]] = {  # of tokshift_8x32_b16.yaml, the keys that its code reads
    "DATA": {
        "PATH_TO_DATA_DIR": "/data/Kinetics400_mmlab",
        "PATH_PREFIX": "/data/Kinetics400_mmlab",
        "PATH_LABEL_SEPARATOR": " ",
        "CATEGORY": 400,
        "NUM_FRAMES": 8,
        "SAMPLING_RATE": 32,
        "MEAN": [0.5, 0.5, 0.5],
        "STD": [0.5, 0.5, 0.5],
        "TRAIN_JITTER_SCALES": [224, 360],
        "TRAIN_CROP_SIZE": 224,
        "TEST_CROP_SIZE": 224,
        "REVERSE_INPUT_CHANNEL": False,
        "VFORMAT": "TCHW",
    },
    "TRAIN": {"LR": 0.24, "LR_STEPS": [10, 15, 18], "TRN_BATCH": 24, "VAL_BATCH": 200},
    "TEST": {"NUM_ENSEMBLE_VIEWS": 1, "NUM_SPATIAL_CROPS": 3},
    "MODEL": {"NET": "TokShift", "BACKBONE": "vit_base_patch16_224_in21k", "FOLD_DIV": 4},
}


def cfg_of(**changes: Any) -> CfgNode:
    """Load that file with changes given as SECTION__KEY=value; None leaves the key out."""
    tree = {section: dict(keys) for section, keys in V2.items()}
    for name, value in changes.items():
        section, _, key = name.partition("__")
        tree.setdefault(section, {})[key] = value
        if value is None:
            del tree[section][key]
    return load_cfg_text(yaml.safe_dump(tree), "v2.yaml")


def test_its_yaml_is_our_recipe(tmp_path: Path) -> None:
    path = tmp_path / "tokshift_8x32_b16.yaml"
    path.write_text(yaml.safe_dump(V2))
    args = parse_args(["--cfg_file", str(path), "--resume", "x.pth", "--eval"])
    assert args.evaluate
    theirs = load_cfg(args.cfg)
    ours = load_cfg("config/k400/k400_v2_tokshift_div4_8x32_base_224.yml")
    for section, keys in {
        "DATA": ("SAMPLING", "NUM_FRAMES", "FRAME_STRIDE", "IMAGE_SIZE", "TEST_SHORT_SIDE"),
        "AUG": ("CROP", "SHORT_SIDE_RANGE", "FLIP", "JITTER_ONE_IN"),
        "MODEL": ("NAME", "BACKBONE", "NUM_CLASSES", "HEAD_INIT", "SHIFT", "VIT"),
        "OPTIM": ("NAME", "LR", "MILESTONES", "GAMMA", "MOMENTUM", "CLIP_GRAD_NORM"),
        "TRAIN": ("EPOCHS", "CLIPS_PER_GPU", "ACCUMULATION", "LAST_GROUP"),
        "LOSS": ("LABEL_SMOOTHING",),
        "VAL": ("NUM_CLIPS", "NUM_CROPS"),
        "TEST": ("NUM_CLIPS", "NUM_CROPS", "CROPS", "AVERAGE_LOGITS", "VIEWS_PER_FORWARD"),
    }.items():
        for key in keys:
            assert theirs[section][key] == ours[section][key], key
    assert theirs.DATA.ROOT == "/data/Kinetics400_mmlab"
    assert theirs.DATA.TRAIN_LIST == "/data/Kinetics400_mmlab/train.csv"
    assert theirs.DATA.VAL_LIST == "/data/Kinetics400_mmlab/test.csv"


def test_what_a_file_leaves_out_is_its_codes_default() -> None:
    cfg = cfg_of(TRAIN__LR=None, TRAIN__LR_STEPS=[2, 4], DATA__SAMPLING_RATE=None)
    assert (cfg.OPTIM.LR, cfg.TRAIN.EPOCHS, cfg.DATA.FRAME_STRIDE) == (0.03, 4, 8)
    assert cfg_of(TRAIN__LABEL_SMOOTH=0).LOSS.LABEL_SMOOTHING == 0
    assert cfg_of(TRAIN__LABEL_SMOOTH=0.3).LOSS.LABEL_SMOOTHING == 0.1
    assert cfg_of(TRAIN__LR="5e-2").OPTIM.LR == 0.05


def test_large_and_image_models_are_read() -> None:
    cfg = cfg_of(
        MODEL__NET="ViT",
        MODEL__BACKBONE="vit_large_patch16_384",
        DATA__TRAIN_CROP_SIZE=384,
        DATA__TEST_CROP_SIZE=384,
        DATA__TRAIN_JITTER_SCALES=[384, 480],
    )
    assert (cfg.MODEL.NAME, cfg.MODEL.BACKBONE, cfg.DATA.IMAGE_SIZE) == ("vit", "ViT-L_16", 384)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"MODEL__NET": "ViT_LAPS"}, r"MODEL\.NET='ViT_LAPS': choose one of \['TokShift', 'ViT'\]"),
        ({"MODEL__BACKBONE": "resnet50"}, r"MODEL\.BACKBONE='resnet50': it took timm's name"),
        ({"DATA__VFORMAT": "BTCHW"}, r"DATA\.VFORMAT='BTCHW': only 'TCHW' can be followed"),
        ({"DATA__ENSEMBLE_METHOD": "max"}, r"DATA\.ENSEMBLE_METHOD='max': only 'sum'"),
        ({"DATA__REVERSE_INPUT_CHANNEL": True}, r"REVERSE_INPUT_CHANNEL=True: only False"),
        ({"DATA__TEST_CROP_SIZE": 256}, r"TEST_CROP_SIZE=256, MODEL\.BACKBONE=.* differ; the mod"),
        ({"TRAIN__LR": "high"}, r"v2\.yaml: TRAIN\.LR='high': it took a number"),
        ({"TRAIN__LR_STEPS": 18}, r"TRAIN\.LR_STEPS=18: it took a list of whole numbers"),
        ({"DATA__MEAN": [0.5]}, r"DATA\.MEAN=\[0\.5\]: it took three numbers"),
        ({"TEST__NUM_SPATIAL_CROPS": 2}, r"TEST\.NUM_SPATIAL_CROPS=2: it took 1 or 3"),
        ({"DATA__NUM_FRAMES": "many"}, r"DATA\.NUM_FRAMES takes an int"),
    ],
)
def test_values_without_a_counterpart_are_errors(changes: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text) as error:
        cfg_of(**changes)
    assert "\n" not in str(error.value)


def test_unread_keys_are_named_and_our_own_are_taken(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    cfg = cfg_of(MVIT__DEPTH=16, TRAIN__LR_TYPE="sgd", DATA__WORKERS=3, DATA__TARGET_FPS=30)
    assert cfg.DATA.WORKERS == 3
    assert "v2.yaml: not read, as its TokShift does not or the key is unknown: " in caplog.text
    assert "MVIT.DEPTH, TRAIN.LR_TYPE" in caplog.text
    assert "DATA.TARGET_FPS: 30 has no effect" in caplog.text
    assert "jx_vit_base_patch16_224_in21k-e5005f0a.pth" in caplog.text


def test_our_own_files_are_not_taken_for_its() -> None:
    with pytest.raises(ValueError, match=r"unknown key 'MODEL\.NET'"):
        load_cfg_text("MODEL: {NET: TokShift}", "mine.yml")


def test_every_key_of_the_table_is_known_to_our_tree() -> None:
    cfg = load_cfg_text("", "test")
    for legacy in LAPS_KEYS.values():
        for key in legacy.keys:
            node: Any = cfg
            for name in key.split("."):
                node = node[name]
