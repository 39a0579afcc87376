"""Maps of where each model looks; its entry in `models.MODELS` names the function."""

from typing import NamedTuple

from torch import Tensor

from models.explain.grad_cam import clip_grad_cam
from models.explain.rollout import clip_rollout, frame_rollout
from models.resnet_tsm import ResNetTSM
from models.timesformer import TimeSformer
from models.vit import VisionTransformer

ROLLOUT, GRAD_CAM = "attention rollout", "Grad-CAM"


class SeenMaps(NamedTuple):
    """Where a model looked in a batch of clips.

    Attributes:
        maps: Maps by name, (B, T, rows, columns).
        covered_share: Share of the frames' side that the maps cover, without a border short of a
            patch.
        time: Map over time of a divided TimeSformer, (B, T, T); see
            `models.explain.rollout.ClipMaps`.
    """

    maps: dict[str, Tensor]
    covered_share: float = 1.0
    time: Tensor | None = None


def vit_maps(model: VisionTransformer, clips: Tensor, labels: Tensor, stage: str) -> SeenMaps:
    """Return the attention rollout of a ViT or TokShift; arguments as of `tsm_maps`."""
    maps = frame_rollout(model, clips)
    return SeenMaps({ROLLOUT: maps}, _covered_share(model, maps))


def timesformer_maps(model: TimeSformer, clips: Tensor, labels: Tensor, stage: str) -> SeenMaps:
    """Return the attention rollout of a TimeSformer; arguments as of `tsm_maps`."""
    seen = clip_rollout(model, clips)
    maps = {ROLLOUT: seen.both}
    if seen.space is not None:
        maps["the same, space alone"] = seen.space
    return SeenMaps(maps, _covered_share(model, seen.both), seen.time)


def tsm_maps(model: ResNetTSM, clips: Tensor, labels: Tensor, stage: str) -> SeenMaps:
    """Return the Grad-CAM of a TSM.

    Args:
        model: Model in evaluation mode.
        clips: Normalised clips, (B, T, 3, H, W).
        labels: The class of each clip, (B,), whose evidence is shown.
        stage: One of the entry's stages, whose output is looked at; "" where it has none.
    """
    return SeenMaps({f"{GRAD_CAM}, {stage}": clip_grad_cam(model, clips, labels, stage)})


def _covered_share(model: VisionTransformer | TimeSformer, maps: Tensor) -> float:
    return maps.shape[-1] * model.patch_embed.proj.kernel_size[0] / model.image_size
