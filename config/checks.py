"""Checks of a config that need nothing but the config; files are checked where they are read."""

import logging
import re
from collections.abc import Mapping, Sequence
from typing import Any

from yacs.config import CfgNode

from config.backbones import PLAIN
from config.data_checks import data_faults
from config.distillation_checks import distill_faults
from config.limits import limit_faults
from config.model_checks import MODEL_RULES, ModelRules
from config.multi_label_checks import multi_label_faults
from config.training_checks import training_faults
from config.values import shown

_log = logging.getLogger(__name__)

COMMAND_LINE = "the command line"
_KEY = re.compile(r"[A-Z]+(?:[._][A-Z0-9]+)*")  # of a config, within a text

CHOICES = {
    "AUG.CROP": ("short_side", "multi_scale", "multi_scale_rounded", "scale_jitter", "laps"),
    "AUG.CUTMIX_BOX": ("space", "paddle"),
    "DATA.DECODER": ("auto", "pyav", "torchcodec"),
    "DATA.SAMPLING": (
        *("dense", "mmaction_dense", "uniform", "tsn", "tsm_dense"),
        *("linspace", "paddle_dense", "laps"),
    ),
    "DATA.WINDOW": ("whole", "paddle"),
    "DISTILL.LOSS": ("kd", "dml"),
    "DISTILL.SEES": ("student_clip", "own_clip"),
    "MODEL.HEAD_INIT": ("zeros", "normal"),
    "MODEL.SHIFT.DIRECTION": ("both", "past"),
    "MODEL.TIMESFORMER.ATTENTION": ("divided", "joint", "space_only"),
    "MODEL.TIMESFORMER.TIME_RESIZE": ("nearest", "linear"),
    "MODEL.TSM.OP": ("shift", "blend", "squeezed_conv", "depthwise_conv"),
    "MODEL.TSM.PLACEMENT": ("blockres", "block"),
    "MODEL.TSM.ORDER": ("future_first", "past_first"),
    "MODEL.TSM.DIRECTION": ("both", "past"),
    "MODEL.TSM.MODALITY": ("RGB", "Flow"),
    "MODEL.TSM.NON_LOCAL_MODE": ("", "embedded_gaussian", "dot_product", "gaussian"),
    "OPTIM.GROUPS": ("one", "vit", "pp_timesformer", "tsm", "paddle"),
    "OPTIM.NAME": ("sgd", "adamw"),
    "OPTIM.WARMUP_RULE": ("factor", "line"),
    "OPTIM.SCHEDULE": ("multistep", "cosine"),
    "TRAIN.AMP": ("none", "auto", "bf16", "fp16"),
    "TRAIN.CHECKPOINT_LAYOUT": ("plain", "released"),
    "TRAIN.LAST_GROUP": ("underweight", "reweight", "drop"),
    "VAL.NUM_CROPS": (1, 3, 5),
    "TEST.NUM_CROPS": (1, 3, 5),
    "TEST.CROPS": ("tokshift", "tsm", "uniform", "multi_centre", "mmaction", "laps"),
}
AT_LEAST_ONE = (
    "AUG.REPEATS",
    "DATA.NUM_FRAMES",
    "DATA.FRAME_STRIDE",
    "DATA.MIN_FRAMES",
    "DATA.IMAGE_SIZE",
    "DATA.MAX_FRAME_PIXELS",
    "DATA.TEST_SHORT_SIDE",
    "MODEL.NUM_CLASSES",
    "MODEL.TSM.FOLD_DIV",
    "MODEL.TSM.WIDTH",
    "TRAIN.EPOCHS",
    "TRAIN.CLIPS_PER_GPU",
    "TRAIN.ACCUMULATION",
    "TRAIN.KEEP_LAST",
    "TRAIN.PRINT_FREQ",
    "VAL.NUM_CLIPS",
    "VAL.VIDEOS_PER_GPU",
    "TEST.NUM_CLIPS",
)
NOT_NEGATIVE = (
    "DATA.FIRST_FRAME",
    "AUG.JITTER_ONE_IN",
    "AUG.MIXUP_ALPHA",
    "AUG.CUTMIX_ALPHA",
    "AUG.RANDAUG_NUM_OPS",
    "MODEL.TSM.NEW_LENGTH",
    "MODEL.TSM.RATIO",
    "MODEL.VIT.NUM_REGISTERS",
    "OPTIM.LR",
    "OPTIM.MIN_LR",
    "OPTIM.WEIGHT_DECAY",
    "OPTIM.GAMMA",
    "OPTIM.WARMUP_EPOCHS",
    "OPTIM.WARMUP_START",
    "OPTIM.CLIP_GRAD_NORM",
    "OPTIM.REFERENCE_LR",
    "OPTIM.REFERENCE_BATCH",
    "TRAIN.CHECKPOINT_MINUTES",
    "TRAIN.CHECKPOINT_STEPS",
    "TRAIN.MAX_ITERATIONS",
    "TRAIN.PATIENCE",
    "TRAIN.KEEP_EVERY",
    "TRAIN.SWA.START_EPOCH",
    "TRAIN.SWA.LR",
    "TRAIN.SWA.CYCLE_EPOCHS",
    "TRAIN.SWA.ANNEAL_EPOCHS",
    "TEST.IMAGE_SIZE",
    "TRAIN.GLOBAL_BATCH",
    "VAL.SHORT_SIDE",
    "SEED",
    "TEST.VIEWS_PER_FORWARD",
)
BELOW_ONE = (
    "LOSS.LABEL_SMOOTHING",
    "MODEL.DROP_PATH",
    "MODEL.TSM.DROPOUT",
    "MODEL.VIT.DROPOUT",
    "OPTIM.MOMENTUM",
    "TRAIN.EMA_DECAY",
)
# One field, filled up to 99 digits: a wider one would take the memory of every reader.
FRAME_TEMPLATE = re.compile(r"([^{}]|{{|}})*\{0?(:0?[0-9]{0,2}d?)?\}([^{}]|{{|}})*")
SHARES = (
    "AUG.CUTMIX_SHARE",
    "AUG.ERASING_PROB",
    "AUG.MIX_PROB",
    "DATA.BALANCE",
    "TRAIN.MAX_BAD_SHARE",
)


def check_cfg(cfg: CfgNode, source: str, sources: Mapping[str, str] | None = None) -> None:
    """Fill in the sizes of the backbone and reject values that cannot work.

    Args:
        cfg: Config that is not frozen yet; MODEL.VIT is completed in place.
        source: Name of the file that the config came from, for the messages.
        sources: Place where each key was set, as far as it was set elsewhere.

    Raises:
        ValueError: Lists every fault found, each with key, value and what is allowed.
    """
    faults = limit_faults(cfg)
    if not faults:  # of absurd numbers nothing else is worked out
        faults = _choice_faults(cfg) + _range_faults(cfg) + data_faults(cfg) + training_faults(cfg)
        faults += distill_faults(cfg) + multi_label_faults(cfg)
    name = cfg.MODEL.NAME
    if name not in MODEL_RULES:
        faults.append(f"MODEL.NAME={shown(name)}; choose one of {sorted(MODEL_RULES)}")
    rules = MODEL_RULES.get(name, ModelRules())
    faults += rules.faults(cfg)
    if not faults:
        faults = rules.shape_faults(cfg)
    if cfg.TRAIN.CHECKPOINT_LAYOUT == "released":
        faults += _released_layout_faults(cfg, rules)
    if faults:
        raise ValueError(_blamed(faults, source, sources or {}))
    _warn_of_padding(cfg)
    if rules.shifts(cfg) and cfg.DATA.NUM_FRAMES == 1:
        _log.warning(
            "DATA.NUM_FRAMES=1: each shift zeroes the moved channels of the only frame, as released"
        )
    if rules.has_backbone_sizes and rules.shifts(cfg) and cfg.MODEL.VIT.POOL == "mean":
        _log.warning(
            "MODEL.VIT.POOL=mean: the patches are classified, and the shift moves class tokens, so "
            "that it hardly reaches the logits (0.02 of them); MODEL.VIT.POOL token"
        )


def _blamed(faults: Sequence[str], source: str, sources: Mapping[str, str]) -> str:
    """Return the faults below the places that they came from.

    That is the command line, if it set any of the keys that a fault names, else where the first of
    them was set.
    """
    by_place: dict[str, list[str]] = {}
    for fault in faults:
        places = [sources[key] for key in _KEY.findall(fault) if key in sources]
        first = COMMAND_LINE if COMMAND_LINE in places else (*places, source)[0]
        by_place.setdefault(first, []).append(fault)
    return "\n".join(f"{place}:\n  " + "\n  ".join(part) for place, part in by_place.items())


def _released_layout_faults(cfg: CfgNode, rules: ModelRules) -> list[str]:
    """Return what the released TokShift code could not read or go on with."""
    faults = []
    if not rules.has_released_layout:
        faults.append(
            f"TRAIN.CHECKPOINT_LAYOUT='released' is for TokShift; for {cfg.MODEL.NAME} choose "
            "'plain'"
        )
    if not cfg.MODEL.VIT.QKV_BIAS:
        faults.append("MODEL.VIT.QKV_BIAS=False; TRAIN.CHECKPOINT_LAYOUT released needs the biases")
    plain = PLAIN.items()
    faults += [
        f"MODEL.VIT.{key}={cfg.MODEL.VIT[key]!r}; TRAIN.CHECKPOINT_LAYOUT released has {value!r}"
        for key, value in plain
        if rules.has_released_layout and key != "POS_RESIZE" and cfg.MODEL.VIT[key] != value
    ]
    return faults


def _warn_of_padding(cfg: CfgNode) -> None:
    data, sides = cfg.DATA, cfg.AUG.SHORT_SIDE_RANGE
    test_side = min(data.TEST_SHORT_SIDE, cfg.VAL.SHORT_SIDE or data.TEST_SHORT_SIDE)
    pads_test = cfg.TEST.CROPS == "tokshift" and test_side < data.IMAGE_SIZE
    if pads_test or (cfg.AUG.CROP == "short_side" and sides[0] < data.IMAGE_SIZE):
        _log.warning(
            "a test's short side %d or AUG.SHORT_SIDE_RANGE=%s starts below DATA.IMAGE_SIZE=%d: "
            "what is missing is black, as released",
            *(test_side, sides, data.IMAGE_SIZE),
        )


def value_at(cfg: CfgNode, key: str) -> Any:
    """Return the value of a dotted key."""
    node = cfg
    for name in key.split("."):
        node = node[name]
    return node


def _choice_faults(cfg: CfgNode) -> list[str]:
    faults = [
        f"{key}={shown(value_at(cfg, key))}; choose one of {list(choices)}"
        for key, choices in CHOICES.items()
        if value_at(cfg, key) not in choices
    ]
    template = cfg.DATA.FRAME_TEMPLATE
    if not FRAME_TEMPLATE.fullmatch(template):
        faults.append(
            f"DATA.FRAME_TEMPLATE={shown(template)}; "
            "it must hold one integer field, as in img_{:05d}.jpg"
        )
    return faults


def _range_faults(cfg: CfgNode) -> list[str]:
    faults = []
    rules = (
        (AT_LEAST_ONE, "at least 1", lambda value: value >= 1),
        (NOT_NEGATIVE, "0 or more", lambda value: value >= 0),
        (SHARES, "from 0 to 1", lambda value: 0 <= value <= 1),
        (BELOW_ONE, "from 0 to below 1", lambda value: value is None or 0 <= value < 1),
    )
    for keys, allowed, holds in rules:
        faults += [
            f"{key}={value_at(cfg, key)!r}; it must be {allowed}"
            for key in keys
            if not holds(value_at(cfg, key))
        ]
    return faults
