"""Parts by which the families of image ViTs differ from the first one (arXiv:2010.11929)."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

ACTIVATIONS = ("gelu", "quick_gelu", "swiglu")
POSITIONS = ("all", "patches", "rotary")
POOLS = ("token", "mean")
LAYER_SCALE_INIT = 1e-5  # as DINOv2 and timm's DeiT-3 begin
REGISTER_STD = 1e-6  # registers that begin alike would stay alike
ROTARY_THETA = 100.0  # of DINOv3; longest period of the angles over the shortest


def activated(x: Tensor, activation: str) -> Tensor:
    """Return what the second layer of an MLP takes of the first one's output (..., M).

    Args:
        x: Output of the first layer.
        activation: ``gelu``: exact (erf); ``quick_gelu``: ``x * sigmoid(1.702 x)``, OpenAI's CLIP;
            ``swiglu``: the first half is the gate of the second, which gives (..., M/2).
    """
    if activation == "swiglu":
        gate, x = x.chunk(2, dim=-1)
        return F.silu(gate) * x
    return x * torch.sigmoid(1.702 * x) if activation == "quick_gelu" else F.gelu(x)


class LayerScale(nn.Module):
    """A factor for each channel of a branch (CaiT, arXiv:2103.17239); DINOv2, DINOv3, DeiT-3.

    Args:
        hidden_size: C.
    """

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full((hidden_size,), LAYER_SCALE_INIT))

    def forward(self, x: Tensor) -> Tensor:
        """Scale (..., C)."""
        return x * self.gamma


class RotaryPositions(nn.Module):
    """Rotates queries or keys by the place of their patch, as DINOv3 (arXiv:2508.10104) does.

    Half of the angles count rows, half columns, from -1 to 1 over the frame whatever its size.

    Args:
        grid_side: Patches in a row.
        head_dim: Channels of a head, a multiple of 4.
        num_frames: Frames whose patches stand side by side, time fastest.

    Raises:
        ValueError: The channels are no multiple of 4.
    """

    sin: Tensor
    cos: Tensor

    def __init__(self, grid_side: int, head_dim: int, num_frames: int = 1) -> None:
        super().__init__()
        if head_dim % 4:
            raise ValueError(f"rotary positions need heads of 4 channels or more, got {head_dim}")
        middles = (torch.arange(grid_side) + 0.5) / grid_side * 2 - 1
        places = torch.cartesian_prod(middles, middles)  # (N, 2), row by row
        periods = ROTARY_THETA ** (2 * torch.arange(head_dim // 4) / (head_dim // 2))
        angles = (2 * math.pi * places[:, :, None] / periods).flatten(1).tile(2)  # (N, head_dim)
        angles = angles.repeat_interleave(num_frames, dim=0)
        self.register_buffer("sin", angles.sin(), persistent=False)
        self.register_buffer("cos", angles.cos(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Rotate the last N of the tokens (M, heads, P + N, head_dim), the patches."""
        kept, x = x.split([x.shape[2] - self.sin.shape[0], self.sin.shape[0]], dim=2)
        first, second = x.chunk(2, dim=-1)
        turned = x * self.cos + torch.cat([-second, first], dim=-1) * self.sin
        return torch.cat([kept, turned.to(kept.dtype)], dim=2)  # autocast widened the products


def with_positions(cls: Tensor, patches: Tensor, pos_embed: Tensor | None) -> Tensor:
    """Join class token (M, 1, C) and patches (M, N, C), and add the positions that there are."""
    if pos_embed is None:
        return torch.cat([cls, patches], dim=1)  # (M, 1+N, C)
    if pos_embed.shape[1] == patches.shape[1]:
        return torch.cat([cls, patches + pos_embed], dim=1)
    return torch.cat([cls, patches], dim=1) + pos_embed


def with_registers(x: Tensor, registers: Tensor | None) -> Tensor:
    """Put registers (1, R, C) behind the class token of (M, 1+N, C); arXiv:2309.16588."""
    if registers is None:
        return x
    return torch.cat([x[:, :1], registers.expand(len(x), -1, -1), x[:, 1:]], dim=1)
