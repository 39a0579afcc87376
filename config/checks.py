"""Checks of a config that need nothing but the config; files are checked where they are read."""

import logging
from typing import Any

from yacs.config import CfgNode

from config.backbones import BACKBONES, RESNETS
from config.data_checks import data_faults
from config.distillation_checks import distill_faults
from config.training_checks import training_faults

_log = logging.getLogger(__name__)

CHOICES = {
    "AUG.CROP": ("short_side", "multi_scale", "multi_scale_rounded", "scale_jitter"),
    "AUG.CUTMIX_BOX": ("space", "paddle"),
    "DATA.DECODER": ("auto", "pyav", "torchcodec"),
    "DATA.SAMPLING": ("dense", "uniform", "tsn", "tsm_dense", "linspace", "paddle_dense"),
    "DATA.WINDOW": ("whole", "paddle"),
    "DISTILL.LOSS": ("kd", "dml"),
    "DISTILL.SEES": ("student_clip", "own_clip"),
    "MODEL.SHIFT.DIRECTION": ("both", "past"),
    "MODEL.TIMESFORMER.ATTENTION": ("divided", "joint", "space_only"),
    "MODEL.TIMESFORMER.TIME_RESIZE": ("nearest", "linear"),
    "MODEL.TSM.OP": ("shift", "blend", "squeezed_conv", "depthwise_conv"),
    "MODEL.TSM.PLACEMENT": ("blockres", "block"),
    "MODEL.TSM.ORDER": ("future_first", "past_first"),
    "MODEL.TSM.DIRECTION": ("both", "past"),
    "MODEL.TSM.MODALITY": ("RGB", "Flow"),
    "OPTIM.GROUPS": ("one", "vit", "pp_timesformer", "tsm", "paddle"),
    "OPTIM.NAME": ("sgd", "adamw"),
    "OPTIM.WARMUP_RULE": ("factor", "line"),
    "OPTIM.SCHEDULE": ("multistep", "cosine"),
    "TRAIN.AMP": ("none", "auto", "bf16", "fp16"),
    "TRAIN.CHECKPOINT_LAYOUT": ("plain", "released"),
    "TRAIN.LAST_GROUP": ("underweight", "reweight", "drop"),
    "VAL.NUM_CROPS": (1, 3, 5),
    "TEST.NUM_CROPS": (1, 3, 5),
    "TEST.CROPS": ("tokshift", "tsm", "uniform", "multi_centre"),
}
AT_LEAST_ONE = (
    "AUG.REPEATS",
    "DATA.NUM_FRAMES",
    "DATA.FRAME_STRIDE",
    "DATA.MIN_FRAMES",
    "DATA.IMAGE_SIZE",
    "DATA.TEST_SHORT_SIDE",
    "MODEL.NUM_CLASSES",
    "MODEL.TSM.FOLD_DIV",
    "MODEL.TSM.WIDTH",
    "TRAIN.EPOCHS",
    "TRAIN.CLIPS_PER_GPU",
    "TRAIN.ACCUMULATION",
    "TRAIN.PRINT_FREQ",
    "VAL.NUM_CLIPS",
    "VAL.VIDEOS_PER_GPU",
    "TEST.NUM_CLIPS",
    "TEST.VIEWS_PER_FORWARD",
)
NOT_NEGATIVE = (
    "DATA.FIRST_FRAME",
    "DATA.WORKERS",
    "AUG.JITTER_ONE_IN",
    "AUG.MIXUP_ALPHA",
    "AUG.CUTMIX_ALPHA",
    "AUG.RANDAUG_NUM_OPS",
    "MODEL.TSM.NEW_LENGTH",
    "OPTIM.LR",
    "OPTIM.MIN_LR",
    "OPTIM.WEIGHT_DECAY",
    "OPTIM.WARMUP_EPOCHS",
    "OPTIM.CLIP_GRAD_NORM",
    "OPTIM.REFERENCE_LR",
    "OPTIM.REFERENCE_BATCH",
    "TRAIN.KEEP_EVERY",
    "TRAIN.SWA.START_EPOCH",
    "TRAIN.SWA.LR",
    "TRAIN.SWA.CYCLE_EPOCHS",
    "TRAIN.SWA.ANNEAL_EPOCHS",
    "TEST.IMAGE_SIZE",
    "TRAIN.GLOBAL_BATCH",
    "VAL.SHORT_SIDE",
    "SEED",
)
BELOW_ONE = (
    "LOSS.LABEL_SMOOTHING",
    "MODEL.DROP_PATH",
    "MODEL.TSM.DROPOUT",
    "MODEL.VIT.DROPOUT",
    "OPTIM.MOMENTUM",
    "TRAIN.EMA_DECAY",
)
SHARES = ("AUG.CUTMIX_SHARE", "AUG.ERASING_PROB", "AUG.MIX_PROB", "TRAIN.MAX_BAD_SHARE")


def check_cfg(cfg: CfgNode, source: str) -> None:
    """Fill in the sizes of the backbone and reject values that cannot work.

    Args:
        cfg: A config that is not frozen yet; MODEL.VIT is completed in place.
        source: Where the config came from, for the messages.

    Raises:
        ValueError: Lists every fault found, each with key, value and what is allowed.
    """
    faults = _choice_faults(cfg) + _range_faults(cfg) + data_faults(cfg) + training_faults(cfg)
    faults += distill_faults(cfg)
    faults += _tsm_faults(cfg) if cfg.MODEL.NAME == "tsm" else _fill_backbone(cfg)
    if not faults and cfg.MODEL.NAME != "tsm":
        faults = _shape_faults(cfg)
    if cfg.TRAIN.CHECKPOINT_LAYOUT == "released":
        faults += _released_layout_faults(cfg)
    if faults:
        raise ValueError(f"{source}:\n  " + "\n  ".join(faults))
    _warn_of_padding(cfg)
    shifts = cfg.MODEL.NAME == "tokshift" or (cfg.MODEL.NAME == "tsm" and cfg.MODEL.TSM.SHIFT)
    if shifts and cfg.DATA.NUM_FRAMES == 1:
        _log.warning(
            "DATA.NUM_FRAMES=1: each shift zeroes the moved channels of the only frame, as released"
        )


def _released_layout_faults(cfg: CfgNode) -> list[str]:
    """Return what the released TokShift code could not read or go on with."""
    faults = []
    if cfg.MODEL.NAME in ("tsm", "timesformer"):
        faults.append(
            f"TRAIN.CHECKPOINT_LAYOUT='released' is for TokShift; for {cfg.MODEL.NAME} choose "
            "'plain'"
        )
    if not cfg.MODEL.VIT.QKV_BIAS:
        faults.append("MODEL.VIT.QKV_BIAS=False; TRAIN.CHECKPOINT_LAYOUT released needs the biases")
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
        f"{key}={value_at(cfg, key)!r}; choose one of {list(choices)}"
        for key, choices in CHOICES.items()
        if value_at(cfg, key) not in choices
    ]
    template = cfg.DATA.FRAME_TEMPLATE
    try:
        has_number = template.format(1) != template.format(2)
    except (ValueError, IndexError, KeyError):
        has_number = False
    if not has_number:
        faults.append(
            f"DATA.FRAME_TEMPLATE={template!r}; "
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


def _tsm_faults(cfg: CfgNode) -> list[str]:
    """Return what a TSM cannot be, or does not have."""
    faults, tsm = [], cfg.MODEL.TSM
    if cfg.MODEL.BACKBONE not in RESNETS:
        faults.append(f"MODEL.BACKBONE={cfg.MODEL.BACKBONE!r}; for tsm choose one of {RESNETS}")
    if len(tsm.LAYERS) != 4 or (any(tsm.LAYERS) and min(tsm.LAYERS) < 1):
        faults.append(f"MODEL.TSM.LAYERS={tsm.LAYERS}; it must be four counts, or four zeros")
    if not 0 <= tsm.RATIO <= 0.5:
        faults.append(f"MODEL.TSM.RATIO={tsm.RATIO}; it must be from 0 to 0.5")
    for key, plain in (("PLACEMENT", "blockres"), ("DIRECTION", "both")):
        if tsm.OP != "shift" and tsm[key] != plain:
            faults.append(f"MODEL.TSM.{key}={tsm[key]!r}; it is for MODEL.TSM.OP shift alone")
    if tsm.TEMPORAL_POOL and cfg.DATA.NUM_FRAMES % 2:
        faults.append(f"DATA.NUM_FRAMES={cfg.DATA.NUM_FRAMES}; MODEL.TSM.TEMPORAL_POOL halves it")
    if cfg.OPTIM.GROUPS == "pp_timesformer":
        faults.append("OPTIM.GROUPS='pp_timesformer' is for transformers; for tsm choose another")
    faults += [
        f"{key} is for transformers; a tsm has none"
        for key in ("MODEL.DROP_PATH", "MODEL.CHECKPOINTS_BLOCKS")
        if value_at(cfg, key)
    ]
    return faults


def _fill_backbone(cfg: CfgNode) -> list[str]:
    """Complete MODEL.VIT from the backbone's name; an unknown name may stand if all is explicit."""
    sizes = cfg.MODEL.VIT
    name = cfg.MODEL.BACKBONE
    if name.startswith("R50"):
        return [f"MODEL.BACKBONE={name!r}: the hybrid of ResNet and ViT is not supported"]
    empty = [key for key, value in sizes.items() if value is None or (value == 0 and _is_size(key))]
    if name in BACKBONES:
        published = BACKBONES[name].items()
        others = {k: sizes[k] for k, v in published if k not in empty and sizes[k] != v}
        if others:
            _log.warning("MODEL.VIT overrides sizes of MODEL.BACKBONE=%s: %s", name, others)
        for key in empty:
            sizes[key] = BACKBONES[name][key]
        return []
    if sizes.DROPOUT is None:
        sizes.DROPOUT = 0.0
        empty.remove("DROPOUT")
    if not empty:
        return []
    return [
        f"MODEL.BACKBONE={name!r}; choose one of {sorted(BACKBONES)} or set "
        + ", ".join(f"MODEL.VIT.{key}" for key in empty)
    ]


def _is_size(key: str) -> bool:
    """Whether 0 is no value of a key of MODEL.VIT."""
    return key not in ("DROPOUT", "QKV_BIAS")


def _shape_faults(cfg: CfgNode) -> list[str]:
    """Return what does not fit together among sizes that are each valid."""
    faults = []
    size, vit = cfg.DATA.IMAGE_SIZE, cfg.MODEL.VIT
    if min(vit.PATCH_SIZE, vit.HIDDEN_SIZE, vit.MLP_DIM, vit.NUM_HEADS, vit.NUM_LAYERS) < 1:
        faults.append(f"MODEL.VIT holds a negative size: {dict(vit)}")
        return faults
    if size % vit.PATCH_SIZE:
        faults.append(
            f"DATA.IMAGE_SIZE={size} is not a multiple of the patch, "
            f"MODEL.VIT.PATCH_SIZE={vit.PATCH_SIZE}"
        )
    if vit.HIDDEN_SIZE % vit.NUM_HEADS:
        faults.append(
            f"MODEL.VIT.HIDDEN_SIZE={vit.HIDDEN_SIZE} is not a multiple of "
            f"MODEL.VIT.NUM_HEADS={vit.NUM_HEADS}"
        )
    fold_div = cfg.MODEL.SHIFT.FOLD_DIV
    if cfg.MODEL.NAME == "tokshift" and not 1 <= fold_div <= vit.HIDDEN_SIZE:
        faults.append(
            f"MODEL.SHIFT.FOLD_DIV={fold_div}; it must lie between 1 and the width, "
            f"MODEL.VIT.HIDDEN_SIZE={vit.HIDDEN_SIZE}, or no channel shifts"
        )
    return faults
