"""Position and time embeddings for another grid of patches or number of frames."""

import torch
import torch.nn.functional as F
from torch import Tensor

TIME_MODES = ("nearest", "linear")


def resize_pos_embed(pos_embed: Tensor, num_tokens: int) -> Tensor:
    """Resize the position embedding of a square grid as released: ``zoom`` of order 1.

    This is bilinear with the corners aligned; half-pixel centres cost PaddleVideo's port 3 points.

    Args:
        pos_embed: (1, 1 + side * side, C), class token first.
        num_tokens: Tokens wanted, class token included.

    Raises:
        ValueError: One of the two grids is not square.
    """
    old, new = grid_side(pos_embed.shape[1]), grid_side(num_tokens)
    grid = pos_embed[0, 1:].reshape(old, old, -1).double().numpy()
    from scipy import ndimage  # here: it takes as long to import as a small model to build

    zoomed = ndimage.zoom(grid, (new / old, new / old, 1), order=1)
    patches = torch.from_numpy(zoomed).to(pos_embed.dtype).reshape(1, new * new, -1)
    return torch.cat([pos_embed[:, :1], patches], dim=1)  # (1, 1 + new*new, C)


def resize_time_embed(time_embed: Tensor, num_frames: int, mode: str = "nearest") -> Tensor:
    """Resize a time embedding for another number of frames.

    Args:
        time_embed: (1, old, C).
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


def grid_side(num_tokens: int) -> int:
    """Return the side of the square grid of patches behind the class token.

    Raises:
        ValueError: The patches are no square.
    """
    side = round((num_tokens - 1) ** 0.5)
    if side * side != num_tokens - 1:
        raise ValueError(f"a position embedding of {num_tokens - 1} patches is not a square grid")
    return side
