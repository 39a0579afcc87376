"""Channel shift: the frames of a clip exchange part of their channels (TSM, arXiv:1811.08383)."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

ORDERS = ("future_first", "past_first")
DIRECTIONS = ("both", "past")


def channel_shift(
    x: Tensor,
    num_frames: int,
    fold_div: int = 8,
    order: str = "future_first",
    direction: str = "both",
    ratio: float = 0.0,
) -> Tensor:
    """Return the feature maps with two groups of channels moved one frame along time.

    With ``fold = C // fold_div``, channels ``[0, fold)`` of frame t come from frame t+1 and
    channels ``[fold, 2 * fold)`` from frame t-1; what has no source frame becomes zero. The other
    channels are kept. The input is left as it is; channels_last stays channels_last.

    Args:
        x: Feature maps of whole clips, (B*T, C, H, W), a clip's frames in a row.
        num_frames: T, frames per clip; at least 1. With 1 the moved channels are all zero.
        fold_div: Inverse of the channel share moved each way; at least 1.
        order: ``future_first``, as the TSM release; ``past_first``: the first group comes from
            frame t-1 and the second from t+1, as in PaddleVideo.
        direction: ``both``; or ``past``: channels ``[0, fold)`` come from frame t-1 and nothing
            else moves, so that a frame never depends on a later one (online TSM).
        ratio: If not 0, the groups end at ``int(C * ratio)`` and ``int(2 * C * ratio)`` instead
            (PaddleVideo, ratio 1/T); at most 0.5.

    Returns:
        Feature maps, (B*T, C, H, W).

    Raises:
        ValueError: x is not (B*T, C, H, W), or an argument is out of its range.
    """
    move = _checked_move(x, num_frames, fold_div, order, direction, ratio)
    if torch.compiler.is_compiling() or torch.jit.is_tracing():
        return _concatenated(x, num_frames, move)
    return _CopyWithMovedChannels.apply(x, num_frames, move)


def channel_shift_(
    x: Tensor,
    num_frames: int,
    fold_div: int = 8,
    order: str = "future_first",
    direction: str = "both",
    ratio: float = 0.0,
) -> Tensor:
    """Do what `channel_shift` does, but write into x where that is possible: the rest stays put.

    Only for a tensor that nothing else reads afterwards. While autograd records or a tracer looks
    on (``torch.compile``, ``torch.export``), x is left alone: always use the return value.

    Args:
        x: As in `channel_shift`; its content is undefined afterwards.
        num_frames: As in `channel_shift`.
        fold_div: As in `channel_shift`.
        order: As in `channel_shift`.
        direction: As in `channel_shift`.
        ratio: As in `channel_shift`.

    Returns:
        Feature maps, (B*T, C, H, W).

    Raises:
        ValueError: As in `channel_shift`.
    """
    is_traced = torch.compiler.is_compiling() or torch.jit.is_tracing()
    if is_traced or (x.requires_grad and torch.is_grad_enabled()):
        return channel_shift(x, num_frames, fold_div, order, direction, ratio)
    move = _checked_move(x, num_frames, fold_div, order, direction, ratio)
    _write_moved(x, x[:, : move.num_moved].clone(), num_frames, move)
    return x


def channel_blend(x: Tensor, num_frames: int, fold_div: int = 8) -> Tensor:
    """Return the maps with two groups of channels averaged with the next or the previous frame.

    Channels ``[0, fold)`` of frame t become half the sum of frames t and t+1, channels
    ``[fold, 2 * fold)`` half the sum of t-1 and t. At the end of the clip that lacks the second
    frame they become zero, as in the TokShift release's ResNet modules, where this comes from.

    Args:
        x: As in `channel_shift`.
        num_frames: As in `channel_shift`.
        fold_div: As in `channel_shift`; the release always takes 8.

    Returns:
        Feature maps, (B*T, C, H, W).

    Raises:
        ValueError: As in `channel_shift`.
    """
    move = _checked_move(x, num_frames, fold_div, "future_first", "both", ratio=0.0)
    clips = x.unflatten(0, (-1, num_frames))  # (B, T, C, H, W)
    first, second, kept = clips.split(
        [move.from_next.stop, move.num_moved - move.from_next.stop, x.shape[1] - move.num_moved],
        dim=2,
    )
    first = torch.cat([(first[:, :-1] + first[:, 1:]) / 2, torch.zeros_like(first[:, :1])], dim=1)
    second = torch.cat(
        [torch.zeros_like(second[:, :1]), (second[:, :-1] + second[:, 1:]) / 2], dim=1
    )
    return torch.cat([first, second, kept], dim=2).flatten(0, 1)  # (B*T, C, H, W)


class ChannelShift(nn.Module):
    """`channel_shift` with fixed settings; no parameters.

    Args:
        fold_div: Inverse of the channel share moved each way.
        order: ``future_first`` or ``past_first``.
        direction: ``both`` or ``past``.
        ratio: 0, or the share in place of ``1 / fold_div``; see `channel_shift`.
        owns_input: Claims that nothing else reads the input, so that it may be written to.
    """

    def __init__(
        self,
        fold_div: int = 8,
        order: str = "future_first",
        direction: str = "both",
        ratio: float = 0.0,
        owns_input: bool = False,
    ) -> None:
        super().__init__()
        self.fold_div = fold_div
        self.order = order
        self.direction = direction
        self.ratio = ratio
        self.owns_input = owns_input

    def forward(self, x: Tensor, num_frames: int) -> Tensor:
        """Shift feature maps (B*T, C, H, W) of clips of T frames."""
        shift = channel_shift_ if self.owns_input else channel_shift
        return shift(x, num_frames, self.fold_div, self.order, self.direction, self.ratio)

    def num_first(self, num_channels: int) -> int:
        """Return the size of the first group of channels, the one that moves under ``past``."""
        return _group_ends(num_channels, self.fold_div, self.ratio)[0]

    def num_both(self, num_channels: int) -> int:
        """Return the size of both groups together."""
        return _group_ends(num_channels, self.fold_div, self.ratio)[1]

    def extra_repr(self) -> str:
        """Show the settings in ``print(model)``."""
        share = f"ratio={self.ratio}" if self.ratio else f"fold_div={self.fold_div}"
        return f"{share}, order={self.order}, direction={self.direction}"


class ChannelBlend(nn.Module):
    """`channel_blend` with a fixed share; no parameters.

    Args:
        fold_div: Inverse of the channel share averaged each way.
    """

    def __init__(self, fold_div: int = 8) -> None:
        super().__init__()
        self.fold_div = fold_div

    def forward(self, x: Tensor, num_frames: int) -> Tensor:
        """Blend feature maps (B*T, C, H, W) of clips of T frames."""
        return channel_blend(x, num_frames, self.fold_div)

    def extra_repr(self) -> str:
        """Show the settings in ``print(model)``."""
        return f"fold_div={self.fold_div}"


class _Move(NamedTuple):
    """Which channels move; together they are the first ones."""

    from_next: slice
    from_previous: slice

    @property
    def num_moved(self) -> int:
        return max(self.from_next.stop, self.from_previous.stop)

    def adjoint(self) -> "_Move":
        """Return the move of the gradient: the two time directions swap."""
        return _Move(from_next=self.from_previous, from_previous=self.from_next)


def _checked_move(
    x: Tensor, num_frames: int, fold_div: int, order: str, direction: str, ratio: float
) -> _Move:
    if x.dim() != 4 or num_frames < 1 or x.shape[0] % num_frames:
        raise ValueError(
            "channel shift needs (B*T, C, H, W) maps with B*T a multiple of T >= 1; "
            f"got shape {tuple(x.shape)}, T={num_frames}"
        )
    if fold_div < 1 or not 0 <= ratio <= 0.5:
        raise ValueError(
            f"channel shift needs fold_div >= 1 and a ratio from 0 to 0.5, "
            f"got fold_div={fold_div}, ratio={ratio}"
        )
    if order not in ORDERS or direction not in DIRECTIONS:
        raise ValueError(
            f"channel shift order is one of {ORDERS} and direction one of {DIRECTIONS}, "
            f"got {order!r} and {direction!r}"
        )
    first, second = _group_ends(x.shape[1], fold_div, ratio)
    if direction == "past":
        return _Move(from_next=slice(0, 0), from_previous=slice(0, first))
    future_first = _Move(from_next=slice(0, first), from_previous=slice(first, second))
    return future_first if order == "future_first" else future_first.adjoint()


def _group_ends(num_channels: int, fold_div: int, ratio: float) -> tuple[int, int]:
    if ratio:
        return int(num_channels * ratio), int(2 * num_channels * ratio)
    fold = num_channels // fold_div
    return fold, min(2 * fold, num_channels)


def _write_moved(y: Tensor, x: Tensor, num_frames: int, move: _Move) -> None:
    """Fill the moved channels of y, (B*T, C, H, W), from those of x, which is another tensor."""
    y, x = y.unflatten(0, (-1, num_frames)), x.unflatten(0, (-1, num_frames))  # (B, T, C, H, W)
    y[:, :-1, move.from_next] = x[:, 1:, move.from_next]
    y[:, -1, move.from_next] = 0
    y[:, 1:, move.from_previous] = x[:, :-1, move.from_previous]
    y[:, 0, move.from_previous] = 0


def _concatenated(x: Tensor, num_frames: int, move: _Move) -> Tensor:
    """Do the same without writing: a tracer fuses it."""
    clips = x.unflatten(0, (-1, num_frames))  # (B, T, C, H, W)
    following, previous = clips[:, 1:, move.from_next], clips[:, :-1, move.from_previous]
    following = torch.cat([following, torch.zeros_like(clips[:, :1, move.from_next])], dim=1)
    previous = torch.cat([torch.zeros_like(clips[:, :1, move.from_previous]), previous], dim=1)
    is_next_first = move.from_next.start < move.from_previous.start
    parts = [following, previous] if is_next_first else [previous, following]
    return torch.cat([*parts, clips[:, :, move.num_moved :]], dim=2).flatten(0, 1)  # (B*T, C, H, W)


class _CopyWithMovedChannels(torch.autograd.Function):
    """One pass over the maps forward and one backward; `torch.cat` would make several backward."""

    @staticmethod
    def forward(x, num_frames, move):  # type: ignore[no-untyped-def]
        y = torch.empty_like(x)
        y[:, move.num_moved :] = x[:, move.num_moved :]
        _write_moved(y, x, num_frames, move)
        return y

    @staticmethod
    def setup_context(ctx, inputs, output):  # type: ignore[no-untyped-def]
        _, ctx.num_frames, ctx.move = inputs

    @staticmethod
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        moved = _CopyWithMovedChannels.apply(grad, ctx.num_frames, ctx.move.adjoint())
        return moved, None, None
