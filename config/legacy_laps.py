"""The yaml files of TokShift's second version (LAPS-transformer), key by key, in our tree.

Its code fills in what a file leaves out, and so does this.
"""

import logging
import re
from collections.abc import Iterator
from typing import Any

from config.defaults import get_defaults
from config.legacy_entries import Legacy, number, numbers, smoothing
from config.values import decoded, shown

_log = logging.getLogger(__name__)

Tree = dict[str, Any]

_TIMM_NAME = re.compile(r"vit_(tiny|small|base|large|huge)_patch(\d+)_(\d+)(_in21k)?")
_LETTERS = {"tiny": "Ti", "small": "S", "base": "B", "large": "L", "huge": "H"}
_FILES = {  # what timm 0.4.8 loads for the names of the recipes
    "vit_base_patch16_224_in21k": "jx_vit_base_patch16_224_in21k-e5005f0a.pth",
    "vit_base_patch16_384": "jx_vit_base_p16_384-83fb41ba.pth",
    "vit_large_patch16_384": "jx_vit_large_p16_384-b3be5167.pth",
}


def _net(value: Any) -> str:
    names = {"ViT": "vit", "TokShift": "tokshift"}
    if not isinstance(value, str) or value not in names:
        raise ValueError(f"choose one of {sorted(names)}; its other networks are not here")
    return names[value]


def _backbone(value: Any) -> str:
    match = _TIMM_NAME.fullmatch(value) if isinstance(value, str) else None
    if not match:
        raise ValueError(f"it took timm's name of a ViT, as {next(iter(_FILES))}")
    return f"ViT-{_LETTERS[match[1]]}_{match[2]}"


def _channels(value: Any) -> list[float]:
    if isinstance(value, list) and len(value) != 3:
        raise ValueError("it took three numbers")
    return numbers(value)


def _only(*allowed: Any) -> Any:
    def check(value: Any) -> None:
        if value not in allowed:
            raise ValueError(f"only {' or '.join(map(repr, allowed))} can be followed")

    return check


def _crop_count(value: Any) -> int:
    if value not in (1, 3):
        raise ValueError("it took 1 or 3")
    return int(value)


_AT_DEFAULT = "is not read by its TokShift"
LAPS_KEYS: dict[str, Legacy] = {
    "DATA.PATH_TO_DATA_DIR": Legacy(),  # see `_lists`
    "DATA.PATH_PREFIX": Legacy(("DATA.ROOT",)),
    "DATA.PATH_LABEL_SEPARATOR": Legacy((), _only(" ")),
    "DATA.CATEGORY": Legacy(("MODEL.NUM_CLASSES",)),
    "DATA.NUM_FRAMES": Legacy(("DATA.NUM_FRAMES",)),
    "DATA.SAMPLING_RATE": Legacy(("DATA.FRAME_STRIDE",)),
    "DATA.MEAN": Legacy(("DATA.PIXEL_MEAN",), _channels),
    "DATA.STD": Legacy(("DATA.PIXEL_STD",), _channels),
    "DATA.TRAIN_JITTER_SCALES": Legacy(("AUG.SHORT_SIDE_RANGE",)),
    "DATA.TRAIN_CROP_SIZE": Legacy(("DATA.IMAGE_SIZE",)),
    "DATA.TEST_CROP_SIZE": Legacy(("DATA.TEST_SHORT_SIDE",)),
    "DATA.RANDOM_FLIP": Legacy(("AUG.FLIP",)),
    "DATA.REVERSE_INPUT_CHANNEL": Legacy((), _only(False)),
    "DATA.ENSEMBLE_METHOD": Legacy((), _only("sum")),
    "DATA.VFORMAT": Legacy((), _only("TCHW")),
    "DATA.TARGET_FPS": Legacy(note="has no effect, in the release either: clips go by frames"),
    "DATA.DECODING_BACKEND": Legacy(note="is not read: DATA.DECODER chooses"),
    "TRAIN.LR": Legacy(("OPTIM.LR",), number),
    "TRAIN.LR_STEPS": Legacy(("OPTIM.MILESTONES",)),
    "TRAIN.MOMENTUM": Legacy(("OPTIM.MOMENTUM",), number),
    "TRAIN.WEIGHT_DECAY": Legacy(("OPTIM.WEIGHT_DECAY",), number),
    "TRAIN.CLIP_GD": Legacy(("OPTIM.CLIP_GRAD_NORM",), number),
    "TRAIN.GRADIENT_ACCUMULATION_STEPS": Legacy(("TRAIN.ACCUMULATION",)),
    "TRAIN.LABEL_SMOOTH": Legacy(
        ("LOSS.LABEL_SMOOTHING",),
        smoothing,
        "is read as on or off, as in the first version: on smooths by 0.1",
        (0, 0.1, 0.01, False),
    ),
    "TRAIN.TRN_BATCH": Legacy(("TRAIN.CLIPS_PER_GPU",)),
    "TRAIN.VAL_BATCH": Legacy(("TEST.VIEWS_PER_FORWARD",)),
    "TEST.NUM_ENSEMBLE_VIEWS": Legacy(
        ("VAL.NUM_CLIPS",),
        note="counts the clips of the validation in training; --evaluate takes TEST.NUM_CLIPS = 10",
        silent_values=(10,),
    ),
    "TEST.NUM_SPATIAL_CROPS": Legacy(("VAL.NUM_CROPS",), _crop_count),
    "MODEL.NET": Legacy(("MODEL.NAME",), _net),
    "MODEL.BACKBONE": Legacy(("MODEL.BACKBONE",), _backbone),
    "MODEL.FOLD_DIV": Legacy(("MODEL.SHIFT.FOLD_DIV",)),
    "DATA_LOADER.NUM_WORKERS": Legacy(("DATA.WORKERS",)),
    "DATA_LOADER.ENABLE_MULTI_THREAD_DECODE": Legacy(note=_AT_DEFAULT),
}
# What its code takes where a file says nothing.
_DEFAULTS: Tree = {
    "DATA.NUM_FRAMES": 8,
    "DATA.SAMPLING_RATE": 8,
    "DATA.TRAIN_JITTER_SCALES": [256, 320],
    "DATA.TRAIN_CROP_SIZE": 224,
    "DATA.TEST_CROP_SIZE": 224,
    "TRAIN.LR": 0.03,
    "TRAIN.LR_STEPS": [10, 15, 18],
    "TRAIN.LABEL_SMOOTH": 0.01,
    "TRAIN.TRN_BATCH": 1,
    "TRAIN.VAL_BATCH": 1,
    "TEST.NUM_ENSEMBLE_VIEWS": 10,
    "TEST.NUM_SPATIAL_CROPS": 3,
}
_PROTOCOL: Tree = {  # of every file
    "DATA.SAMPLING": "laps",
    "AUG.CROP": "laps",
    "TEST.CROPS": "laps",
    "MODEL.HEAD_INIT": "normal",
    "MODEL.VIT.POS_RESIZE": "half_pixel",
    "VAL.VIDEOS_PER_GPU": 1,
}
_TEXTS = ("DATA.PATH_TO_DATA_DIR", "DATA.PATH_PREFIX", "DATA.PATH_LABEL_SEPARATOR")
_SIGNS = tuple(key for key, legacy in LAPS_KEYS.items() if key not in legacy.keys)


def is_laps(tree: Tree) -> bool:
    """Tell whether a parsed yml is one of the second version: two of its own keys are enough."""
    return sum(key in _SIGNS for key, _ in _leaves(tree)) > 1


def convert_laps(tree: Tree, source: str) -> Tree:
    """Return a yml of the second version as ours, with a logged note for each key that needs one.

    Raises:
        ValueError: A value has no counterpart, or two sizes of the model differ.
    """
    given = dict(_leaves(tree))
    others = {key: value for key, value in given.items() if key not in LAPS_KEYS}
    own = {key: value for key, value in others.items() if _is_ours(key)}
    if unknown := sorted(others.keys() - own.keys()):
        _log.warning(
            "%s: not read, as its TokShift does not or the key is unknown: %s",
            *(source, ", ".join(unknown)),
        )
    values = {k: v if k in _TEXTS else decoded(v) for k, v in (_DEFAULTS | given).items()}
    _check_sizes(values, source)
    ours = dict(_PROTOCOL)
    for key, legacy in LAPS_KEYS.items():
        if key in values:
            value = legacy.read(key, values[key], source, is_noted=key in given)
            ours |= dict.fromkeys(legacy.keys, value)
    ours |= _lists(values) | _epochs(values, source)
    return _nested(ours | own)


def _is_ours(key: str) -> bool:
    """Tell whether a key of a file is one that ours have, which may stand beside the others."""
    node: Any = get_defaults()
    for name in key.split("."):
        node = node.get(name) if isinstance(node, dict) else None
    return node is not None


def _leaves(tree: Tree, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _nested(values: Tree) -> Tree:
    tree: Tree = {}
    for key, value in values.items():
        *sections, name = key.split(".")
        node = tree
        for section in sections:
            node = node.setdefault(section, {})
        node[name] = value
    return tree


def _lists(values: Tree) -> Tree:
    """Return the lists: its training validates on test.csv, and never opens val.csv."""
    folder = values.get("DATA.PATH_TO_DATA_DIR") or ""
    start = f"{str(folder).rstrip('/')}/" if folder else ""
    return {"DATA.TRAIN_LIST": f"{start}train.csv", "DATA.VAL_LIST": f"{start}test.csv"}


def _epochs(values: Tree, source: str) -> Tree:
    steps = values["TRAIN.LR_STEPS"]
    if not isinstance(steps, list) or not steps or not all(type(step) is int for step in steps):
        raise ValueError(
            f"{source}: TRAIN.LR_STEPS={shown(steps)}: it took a list of whole numbers; the last "
            "is the number of epochs"
        )
    return {"TRAIN.EPOCHS": max(steps)}


def _check_sizes(values: Tree, source: str) -> None:
    """Compare the sizes of the crops and of the backbone's name, and say what it starts from."""
    name = values.get("MODEL.BACKBONE")
    sizes = {key: values[key] for key in ("DATA.TRAIN_CROP_SIZE", "DATA.TEST_CROP_SIZE")}
    match = _TIMM_NAME.fullmatch(name) if isinstance(name, str) else None
    if match:
        sizes["MODEL.BACKBONE"] = int(match[3])
    if len({*map(repr, sizes.values())}) > 1:
        told = ", ".join(f"{key}={shown(values[key])}" for key in sizes)
        raise ValueError(f"{source}: {told} differ; the model is built for one size")
    if name in _FILES:
        _log.info(
            "%s: its code downloads %s for MODEL.BACKBONE %s; a training here takes it by "
            "--tune_from",
            *(source, _FILES[name], name),
        )
