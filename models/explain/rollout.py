"""Attention rollout: what each patch adds to the class tokens of a clip (arXiv:2005.00928).

The weights of a layer are averaged over heads; the identity is added, for the residual connection,
and the rows are made to sum to 1 again: ``(A + I) / 2``. The product over the layers says how much
of each input token is in each output token. Only the class tokens' rows are needed, so those are
carried from the last layer to the first. MLPs, norms and the size of the values are left out.

TokShift also moves channels of the class token between frames. A class token's share is spread over
the frames by the share of the channels that come from each: a token is a mixture of tokens, as for
attention.

The maps are of patches alone, (B, T, rows, columns). What those of a clip lack of 1 is the share of
the class tokens themselves.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from models.timesformer import TimeSformer
from models.vit import Block, VisionTransformer


class FrameLayer(NamedTuple):
    """What mixes the tokens in a block that attends within frames.

    Attributes:
        attention: Weights averaged over heads, (B, T, N, N); queries before keys.
        attn_shares: Share of each frame (column) in the class token of each frame (row) that the
            attention half sees, (T, T); None: each frame's own.
        mlp_shares: The same before the MLP half.
        shifts_residual: So does the residual stream; otherwise the branches alone.
    """

    attention: Tensor
    attn_shares: Tensor | None = None
    mlp_shares: Tensor | None = None
    shifts_residual: bool = True


class ClipMaps(NamedTuple):
    """What a TimeSformer looks at.

    Attributes:
        both: Map over space and time, (B, T, rows, columns).
        space: Map without the attention along time; None unless attention is divided.
        time: Share of each frame (column) in the patches of each frame (row) by the attention
            along time alone, the mean over places, (B, T, T); None unless divided.
    """

    both: Tensor
    space: Tensor | None = None
    time: Tensor | None = None


class Start(NamedTuple):
    """What is classified, in shares of the last layer's tokens.

    Attributes:
        row: Shares of the tokens, (B, T, N); those of a clip add up to 1.
        num_prefix: Tokens of a frame that are no patches.
    """

    row: Tensor
    num_prefix: int


def frame_rollout(model: VisionTransformer, clips: Tensor) -> Tensor:
    """Return a ViT's or TokShift's maps for clips (B, T, 3, H, W): (B, T, rows, columns).

    Each frame's class token begins with 1 / T, as the answer is the mean over frames; or its
    patches do, where their mean is classified; or half of it each, where both are.
    """
    T, C = clips.shape[1], model.cls_token.shape[-1]
    layers = []
    for block, weights in zip(model.blocks, model.attention_by_block(clips), strict=True):
        assert isinstance(block, Block)
        attn_shares, mlp_shares = (
            frame_shares(shift, T, C).to(clips.device)
            for shift in (block.attn_shift, block.mlp_shift)
        )
        layer = FrameLayer(weights.mean(2), attn_shares, mlp_shares, block.shifts_residual)
        layers.append(layer)
    return _grid(roll_out_frames(layers, _start(model, layers[0].attention)))


def clip_rollout(model: TimeSformer, clips: Tensor) -> ClipMaps:
    """Return a TimeSformer's maps for clips (B, T, 3, H, W)."""
    spaces, times = [], []
    for maps in model.attention_by_block(clips):
        spaces.append(maps.space.mean(2))  # (B, T, 1+N, 1+N); joint: (B, 1, 1+N*T, 1+N*T)
        if maps.time is not None:
            times.append(maps.time.mean(2))  # (B, N, T, T)
    start = _start(model, spaces[0])
    if times:
        both = _grid(roll_out_divided(spaces, times, start))
        space = _grid(roll_out_divided(spaces, [None] * len(spaces), start))
        return ClipMaps(both, space, roll_out(times).mean(1))
    shares = roll_out_frames([FrameLayer(space) for space in spaces], start)
    if model.attention == "joint":
        shares = shares[:, 0].unflatten(1, (-1, clips.shape[1])).transpose(1, 2)  # (B, T, N)
    return ClipMaps(_grid(shares))


def with_residual(attention: Tensor) -> Tensor:
    """Return ``(A + I) / 2`` of weights (..., N, N), whose rows sum to 1."""
    return (attention + torch.eye(attention.shape[-1], device=attention.device)) / 2


def roll_out(attentions: Sequence[Tensor]) -> Tensor:
    """Return the product over layers, first layer first; weights without heads, (..., N, N).

    Entry (i, j) is the share of input token j in output token i.
    """
    product = with_residual(attentions[0])
    for attention in attentions[1:]:
        product = with_residual(attention) @ product
    return product


def roll_out_frames(layers: Sequence[FrameLayer], start: Start | None = None) -> Tensor:
    """Return the share of each patch in what is classified, (B, T, N-1).

    Args:
        layers: Layers, from the first to the last.
        start: Tokens that are classified; None: the mean over frames of the class tokens.
    """
    row, num_prefix = start or token_start(layers[0].attention)
    for layer in reversed(layers):
        shifted = _spread(row, layer.mlp_shares)
        row = shifted if layer.shifts_residual else (row + shifted) / 2  # branch and stream
        seen = _spread(_carry(row, layer.attention), layer.attn_shares)
        stream = _spread(row, layer.attn_shares) if layer.shifts_residual else row
        row = (stream + seen) / 2
    return row[:, :, num_prefix:]


def roll_out_divided(
    spaces: Sequence[Tensor], times: Sequence[Tensor | None], start: Start | None = None
) -> Tensor:
    """Return the share of each patch in the class token of a clip, (B, T, N).

    Args:
        spaces: Weights within frames for each layer, (B, T, 1+N, 1+N). All frames see one class
            token, which takes the mean of their updates.
        times: Weights along time for each layer, which come before, (B, N, T, T); None for
            tokens that stay as they are.
        start: Tokens that are classified; None: the class token.
    """
    row, num_prefix = start or token_start(spaces[0])
    for space, time in zip(reversed(spaces), reversed(times), strict=True):
        row = (row + _carry(row, space)) / 2
        prefix, patches = row[:, :, :num_prefix], row[:, :, num_prefix:]
        prefix = prefix.mean(1, keepdim=True).expand_as(prefix)  # one class token, in T parts
        if time is not None:
            patches = (patches + torch.einsum("btn,bnts->bsn", patches, time)) / 2
        row = torch.cat([prefix, patches], dim=2)  # (B, T, 1+N)
    return row[:, :, num_prefix:]


def token_start(attention: Tensor, num_prefix: int = 1, pool: str = "token") -> Start:
    """Return what the mean over frames of class tokens, of patches, or of both is made of.

    Args:
        attention: Weights of a layer, (B, T, N, N).
        num_prefix: Tokens of a frame that are no patches.
        pool: Same as in `models.vit.ViTSize`.
    """
    B, T, N = attention.shape[:3]
    row = attention.new_zeros(B, T, N)
    token, patches = slice(1), slice(num_prefix, None)
    counted = {"token": [token], "mean": [patches], "both": [token, patches]}[pool]
    for part in counted:
        row[:, :, part] = 1 / (len(counted) * row[0, :, part].numel())
    return Start(row, num_prefix)


def frame_shares(shift: nn.Module, num_frames: int, num_channels: int) -> Tensor:
    """Return the share of each frame (column) in the shifted class token of each (row), (T, T).

    It is read off the shift, by clips in which one frame alone has a class token. Where zeros come
    in, at the ends of a clip, the rest is made to sum to 1 again.

    Args:
        shift: Shift of tokens (B, T, N, C).
        num_frames: T.
        num_channels: C.
    """
    probe = torch.eye(num_frames)[:, :, None, None].repeat(1, 1, 1, num_channels)  # (T, T, 1, C)
    shares = shift(probe).mean(-1)[:, :, 0].T  # (T, T)
    return shares / shares.sum(1, keepdim=True).clamp(min=1 / num_channels)


def _start(model: VisionTransformer | TimeSformer, attention: Tensor) -> Start:
    return token_start(attention, model.num_prefix, model.size.pool)


def _carry(row: Tensor, attention: Tensor) -> Tensor:
    return torch.einsum("btq,btqk->btk", row, attention)  # (B, T, N)


def _spread(row: Tensor, shares: Tensor | None) -> Tensor:
    """Carry the class tokens' part of a row (B, T, N) to the frames that it came from."""
    if shares is None:
        return row
    return torch.cat([(row[:, :, 0] @ shares)[:, :, None], row[:, :, 1:]], dim=2)


def _grid(shares: Tensor) -> Tensor:
    """Lay the patches of square frames out, (B, T, N) to (B, T, rows, columns)."""
    return shares.unflatten(2, (math.isqrt(shares.shape[2]), -1))
