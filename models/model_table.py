"""Models by name: an entry each, the only place where a name in the config becomes a class.

What `config.model_checks` has by the same name is what the config must hold for it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from yacs.config import CfgNode

from models.explain.grad_cam import STAGES
from models.explain.seen_maps import SeenMaps, timesformer_maps, tsm_maps, vit_maps
from models.freezing import freeze
from models.layer_features import timesformer_layer, tsm_layer, vit_layer
from models.online import OnlineModel, OnlineTSM, OnlineViT
from models.resnet_tsm import ResNetTSM, TSMOptions
from models.timesformer import TimeSformer
from models.tokshift import tokshift
from models.video_model import VideoModel
from models.vit import VisionTransformer, ViTSize, vit


@dataclass(frozen=True)
class ModelEntry:
    """A network and what the code around it needs, beside what `VideoModel` has.

    Attributes:
        network: Class of the network, a `VideoModel`.
        build: Function that makes the model of a config, with fresh weights.
        online: Function that makes of the model one that runs frame by frame; None where later
            frames always matter.
        image_keys: KEY VALUE pairs that make it the same network on single images, for comparison.
        maps: Function of the model, clips, labels and a stage that returns where the model looks,
            see `models.explain.seen_maps`; None where nothing can be shown.
        stages: Stages that ``maps`` can look at, the last by default; empty for no choice.
        layer_features: Function of the model, clips (B, T, 3, H, W) and the number of a layer that
            returns features (B, S, C), see `models.layer_features`; None where only the features
            before the head can be had.
        is_convolutional: The network runs in channels last on a GPU, as cuDNN's tensor cores take
            maps.
    """

    network: type[nn.Module]
    build: Callable[[CfgNode], nn.Module]
    online: Callable[[Any], OnlineModel] | None = None
    image_keys: tuple[str, ...] = ()
    maps: Callable[[Any, Tensor, Tensor, str], SeenMaps] | None = None
    stages: tuple[str, ...] = ()
    layer_features: Callable[[Any, Tensor, int], Tensor] | None = None
    is_convolutional: bool = False


def build_model(cfg: CfgNode) -> nn.Module:
    """Build the model that ``cfg.MODEL`` describes, on the CPU, with fresh weights.

    Args:
        cfg: A config from `config.load_cfg`.

    Returns:
        A `VideoModel`: a module from clips (B, T, 3, H, W), normalised, to logits (B, K).

    Raises:
        ValueError: The sizes do not fit together, or TRAIN.FREEZE does not fit the model.
    """
    model = MODELS[cfg.MODEL.NAME].build(cfg)
    assert isinstance(model, VideoModel), "see models.video_model"
    if cfg.MODEL.HEAD_INIT == "normal":
        _draw_head(model)
    if cfg.MODEL.PARTIAL_BN:
        _freeze_layer_norms_but_first(model)
    freeze(model, cfg.TRAIN.FREEZE)
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
        non_local_mode=tsm.NON_LOCAL_MODE,
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


def _draw_head(model: nn.Module) -> None:
    """Draw the head as TokShift's second version does, which weights of other classes then keep."""
    head = model.get_submodule(model.head_name)  # type: ignore[arg-type]
    assert isinstance(head, nn.Linear)
    nn.init.trunc_normal_(head.weight, std=0.02)
    nn.init.zeros_(head.bias)
    model.draws_head = True  # type: ignore[assignment]


def _vit_size(cfg: CfgNode) -> ViTSize:
    return ViTSize(**{key.lower(): value for key, value in cfg.MODEL.VIT.items()})


def _freeze_layer_norms_but_first(model: nn.Module) -> None:
    """Freeze every LayerNorm after the first, as the release does under PARTIAL_BN."""
    norms = [module for module in model.modules() if isinstance(module, nn.LayerNorm)]
    for norm in norms[1:]:
        norm.requires_grad_(False)


MODELS = {
    "vit": ModelEntry(
        VisionTransformer,
        _build_vit,
        online=OnlineViT,
        image_keys=("MODEL.NAME", "vit"),
        maps=vit_maps,
        layer_features=vit_layer,
    ),
    "tokshift": ModelEntry(
        VisionTransformer,
        _build_tokshift,
        online=OnlineViT,
        image_keys=("MODEL.NAME", "vit"),
        maps=vit_maps,
        layer_features=vit_layer,
    ),
    "timesformer": ModelEntry(
        TimeSformer,
        _build_timesformer,
        maps=timesformer_maps,
        layer_features=timesformer_layer,
    ),
    "tsm": ModelEntry(
        ResNetTSM,
        _build_tsm,
        online=OnlineTSM,
        image_keys=("MODEL.TSM.SHIFT", "False"),
        maps=tsm_maps,
        stages=STAGES,
        layer_features=tsm_layer,
        is_convolutional=True,
    ),
}
