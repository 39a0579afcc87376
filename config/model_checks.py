"""What a config must hold for each model: one `ModelRules` a MODEL.NAME, without building it."""

import difflib
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from yacs.config import CfgNode

from config.backbones import BACKBONES, EXPLICIT_SIZES, PLAIN, RESNETS, SIZES
from config.defaults import get_defaults
from config.values import shown

_log = logging.getLogger(__name__)
_UNSET = get_defaults().MODEL.VIT
VIT_CHOICES = {  # of what is ``auto`` until the backbone's name is looked at
    "ACTIVATION": ("gelu", "quick_gelu", "swiglu"),
    "POSITIONS": ("all", "patches", "rotary"),
    "POOL": ("token", "mean", "both"),
    "POS_RESIZE": ("bilinear", "half_pixel", "bicubic", "dinov2"),
}


def no_faults(cfg: CfgNode) -> list[str]:
    """Find nothing wrong."""
    return []


def run_name(cfg: CfgNode, net: str = "") -> str:
    """Return the TokShift release's name for an experiment; the net is MODEL.NAME by default."""
    data, optim = cfg.DATA, cfg.OPTIM
    return (
        f"{net or cfg.MODEL.NAME}_{cfg.MODEL.BACKBONE}_{data.NAME}_{data.SAMPLING}"
        f"_cls{cfg.MODEL.NUM_CLASSES}_segs{data.NUM_FRAMES}x{data.FRAME_STRIDE}"
        f"_e{cfg.TRAIN.EPOCHS}_lr{optim.LR}_gd{optim.CLIP_GRAD_NORM}"
        f"_ShiftDiv{cfg.MODEL.SHIFT.FOLD_DIV}_bch{cfg.TRAIN.CLIPS_PER_GPU}_VAL{data.IMAGE_SIZE}"
    )


@dataclass(frozen=True)
class ModelRules:
    """What the checks of a config ask of a model.

    Attributes:
        faults: Function that returns what the model cannot be, a line each with key, value and what
            is allowed; it may fill in sizes that the config leaves open.
        shape_faults: Function that returns what does not fit together among sizes that are each
            valid; called where nothing else is at fault.
        run_name: Function that names the run's folder, where OUTPUT_DIR is empty.
        shifts: Whether frames give channels to each other; with one frame these would be zeros.
        other_input: Function that returns the keys, with values, that make it take anything but one
            RGB image a frame, which can neither be read nor exported; "" where it takes RGB.
        has_released_layout: Whether the released TokShift code can read its checkpoints.
        has_backbone_sizes: Whether MODEL.BACKBONE stands for the sizes of MODEL.VIT.
    """

    faults: Callable[[CfgNode], list[str]] = no_faults
    shape_faults: Callable[[CfgNode], list[str]] = no_faults
    run_name: Callable[[CfgNode], str] = run_name
    shifts: Callable[[CfgNode], bool] = lambda cfg: False
    other_input: Callable[[CfgNode], str] = lambda cfg: ""
    has_released_layout: bool = False
    has_backbone_sizes: bool = False


def transformer_faults(cfg: CfgNode) -> list[str]:
    """Return what a transformer cannot be; complete MODEL.VIT from the backbone's name.

    An unknown name may stand if all sizes are explicit.
    """
    faults, sizes, name = [], cfg.MODEL.VIT, cfg.MODEL.BACKBONE
    test_size, image_size = cfg.TEST.IMAGE_SIZE, cfg.DATA.IMAGE_SIZE
    if test_size not in (0, image_size):
        faults.append(
            f"TEST.IMAGE_SIZE={test_size}; a transformer is built for "
            f"DATA.IMAGE_SIZE={image_size} alone"
        )
    if name.startswith("R50"):
        return [
            *faults,
            f"MODEL.BACKBONE={name!r}: the hybrid of ResNet and ViT is not supported",
        ]
    faults += [
        f"MODEL.VIT.{key}={shown(sizes[key])}; choose one of {[_UNSET[key], *choices]}"
        for key, choices in VIT_CHOICES.items()
        if sizes[key] not in (_UNSET[key], *choices)
    ]
    published = BACKBONES.get(name, {})
    others = {
        key: sizes[key]
        for key in (*SIZES, "DROPOUT")
        if key in published and sizes[key] not in (_UNSET[key], published[key])
    }
    if others:
        _log.warning("MODEL.VIT overrides sizes of MODEL.BACKBONE=%s: %s", name, others)
    if not published:
        faults += _unknown_options(cfg)
    for key, value in (published or PLAIN | {"DROPOUT": 0.0}).items():
        if sizes[key] == _UNSET[key]:
            sizes[key] = value
    empty = [f"MODEL.VIT.{key}" for key in SIZES if sizes[key] == 0]
    if empty:
        faults.append(
            f"MODEL.BACKBONE={name!r}; choose one of {sorted(BACKBONES)} or set {', '.join(empty)}"
        )
    return faults


def _unknown_options(cfg: CfgNode) -> list[str]:
    """Return what neither weights nor the name of a backbone of one's own would tell."""
    vit: CfgNode = cfg.MODEL.VIT
    wanted: dict[str, str] = {}
    if vit.PRE_NORM:
        wanted |= {"ACTIVATION": "quick_gelu (OpenAI's CLIP) or gelu (LAION's)"}
    if vit.PRE_NORM or vit.POSITIONS == "rotary":
        wanted |= {"NORM_EPS": "1e-5 (CLIP and DINOv3)"}
    return [
        f"MODEL.VIT.{key} is not set; with MODEL.VIT.PRE_NORM={vit.PRE_NORM} and "
        f"MODEL.VIT.POSITIONS={vit.POSITIONS!r} neither weights nor MODEL.BACKBONE="
        f"{cfg.MODEL.BACKBONE!r} tell it: {values}"
        for key, values in wanted.items()
        if vit[key] == _UNSET[key]
    ]


def inherited_sizes(cfg: CfgNode, values: Mapping[str, Any]) -> list[str]:
    """Return the keys of MODEL.VIT that a yml which names a backbone does not inherit.

    Args:
        cfg: Config of its bases.
        values: Values that it sets itself, by key.
    """
    if values.get("MODEL.BACKBONE", cfg.MODEL.BACKBONE) == cfg.MODEL.BACKBONE:
        return []
    named = [key for key in (*SIZES, *PLAIN) if cfg.MODEL.VIT[key] != _UNSET[key]]
    return [key for key in named if f"MODEL.VIT.{key}" not in values]


def check_backbone(cfg: CfgNode, source: str) -> None:
    """Reject a yml whose backbone's name and sizes contradict each other.

    Raises:
        ValueError: The name is unknown, or known and a size differs.
    """
    name, sizes = cfg.MODEL.BACKBONE, cfg.MODEL.VIT
    rules = MODEL_RULES.get(cfg.MODEL.NAME)
    if name in EXPLICIT_SIZES or name.startswith("R50") or not (rules and rules.has_backbone_sizes):
        return
    if name not in BACKBONES:
        plain = {known.lower().replace("-", "_"): known for known in BACKBONES}
        (nearest,) = difflib.get_close_matches(name.lower().replace("-", "_"), plain, 1, 0)
        raise ValueError(
            f"{source}: MODEL.BACKBONE={shown(name)}; choose one of {sorted(BACKBONES)}, or custom "
            f"with all sizes of MODEL.VIT; the nearest is {plain[nearest]}"
        )
    published = {key: BACKBONES[name][key] for key in SIZES}
    others = [f"{k}={sizes[k]}, not {v}" for k, v in published.items() if sizes[k] not in (0, v)]
    if others:
        raise ValueError(
            f"{source}: MODEL.BACKBONE={name!r}, but MODEL.VIT.{'; MODEL.VIT.'.join(others)}; "
            "leave MODEL.VIT out, or call the backbone custom"
        )


def transformer_shape_faults(cfg: CfgNode) -> list[str]:
    """Return what does not fit together among the sizes of a transformer."""
    faults, size, vit = [], cfg.DATA.IMAGE_SIZE, cfg.MODEL.VIT
    if min(vit[key] for key in SIZES) < 1:
        return [f"MODEL.VIT holds a negative size: {dict(vit)}"]
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
    if vit.NORM_EPS < 0:
        faults.append(f"MODEL.VIT.NORM_EPS={vit.NORM_EPS}; it must be 0 (from the name) or more")
    if vit.POSITIONS == "rotary" and vit.HIDDEN_SIZE // vit.NUM_HEADS % 4:
        faults.append(
            f"MODEL.VIT.POSITIONS='rotary' needs heads of a multiple of 4 channels, "
            f"MODEL.VIT.HIDDEN_SIZE={vit.HIDDEN_SIZE} / MODEL.VIT.NUM_HEADS={vit.NUM_HEADS}"
        )
    if vit.ACTIVATION == "swiglu" and vit.MLP_DIM % 2:
        faults.append(
            f"MODEL.VIT.MLP_DIM={vit.MLP_DIM} is odd; MODEL.VIT.ACTIVATION='swiglu' halves it"
        )
    return faults


def tokshift_shape_faults(cfg: CfgNode) -> list[str]:
    """Return what does not fit together among the sizes of a TokShift."""
    faults = transformer_shape_faults(cfg)
    fold_div, width = cfg.MODEL.SHIFT.FOLD_DIV, cfg.MODEL.VIT.HIDDEN_SIZE
    if width >= 1 and not 1 <= fold_div <= width:
        faults.append(
            f"MODEL.SHIFT.FOLD_DIV={fold_div}; it must lie between 1 and the width, "
            f"MODEL.VIT.HIDDEN_SIZE={width}, or no channel shifts"
        )
    return faults


def tsm_faults(cfg: CfgNode) -> list[str]:
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
    if cfg.MODEL.HEAD_INIT != "zeros":
        faults.append(
            f"MODEL.HEAD_INIT={cfg.MODEL.HEAD_INIT!r} is for transformers; the head of a tsm is "
            "always drawn"
        )
    faults += [
        f"MODEL.{key} is for transformers; a tsm has none"
        for key in ("DROP_PATH", "CHECKPOINTS_BLOCKS")
        if cfg.MODEL[key]
    ]
    return faults


def tsm_run_name(cfg: CfgNode) -> str:
    """Return the TSM release's name for an experiment, its parts in its order."""
    tsm, data = cfg.MODEL.TSM, cfg.DATA
    moves = f"_{tsm.OP}{tsm.FOLD_DIV}_{tsm.PLACEMENT}" if tsm.SHIFT else ""
    return (
        f"TSM_{data.NAME}_{tsm.MODALITY}_{cfg.MODEL.BACKBONE}{moves}"
        + ("_tpool" if tsm.TEMPORAL_POOL else "")
        + f"_avg_segment{data.NUM_FRAMES}_e{cfg.TRAIN.EPOCHS}"
        + ("_cos" if cfg.OPTIM.SCHEDULE == "cosine" else "")
        + ("_dense" if "dense" in data.SAMPLING else "")
        + ("_nl" if tsm.NON_LOCAL else "")
    )


def tsm_other_input(cfg: CfgNode) -> str:
    """Name the keys that make a TSM take flow, or several images a frame."""
    tsm = cfg.MODEL.TSM
    if tsm.MODALITY == "RGB" and tsm.NEW_LENGTH <= 1:
        return ""
    return f"MODEL.TSM.MODALITY={tsm.MODALITY!r}, MODEL.TSM.NEW_LENGTH={tsm.NEW_LENGTH}"


MODEL_RULES = {
    "vit": ModelRules(
        transformer_faults,
        transformer_shape_faults,
        run_name=partial(run_name, net="ViT"),
        has_released_layout=True,
        has_backbone_sizes=True,
    ),
    "tokshift": ModelRules(
        transformer_faults,
        tokshift_shape_faults,
        run_name=partial(run_name, net="TokShift"),
        shifts=lambda cfg: True,
        has_released_layout=True,
        has_backbone_sizes=True,
    ),
    "timesformer": ModelRules(
        transformer_faults, transformer_shape_faults, has_backbone_sizes=True
    ),
    "tsm": ModelRules(
        tsm_faults,
        run_name=tsm_run_name,
        shifts=lambda cfg: cfg.MODEL.TSM.SHIFT,
        other_input=tsm_other_input,
    ),
}
