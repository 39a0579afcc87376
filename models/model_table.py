"""Models by name: the only place where a name in the config becomes a class."""

from collections.abc import Callable

from torch import nn
from yacs.config import CfgNode

from models.resnet_tsm import ResNetTSM, TSMOptions
from models.timesformer import TimeSformer
from models.tokshift import tokshift
from models.vit import VisionTransformer, ViTSize, vit

VideoModel = VisionTransformer | TimeSformer | ResNetTSM


def build_model(cfg: CfgNode) -> VideoModel:
    """Build the model that ``cfg.MODEL`` describes, on the CPU, with fresh weights.

    Args:
        cfg: A config from `config.load_cfg`.

    Returns:
        A module from clips (B, T, 3, H, W), normalised, to logits (B, K).

    Raises:
        ValueError: MODEL.NAME is unknown, or the sizes do not fit together.
    """
    if cfg.MODEL.NAME not in MODELS:
        raise ValueError(f"MODEL.NAME={cfg.MODEL.NAME!r}; choose one of {sorted(MODELS)}")
    model = MODELS[cfg.MODEL.NAME](cfg)
    if cfg.MODEL.PARTIAL_BN and not isinstance(model, ResNetTSM):
        _freeze_norms_but_first(model)
    return model


def _build_vit(cfg: CfgNode) -> VisionTransformer:
    return vit(
        _vit_size(cfg),
        image_size=cfg.DATA.IMAGE_SIZE,
        num_classes=cfg.MODEL.NUM_CLASSES,
        drop_path=cfg.MODEL.DROP_PATH,
        checkpoints_blocks=cfg.MODEL.CHECKPOINTS_BLOCKS,
    )


def _build_tokshift(cfg: CfgNode) -> VisionTransformer:
    return tokshift(
        _vit_size(cfg),
        image_size=cfg.DATA.IMAGE_SIZE,
        num_classes=cfg.MODEL.NUM_CLASSES,
        fold_div=cfg.MODEL.SHIFT.FOLD_DIV,
        direction=cfg.MODEL.SHIFT.DIRECTION,
        shifts_residual=cfg.MODEL.SHIFT.ON_RESIDUAL,
        drop_path=cfg.MODEL.DROP_PATH,
        checkpoints_blocks=cfg.MODEL.CHECKPOINTS_BLOCKS,
    )


def _build_timesformer(cfg: CfgNode) -> TimeSformer:
    size = _vit_size(cfg)
    return TimeSformer(
        image_size=cfg.DATA.IMAGE_SIZE,
        num_frames=cfg.DATA.NUM_FRAMES,
        num_classes=cfg.MODEL.NUM_CLASSES,
        **vars(size),
        attention=cfg.MODEL.TIMESFORMER.ATTENTION,
        drop_path=cfg.MODEL.DROP_PATH,
        checkpoints_blocks=cfg.MODEL.CHECKPOINTS_BLOCKS,
        time_resize=cfg.MODEL.TIMESFORMER.TIME_RESIZE,
    )


def _build_tsm(cfg: CfgNode) -> ResNetTSM:
    tsm = cfg.MODEL.TSM
    options = TSMOptions(
        op=tsm.OP,
        order=tsm.ORDER,
        direction=tsm.DIRECTION,
        ratio=tsm.RATIO,
        temporal_pool=tsm.TEMPORAL_POOL,
        non_local=tsm.NON_LOCAL,
        modality=tsm.MODALITY,
        new_length=tsm.NEW_LENGTH,
        dropout=tsm.DROPOUT,
        partial_bn=cfg.MODEL.PARTIAL_BN,
        layers=tsm.LAYERS,
        width=tsm.WIDTH,
    )
    return ResNetTSM(
        depth=int(cfg.MODEL.BACKBONE.removeprefix("resnet")),
        num_classes=cfg.MODEL.NUM_CLASSES,
        fold_div=tsm.FOLD_DIV if tsm.SHIFT else 0,
        placement=tsm.PLACEMENT,
        options=options,
    )


MODELS: dict[str, Callable[[CfgNode], VideoModel]] = {
    "vit": _build_vit,
    "tokshift": _build_tokshift,
    "timesformer": _build_timesformer,
    "tsm": _build_tsm,
}


def _vit_size(cfg: CfgNode) -> ViTSize:
    return ViTSize(**{key.lower(): value for key, value in cfg.MODEL.VIT.items()})


def _freeze_norms_but_first(model: nn.Module) -> None:
    """Freeze every LayerNorm after the first, as the release does under PARTIAL_BN."""
    norms = [module for module in model.modules() if isinstance(module, nn.LayerNorm)]
    for norm in norms[1:]:
        norm.requires_grad_(False)
