"""What a model says of a clip, and where it looked."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from yacs.config import CfgNode

from models import VideoModel
from models.explain.grad_cam import clip_grad_cam
from models.explain.rollout import clip_rollout, frame_rollout
from models.resnet_tsm import ResNetTSM
from models.timesformer import TimeSformer
from ops.pixels import denormalize, normalize

ROLLOUT, GRAD_CAM = "attention rollout", "Grad-CAM"


@dataclass(frozen=True)
class Look:
    """What a model says of a clip, and why.

    Attributes:
        indices: Of the clip's frames in the video, (T,).
        frames: As the model saw them, uint8 (T, S, S, 3).
        logits: (K,).
        maps: By name, (T, rows, columns).
        covered_share: Of the frames' side that the maps cover: a border short of a patch is not.
        time: Of a TimeSformer, see `models.explain.rollout.ClipMaps`, (T, T).
    """

    indices: np.ndarray
    frames: np.ndarray
    logits: Tensor
    maps: dict[str, Tensor]
    covered_share: float = 1.0
    time: Tensor | None = None


def look(model: VideoModel, cfg: CfgNode, indices: np.ndarray, clip: Tensor, stage: str) -> Look:
    """Classify a clip and say where the model looked.

    Args:
        model: In evaluation mode.
        cfg: The experiment.
        indices: Of the clip's frames in the video, (T,).
        clip: uint8 (T, 3, S, S).
        stage: Of a TSM, where Grad-CAM looks.
    """
    mean, std = cfg.DATA.PIXEL_MEAN, cfg.DATA.PIXEL_STD
    clips = normalize(clip[None].to(next(model.parameters()).device), mean, std)
    with torch.no_grad():
        logits = model(clips)
        maps, time = find_maps(model, clips, logits.argmax(1), stage)
    seen = denormalize(clips[0], mean, std).permute(0, 2, 3, 1).cpu().numpy()  # (T, S, S, 3)
    return Look(
        indices,
        seen,
        logits[0].cpu(),
        {name: values[0].cpu() for name, values in maps.items()},
        covered_share(model, maps),
        None if time is None else time[0].cpu(),
    )


def find_maps(
    model: VideoModel, clips: Tensor, labels: Tensor, stage: str
) -> tuple[dict[str, Tensor], Tensor | None]:
    """Return the maps (B, T, rows, columns) that there are of a model, and those in time."""
    if isinstance(model, ResNetTSM):
        return {f"{GRAD_CAM}, {stage}": clip_grad_cam(model, clips, labels, stage)}, None
    if isinstance(model, TimeSformer):
        maps = clip_rollout(model, clips)
        found = {ROLLOUT: maps.both}
        if maps.space is not None:
            found["the same, space alone"] = maps.space
        return found, maps.time
    return {ROLLOUT: frame_rollout(model, clips)}, None


def covered_share(model: VideoModel, maps: dict[str, Tensor]) -> float:
    """Return the share of the frames' side that the maps cover."""
    if isinstance(model, ResNetTSM):
        return 1.0
    columns = next(iter(maps.values())).shape[-1]
    return columns * model.patch_embed.proj.kernel_size[0] / model.image_size
