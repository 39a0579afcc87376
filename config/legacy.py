"""The yml files of the TokShift release, key by key, in our tree: flat ones, the first version's.

Those of the second are in `config.legacy_laps`.
"""

import logging
from typing import Any

from yacs.config import CfgNode

from config.defaults import get_defaults
from config.legacy_entries import Legacy, number, numbers, smoothing
from config.legacy_laps import convert_laps, is_laps
from config.model_checks import MODEL_RULES
from config.values import decoded, shown

_log = logging.getLogger(__name__)


def _model_name(value: Any) -> str:
    names = {"ViT": "vit", "TokShift": "tokshift"}
    if not isinstance(value, str) or value not in names:
        tsm = "for a TSM set MODEL.NAME tsm and MODEL.BACKBONE resnet50"
        raise ValueError(f"choose one of {sorted(names)}; {tsm}, which the release cannot run")
    return names[value]


def _consensus(value: str) -> None:
    if value != "avg":
        raise ValueError("only 'avg', the mean of the frames' logits, makes one prediction a clip")


def _num_crops(value: Any) -> int:
    if not isinstance(value, int):
        raise ValueError("it took a whole number")
    return value if value in (3, 5) else 1


def _flag(value: Any) -> bool:
    if not isinstance(value, int) or value not in (0, 1):
        raise ValueError("it took True or False")
    return bool(value)


def _unit_mean(value: Any) -> list[float]:
    return [channel / 255 for channel in numbers(value)]


def _last_group(value: Any) -> str:
    meanings = {"true": "underweight", "false": "reweight"}
    if str(value).lower() not in meanings:
        raise ValueError("it took True or False; it is TRAIN.LAST_GROUP now")
    return meanings[str(value).lower()]


_NO_EFFECT = "has no effect on a ViT, in the release either"

LEGACY_KEYS: dict[str, Legacy] = {
    "DATASET": Legacy(("DATA.NAME",)),
    "FRAME_REPO": Legacy(("DATA.ROOT",)),
    "TRN_LIST_TXT": Legacy(("DATA.TRAIN_LIST",)),
    "VAL_LIST_TXT": Legacy(("DATA.VAL_LIST",)),
    "TEST_LIST_TXT": Legacy(note="is not read: the release tests on VAL_LIST_TXT, and so do we"),
    "FRAME_FORMAT": Legacy(("DATA.FRAME_TEMPLATE",)),
    "USE_SUBSET": Legacy(
        ("DATA.USE_SUBSET",), _flag, "keeps every 10th video, of the validation too", (False,)
    ),
    "LABEL_SMOOTH": Legacy(
        ("LOSS.LABEL_SMOOTHING",),
        smoothing,
        "is read as on or off: on smooths by 0.1, whatever the number, and all published models "
        "are trained so; set LOSS.LABEL_SMOOTHING for another amount",
        (0, 0.1, False),
    ),
    "PIXEL_MEAN": Legacy(
        ("DATA.PIXEL_MEAN",),
        _unit_mean,
        "is in 0..255 while PIXEL_STD is in 0..1; both of ours are in 0..1",
    ),
    "PIXEL_STD": Legacy(("DATA.PIXEL_STD",), numbers),
    "TRN_BATCH": Legacy(("TRAIN.CLIPS_PER_GPU",)),
    "VAL_BATCH": Legacy(("VAL.VIDEOS_PER_GPU",)),
    "LR_TYPE": Legacy(note="is not read: the optimizer is SGD"),
    "LR_SCHEME": Legacy(note="is not read: the schedule is multi-step"),
    "LR": Legacy(("OPTIM.LR",), number),
    "LR_STEPS": Legacy(("OPTIM.MILESTONES",)),
    "EPOCH": Legacy(("TRAIN.EPOCHS",)),
    "MOMENTUM": Legacy(("OPTIM.MOMENTUM",), number),
    "WEIGHT_DECAY": Legacy(("OPTIM.WEIGHT_DECAY",), number),
    "GRADIENT_ACCUMULATION_STEPS": Legacy(("TRAIN.ACCUMULATION",)),
    "CLIP_GD": Legacy(("OPTIM.CLIP_GRAD_NORM",), number),
    "T_SIZE": Legacy(("DATA.NUM_FRAMES",)),
    "T_STEP": Legacy(("DATA.FRAME_STRIDE",)),
    "DENSE_OR_UNIFORM": Legacy(
        ("DATA.SAMPLING",), lambda value: "uniform" if value == "uniform" else "dense"
    ),
    "UNIFORM_TWICE": Legacy(("DATA.UNIFORM_TWICE",), _flag),
    "VAL_SAMPLE_TIMES": Legacy(
        ("VAL.NUM_CLIPS",),
        note="counts the clips of the validation in training; --evaluate takes TEST.NUM_CLIPS = 10",
    ),
    "VAL_FLIP": Legacy(("TEST.FLIP",), _flag),
    "VAL_TEST_AUG": Legacy(("VAL.NUM_CROPS", "TEST.NUM_CROPS"), _num_crops),
    "TRN_PATCH_SIZE": Legacy(("DATA.IMAGE_SIZE",)),
    "TRN_SHORT_SIDE_RANGE": Legacy(("AUG.SHORT_SIDE_RANGE",)),
    "VAL_PATCH_SIZE": Legacy(("DATA.IMAGE_SIZE",)),
    "VAL_SHORT_SIDE": Legacy(("DATA.TEST_SHORT_SIDE",)),
    "NET": Legacy(("MODEL.NAME",), _model_name),
    "BASE_NET": Legacy(("MODEL.BACKBONE",)),
    "NUM_CLASS": Legacy(("MODEL.NUM_CLASSES",)),
    "CONSENSUS_TYPE": Legacy((), _consensus),
    "PARTIAL_BN": Legacy(("MODEL.PARTIAL_BN",), _flag),
    "SHIFT_DIV": Legacy(("MODEL.SHIFT.FOLD_DIV",)),
    "IS_SHIFT": Legacy(note="is not read: NET alone decides whether tokens shift"),
    "DROP_OUT": Legacy(note=_NO_EFFECT),
    "DROP_BLOCK": Legacy(note=_NO_EFFECT),
    "PRETRAIN": Legacy(note=_NO_EFFECT + "; weights come by --tune_from"),
    "PRINT_SPEC": Legacy(note=_NO_EFFECT),
    "USE_PRECISE_BN": Legacy(note=_NO_EFFECT),
    "VER": Legacy(note=_NO_EFFECT),
}

PATCH_SIZES = ("TRN_PATCH_SIZE", "VAL_PATCH_SIZE")  # both name the one size of the model

RENAMED_KEYS: dict[str, Legacy] = {  # ours of earlier versions; checkpoints hold them
    "TRAIN.UNDERWEIGHTS_LAST_GROUP": Legacy(("TRAIN.LAST_GROUP",), _last_group),
}


def renamed(key: str, value: Any, source: str) -> tuple[str, Any]:
    """Return a dotted key and its value as they are called now, with a logged note.

    Raises:
        ValueError: The value was none that the old key took.
    """
    if key not in RENAMED_KEYS:
        return key, value
    ((name,), convert, *_) = RENAMED_KEYS[key]
    try:
        converted = convert(value)
    except ValueError as error:
        raise ValueError(f"{source}: {key}={shown(value)}: {error}") from error
    _log.info("%s: %s: %s is %s %s now", source, key, shown(value), name, converted)
    return name, converted


def is_legacy(tree: dict[str, Any]) -> bool:
    """Tell whether a parsed yml is one of the release: a flat one, or of its second version."""
    return any(key in LEGACY_KEYS for key in tree) or is_laps(tree)


def convert_legacy(tree: dict[str, Any], source: str) -> dict[str, Any]:
    """Return a released tree as ours, with a logged note for each key that needs one.

    Args:
        tree: Tree of released keys and values; sections of our own may stand beside them.
        source: Name of the file that it came from, for the messages.

    Raises:
        ValueError: A value has no counterpart, or the two patch sizes differ.
    """
    if is_laps(tree):
        return convert_laps(tree, source)
    sizes = {key: decoded(tree[key]) for key in PATCH_SIZES if key in tree}
    check_patch_sizes(sizes, source)
    _check_given_once(tree, source)
    ours = {key: value for key, value in tree.items() if key not in LEGACY_KEYS}
    for key, value in tree.items():
        if key not in LEGACY_KEYS:
            continue
        legacy = LEGACY_KEYS[key]
        converted = legacy.read(key, _read(legacy, value), source)
        for path in legacy.keys:
            section, _, name = path.rpartition(".")
            _section(ours, section, source)[name] = converted
    return ours


def released_run_name(cfg: CfgNode) -> str:
    """Return the release's name for an experiment, which names its folder."""
    return MODEL_RULES[cfg.MODEL.NAME].run_name(cfg)


def _section(tree: dict[str, Any], dotted: str, source: str) -> dict[str, Any]:
    """Return the mapping of a section, made where it is missing or empty."""
    for name in dotted.split("."):
        if tree.get(name) is None:
            tree[name] = {}
        tree = tree[name]
        if not isinstance(tree, dict):
            raise ValueError(f"{source}: {dotted} is a section, got {shown(tree)} for {name}")
    return tree


def check_patch_sizes(sizes: dict[str, Any], source: str) -> None:
    """Raise ``ValueError`` if `PATCH_SIZES` give training and validation two sizes."""
    values = [sizes[key] for key in PATCH_SIZES if key in sizes]
    if len(values) == 2 and values[0] != values[1]:
        ours, theirs = (f"{key}={shown(sizes[key])}" for key in PATCH_SIZES)
        raise ValueError(f"{source}: {ours} and {theirs} differ; the model is built for one size")


def _read(legacy: Legacy, value: Any) -> Any:
    """Return what the value stands for; a text stays as it is where ours is one."""
    node = get_defaults()
    for name in legacy.keys[0].split(".") if legacy.keys else ():
        node = node[name]
    return value if isinstance(node, str) else decoded(value)


def _check_given_once(tree: dict[str, Any], source: str) -> None:
    """Raise ``ValueError`` if a released key and our own say the same thing twice."""
    for key, legacy in LEGACY_KEYS.items():
        for path in legacy.keys if key in tree else ():
            node: Any = tree
            for name in path.split("."):
                node = node.get(name) if isinstance(node, dict) else None
            if node is not None:
                raise ValueError(f"{source}: {path} is given twice, as {key} and as {path}")
