"""Position and time embeddings for another grid of patches or number of frames."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

TIME_MODES = ("nearest", "linear")
POS_MODES = {
    "bilinear": "bilinear with aligned corners",
    "half_pixel": "bilinear with half-pixel centres",
    "bicubic": "bicubic with antialias",
    "dinov2": "bicubic as the DINOv2 release's",
}
_DINOV2_OFFSET = 0.1  # patches; the release's, against rounding


def resize_pos_embed(
    pos_embed: Tensor, num_tokens: int, mode: str = "bilinear", has_class: bool = True
) -> Tensor:
    """Resize the position embedding of a square grid.

    Args:
        pos_embed: Position embedding, (1, 1 + side * side, C), class token first.
        num_tokens: Number of tokens wanted, class token included.
        mode: ``bilinear``: as released, ``zoom`` of order 1: the corners are aligned, as half-pixel
            centres cost PaddleVideo's port 3 points; ``half_pixel``: bilinear with those, as
            TokShift's second version; ``bicubic``: as timm, open_clip and DINOv2 with registers:
            half-pixel centres, antialias; ``dinov2``: as DINOv2 without: no antialias, and a scale
            that is a little too large.
        has_class: The class token has a position; otherwise both are (1, side * side, C).

    Raises:
        ValueError: One of the two grids is not square, or there is no such mode.
    """
    if mode not in POS_MODES:
        raise ValueError(f"a position embedding is resized by one of {[*POS_MODES]}, got {mode!r}")
    old, new = (grid_side(num + (not has_class)) for num in (pos_embed.shape[1], num_tokens))
    first, grid = pos_embed[:, : int(has_class)], pos_embed[0, int(has_class) :]
    grid = grid.reshape(old, old, -1)
    patches = _zoomed(grid, new) if mode == "bilinear" else _interpolated(grid, new, mode)
    return torch.cat([first, patches.to(pos_embed.dtype).reshape(1, new * new, -1)], dim=1)


def _zoomed(grid: Tensor, new: int) -> Tensor:
    from scipy import ndimage  # here: it takes as long to import as a small model to build

    scale = new / grid.shape[0]
    return torch.from_numpy(ndimage.zoom(grid.double().numpy(), (scale, scale, 1), order=1))


def _interpolated(grid: Tensor, new: int, mode: str) -> Tensor:
    channels = grid.float().permute(2, 0, 1)[None]  # (1, C, old, old)
    if mode == "half_pixel":
        channels = F.interpolate(channels, size=(new, new), mode="bilinear")
    elif mode == "bicubic":
        channels = F.interpolate(channels, size=(new, new), mode="bicubic", antialias=True)
    else:
        scale = (new + _DINOV2_OFFSET) / grid.shape[0]
        channels = F.interpolate(channels, scale_factor=(scale, scale), mode="bicubic")
    return channels[0].permute(1, 2, 0)  # (new, new, C)


def resize_time_embed(time_embed: Tensor, num_frames: int, mode: str = "nearest") -> Tensor:
    """Resize a time embedding for another number of frames.

    Args:
        time_embed: Time embedding, (1, old, C).
        num_frames: Frames wanted.
        mode: ``nearest``: frame t takes the embedding ``floor(t * old / num_frames)``, as
            PaddleVideo and the official TimeSformer do; ``linear``: in between, the first and the
            last frame's kept.

    Raises:
        ValueError: The mode is neither.
    """
    if mode not in TIME_MODES:
        raise ValueError(f"a time embedding is resized by one of {TIME_MODES}, got {mode!r}")
    old = time_embed.shape[1]
    if mode == "nearest":
        return time_embed[:, torch.arange(num_frames) * old // num_frames]  # (1, T, C)
    channels = time_embed.transpose(1, 2).double()  # (1, C, old)
    resized = F.interpolate(channels, size=num_frames, mode="linear", align_corners=True)
    return resized.transpose(1, 2).to(time_embed.dtype).contiguous()  # (1, T, C)


def is_square(number: int) -> bool:
    """Tell whether so many patches are a square grid."""
    return number > 0 and math.isqrt(number) ** 2 == number


def grid_side(num_tokens: int) -> int:
    """Return the side of the square grid of patches behind the class token.

    Raises:
        ValueError: The patches are no square.
    """
    side = round((num_tokens - 1) ** 0.5)
    if side * side != num_tokens - 1:
        raise ValueError(f"a position embedding of {num_tokens - 1} patches is not a square grid")
    return side
