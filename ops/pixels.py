"""Pixels to what a model sees, and back."""

from collections.abc import Sequence

import torch
from torch import Tensor


def normalize(clips: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Map uint8 clips (..., 3, H, W) to float32 ``(x / 255 - mean) / std``, both in 0..1."""
    mean_t = torch.tensor(mean, device=clips.device)[:, None, None]  # (3, 1, 1)
    std_t = torch.tensor(std, device=clips.device)[:, None, None]  # (3, 1, 1)
    return (clips.float() / 255 - mean_t) / std_t


def denormalize(clips: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Return the uint8 clips (..., 3, H, W) that `normalize` made these of."""
    mean_t = torch.tensor(mean, device=clips.device)[:, None, None]  # (3, 1, 1)
    std_t = torch.tensor(std, device=clips.device)[:, None, None]  # (3, 1, 1)
    return ((clips * std_t + mean_t) * 255).round().clamp(0, 255).to(torch.uint8)
