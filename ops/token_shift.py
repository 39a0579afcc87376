"""Token shift: class tokens of neighbouring frames swap channels (TokShift, arXiv:2108.02432)."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

DIRECTIONS = ("both", "past")


def token_shift(x: Tensor, num_frames: int, fold_div: int, direction: str = "both") -> Tensor:
    """Return the tokens with part of each class token's channels moved one frame along time.

    With ``fold = C // fold_div``, channels ``[0, fold)`` of frame t come from frame t+1 and
    channels ``[fold, 2 * fold)`` from frame t-1; what has no source frame becomes zero. The other
    channels and all patch tokens are kept. The input is left as it is.

    Args:
        x: Tokens of whole clips, (B*T, N, C), a clip's frames in a row; token 0 is the class
            token.
        num_frames: T, frames per clip; at least 1.
        fold_div: Inverse of the channel share moved each way; at least 1 (1 moves all channels from
            the next frame).
        direction: ``both``, or ``past``: only the channels that come from frame t-1, so that a
            frame never depends on a later one.

    Returns:
        Tokens, (B*T, N, C).

    Raises:
        ValueError: x is not (B*T, N, C), or an argument is out of its range.
    """
    return _shift(x, num_frames, fold_div, direction, may_write=False)


def token_shift_(x: Tensor, num_frames: int, fold_div: int, direction: str = "both") -> Tensor:
    """Do what `token_shift` does, but write into x where that is possible: patch tokens stay put.

    Only for a tensor that nothing else reads afterwards. While autograd records or a tracer looks
    on (``torch.compile``, ``torch.export``), x is left alone: always use the return value.

    Args:
        x: As in `token_shift`; its content is undefined afterwards.
        num_frames: As in `token_shift`.
        fold_div: As in `token_shift`.
        direction: As in `token_shift`.

    Returns:
        Tokens, (B*T, N, C).

    Raises:
        ValueError: As in `token_shift`.
    """
    return _shift(x, num_frames, fold_div, direction, may_write=True)


class TokenShift(nn.Module):
    """`token_shift` on tokens that still show their frames, (B, T, N, C); no parameters.

    Args:
        fold_div: Inverse of the channel share moved each way.
        direction: ``both`` or ``past``.
        owns_input: Claims that nothing else reads the input, so that it may be written to.
    """

    def __init__(self, fold_div: int, direction: str = "both", owns_input: bool = False) -> None:
        super().__init__()
        self.fold_div = fold_div
        self.direction = direction
        self.owns_input = owns_input

    def forward(self, x: Tensor) -> Tensor:
        """Shift (B, T, N, C) tokens."""
        B, T = x.shape[:2]
        shift: Callable[..., Tensor] = token_shift_ if self.owns_input else token_shift
        x = shift(x.flatten(0, 1), T, self.fold_div, self.direction)  # (B*T, N, C)
        return x.unflatten(0, (B, T))  # (B, T, N, C)

    def from_previous(self, num_channels: int) -> slice:
        """Return which class-token channels, of so many, come from the frame before."""
        move = _move(num_channels, self.fold_div, self.direction)
        start = move.from_next + move.kept
        return slice(start, start + move.from_previous)

    def extra_repr(self) -> str:
        """Show the settings in ``print(model)``."""
        return f"fold_div={self.fold_div}, direction={self.direction}"


class _Move(NamedTuple):
    """Which class-token channels move: counts in channel order, the rest behind them stays."""

    from_next: int
    kept: int
    from_previous: int


def _shift(x: Tensor, num_frames: int, fold_div: int, direction: str, may_write: bool) -> Tensor:
    if x.dim() != 3 or num_frames < 1 or x.shape[0] % num_frames:
        raise ValueError(
            "token shift needs (B*T, N, C) tokens with B*T a multiple of T >= 1; "
            f"got shape {tuple(x.shape)}, T={num_frames}"
        )
    if fold_div < 1:
        raise ValueError(f"token shift needs fold_div >= 1, got {fold_div}")
    if direction not in DIRECTIONS:
        raise ValueError(f"token shift direction is one of {DIRECTIONS}, got {direction!r}")
    move = _move(x.shape[-1], fold_div, direction)
    if torch.compiler.is_compiling() or torch.jit.is_tracing():
        cls = _moved_cls(x, num_frames, move, is_adjoint=False)
        return torch.cat([cls, x[:, 1:]], dim=1)
    if may_write and not (x.requires_grad and torch.is_grad_enabled()):
        x[:, :1] = _moved_cls(x, num_frames, move, is_adjoint=False)
        return x
    return _CopyWithMovedCls.apply(x, num_frames, move, False)


def _move(num_channels: int, fold_div: int, direction: str) -> _Move:
    fold = num_channels // fold_div
    num_next = fold if direction == "both" else 0
    return _Move(num_next, kept=fold - num_next, from_previous=min(fold, num_channels - fold))


def _moved_cls(x: Tensor, num_frames: int, move: _Move, is_adjoint: bool) -> Tensor:
    """Return the moved class tokens, (B*T, 1, C); the adjoint swaps the two time directions."""
    cls = x[:, 0].unflatten(0, (-1, num_frames))  # (B, T, C)
    zero = torch.zeros_like(cls[:, :1])  # (B, 1, C)
    following = torch.cat([cls[:, 1:], zero], dim=1)  # (B, T, C): frame t holds t+1
    previous = torch.cat([zero, cls[:, :-1]], dim=1)  # (B, T, C): frame t holds t-1
    if is_adjoint:
        following, previous = previous, following
    start = move.from_next + move.kept
    stop = start + move.from_previous
    parts = [
        following[..., : move.from_next],
        cls[..., move.from_next : start],
        previous[..., start:stop],
        cls[..., stop:],
    ]
    return torch.cat(parts, dim=-1).flatten(0, 1).unsqueeze(1)  # (B*T, 1, C)


class _CopyWithMovedCls(torch.autograd.Function):
    """One copy of the tokens forward and one backward; `torch.cat` would make three backward."""

    @staticmethod
    def forward(x, num_frames, move, is_adjoint):  # type: ignore[no-untyped-def]
        y = x.clone(memory_format=torch.contiguous_format)
        y[:, :1] = _moved_cls(x, num_frames, move, is_adjoint)
        return y

    @staticmethod
    def setup_context(ctx, inputs, output):  # type: ignore[no-untyped-def]
        _, ctx.num_frames, ctx.move, ctx.is_adjoint = inputs

    @staticmethod
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        moved = _CopyWithMovedCls.apply(grad, ctx.num_frames, ctx.move, not ctx.is_adjoint)
        return moved, None, None, None
