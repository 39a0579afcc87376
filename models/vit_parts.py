"""Parts of ViTs (arXiv:2010.11929), among them those in which the families of image ViTs differ."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

POSITIONS = ("all", "patches", "rotary")
LAYER_SCALE_INIT = 1e-5  # as DINOv2 and timm's DeiT-3 begin
REGISTER_STD = 1e-6  # drawn: registers that begin alike get equal gradients and stay alike
HAS_BF16_PRODUCTS = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
ROTARY_THETA = 100.0  # as in DINOv3; ratio of the longest period of the angles to the shortest


class PatchEmbed(nn.Module):
    """Frames to tokens: one linear map per non-overlapping patch, row by row.

    Args:
        patch_size: Side of a patch, pixels.
        hidden_size: C, channels of a token.
        bias: The map has a bias.
    """

    def __init__(self, patch_size: int, hidden_size: int, bias: bool = True) -> None:
        super().__init__()
        # A convolution only in name: stride and kernel are equal, so that no two patches overlap.
        self.proj = nn.Conv2d(3, hidden_size, patch_size, stride=patch_size, bias=bias)

    def forward(self, frames: Tensor) -> Tensor:
        """Embed frames (M, 3, H, W) as tokens (M, N, C); a border short of a patch is dropped."""
        return self.proj(frames).flatten(2).transpose(1, 2)  # (M, N, C)


class Attention(nn.Module):
    """Multi-head self-attention within each sequence: a frame, or a place over time.

    Args:
        hidden_size: C, a multiple of num_heads.
        num_heads: Number of heads.
        qkv_bias: Queries, keys and values have biases.
    """

    def __init__(self, hidden_size: int, num_heads: int, qkv_bias: bool = True) -> None:
        super().__init__()
        if hidden_size % num_heads:
            raise ValueError(f"num_heads={num_heads} does not divide hidden_size={hidden_size}")
        self.num_heads = num_heads
        # One product for the three; files with separate query, key and value are joined on loading.
        self.qkv = nn.Linear(hidden_size, 3 * hidden_size, bias=qkv_bias)
        self.proj = nn.Linear(hidden_size, hidden_size)
        self.rotary: nn.Module = nn.Identity()  # a model with rotary positions sets its own

    def forward(self, x: Tensor, is_last: bool = False) -> Tensor:
        """Attend among the tokens (M, N, C) of each of M sequences.

        Args:
            x: Tokens.
            is_last: Compute the first token of each sequence alone, (M, 1, C), as a head that
                reads only the class token needs no other query.
        """
        query, key, value = self._first_query(x) if is_last else self._split_heads(x)
        x = attended(query, key, value)
        return self.proj(x.transpose(1, 2).flatten(2))  # (M, N, C)

    def weights(self, x: Tensor) -> Tensor:
        """Return the softmax weights that `forward` uses, (M, heads, N queries, N keys)."""
        query, key, _ = self._split_heads(x)
        return (query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5).softmax(-1)

    def _split_heads(self, x: Tensor) -> tuple[Tensor, ...]:
        qkv = self.qkv(x).unflatten(-1, (3, self.num_heads, -1))  # (M, N, 3, heads, C/heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # (M, heads, N, C/heads) each
        return self.rotary(query), self.rotary(key), value

    def _first_query(self, x: Tensor) -> tuple[Tensor, ...]:
        """Do what `_split_heads` does, but compute the first query of each sequence alone."""
        C = x.shape[-1]
        # Parts of the same parameters, so that the state dict does not tell which way was computed.
        weights, biases = self.qkv.weight.split([C, 2 * C]), (None, None)
        if self.qkv.bias is not None:
            biases = self.qkv.bias.split([C, 2 * C])
        query = F.linear(x[:, :1], weights[0], biases[0]).unflatten(-1, (1, self.num_heads, -1))
        pair = F.linear(x, weights[1], biases[1]).unflatten(-1, (2, self.num_heads, -1))
        parts = *query.unbind(2), *pair.unbind(2)  # three of (M, N, heads, C/heads)
        query, key, value = (part.transpose(1, 2) for part in parts)  # (M, heads, N, C/heads)
        return query, self.rotary(key), value  # a class token has no place to rotate by


def attended(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Return the values weighed by softmax attention, (M, heads, N queries, C/heads).

    On a CPU with bf16 products torch's fused kernel is slow in bf16: 30.8 ms a block, forward and
    backward, against 14.6 ms for plain products (8 frames, 12 heads, 197 tokens). In float32, 23.6
    against 27.0, and on a CPU that emulates bf16, 27 against 381 forward, it is the faster one.

    Args:
        query: Queries, (M, heads, N queries, C/heads).
        key: Keys, (M, heads, N, C/heads).
        value: Values, (M, heads, N, C/heads).
    """
    if HAS_BF16_PRODUCTS and query.dtype == torch.bfloat16 and query.device.type == "cpu":
        weights = (query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5).softmax(-1)
        return weights.to(value.dtype) @ value
    return F.scaled_dot_product_attention(query, key, value)


class Mlp(nn.Module):
    """Two linear layers with an activation between them.

    Args:
        hidden_size: C, in and out.
        mlp_dim: Width of the first layer.
        dropout: Probability after each layer.
        activation: Activation, see `activated`; ``swiglu`` halves the width.
    """

    def __init__(
        self, hidden_size: int, mlp_dim: int, dropout: float, activation: str = "gelu"
    ) -> None:
        super().__init__()
        self.activation = activation
        self.fc1 = nn.Linear(hidden_size, mlp_dim)
        self.fc2 = nn.Linear(mlp_dim // 2 if activation == "swiglu" else mlp_dim, hidden_size)
        self.dropout = nn.Dropout(dropout)
        for layer in (self.fc1, self.fc2):  # as released; every other layer keeps torch's default
            nn.init.xavier_uniform_(layer.weight)
            nn.init.normal_(layer.bias, std=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., C) to (..., C)."""
        x = self.dropout(activated(self.fc1(x), self.activation))
        return self.dropout(self.fc2(x))


def activated(x: Tensor, activation: str) -> Tensor:
    """Apply the activation between the two layers of an MLP to the output (..., M) of the first.

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
        hidden_size: C, channels of a token.
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
        # The frames of a place share its angles: only the time embedding tells them apart.
        angles = angles.repeat_interleave(num_frames, dim=0)
        # Not in the state dict, as they follow from the sizes: no file has to hold them.
        self.register_buffer("sin", angles.sin(), persistent=False)
        self.register_buffer("cos", angles.cos(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Rotate the last N of the tokens (M, heads, P + N, head_dim), the patches."""
        kept, x = x.split([x.shape[2] - self.sin.shape[0], self.sin.shape[0]], dim=2)
        first, second = x.chunk(2, dim=-1)
        turned = x * self.cos + torch.cat([-second, first], dim=-1) * self.sin
        return torch.cat([kept, turned.to(kept.dtype)], dim=2)  # autocast widened the products


def with_positions(cls: Tensor, patches: Tensor, pos_embed: Tensor | None) -> Tensor:
    """Join class token (M, 1, C) and patches (M, N, C), and add the positions that exist."""
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
