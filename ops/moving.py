"""Tensors on their way from the host to the device, which goes on meanwhile."""

import torch
from torch import Tensor


def moved(tensor: Tensor, device: torch.device) -> Tensor:
    """Return a tensor on a device; to a GPU it is copied from pinned memory without waiting.

    Args:
        tensor: Tensor on the CPU, pinned or not, or on the device already.
        device: Device to copy it to.
    """
    if device.type != "cuda" or tensor.device.type != "cpu":
        return tensor.to(device)
    pinned = tensor if tensor.is_pinned() else tensor.pin_memory()
    return pinned.to(device, non_blocking=True)
