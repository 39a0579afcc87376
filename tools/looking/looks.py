"""What a model says of a clip, and where it looked."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from yacs.config import CfgNode

from models import MODELS
from ops.finite_logits import check_finite_logits
from ops.pixels import denormalize, normalize


@dataclass(frozen=True)
class Look:
    """The answer of a model to a clip, and where the model looked.

    Attributes:
        indices: Indices of the clip's frames in the video, (T,).
        frames: Frames as the model saw them, uint8 (T, S, S, 3).
        logits: Logits, (K,).
        maps: Maps by name, (T, rows, columns).
        covered_share: Share of the frame that they cover, as in
            `models.explain.seen_maps.SeenMaps`.
        time: Maps in time of the one clip by name, (T, T).
    """

    indices: np.ndarray
    frames: np.ndarray
    logits: Tensor
    maps: dict[str, Tensor]
    covered_share: float = 1.0
    time: Tensor | None = None


def look(model: nn.Module, cfg: CfgNode, indices: np.ndarray, clip: Tensor, stage: str) -> Look:
    """Classify a clip and say where the model looked.

    Args:
        model: Model in evaluation mode.
        cfg: Config of the experiment.
        indices: Indices of the clip's frames in the video, (T,).
        clip: Clip, uint8 (T, 3, S, S).
        stage: Name of a stage in the model's entry; "" where it has none.

    Raises:
        FloatingPointError: The logits are not finite.
    """
    show = MODELS[cfg.MODEL.NAME].maps
    assert show is not None  # asked by the caller
    mean, std = cfg.DATA.PIXEL_MEAN, cfg.DATA.PIXEL_STD
    clips = normalize(clip[None].to(next(model.parameters()).device), mean, std)
    with torch.no_grad():
        logits = model(clips)
        check_finite_logits(logits, f"the clip of the frames {indices[0]} to {indices[-1]}")
        found = show(model, clips, logits.argmax(1), stage)
    seen = denormalize(clips[0], mean, std).permute(0, 2, 3, 1).cpu().numpy()  # (T, S, S, 3)
    return Look(
        indices,
        seen,
        logits[0].cpu(),
        {name: values[0].cpu() for name, values in found.maps.items()},
        found.covered_share,
        None if found.time is None else found.time[0].cpu(),
    )
