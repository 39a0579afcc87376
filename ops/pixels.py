"""Pixels become what a model sees, and back."""

from collections.abc import Sequence

import torch
from torch import Tensor

ChannelValues = Sequence[float] | Tensor  # the latter (3, 1, 1), on the device


def normalize(clips: Tensor, mean: ChannelValues, std: ChannelValues) -> Tensor:
    """Map uint8 clips (..., 3, H, W) to float32 ``(x / 255 - mean) / std``, both in 0..1."""
    mean, std = channel_values(mean, clips.device), channel_values(std, clips.device)
    return (clips.float() / 255 - mean) / std


def denormalize(clips: Tensor, mean: ChannelValues, std: ChannelValues) -> Tensor:
    """Return the uint8 clips (..., 3, H, W) from which `normalize` made the given ones."""
    mean, std = channel_values(mean, clips.device), channel_values(std, clips.device)
    return ((clips * std + mean) * 255).round().clamp(0, 255).to(torch.uint8)


def channel_values(values: ChannelValues, device: torch.device) -> Tensor:
    """Return a value per channel as (3, 1, 1) on a device; a new tensor makes a GPU wait."""
    if isinstance(values, Tensor):
        return values
    return torch.tensor(values, device=device)[:, None, None]  # (3, 1, 1)


def to_levels(clips: Tensor) -> Tensor:
    """Round clips of floats in 0..255 to whole grey levels, uint8; uint8 ones stay as they are."""
    if clips.dtype == torch.uint8:
        return clips
    return clips.round().clamp(0, 255).to(torch.uint8)
