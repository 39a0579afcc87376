"""Channel shift: the frames of a clip exchange part of their channels (TSM, arXiv:1811.08383)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Weights are trained for one order. In the other one past and future change places, which no
# shape and no parameter count shows.
ORDERS = ("future_first", "past_first")
DIRECTIONS = ("both", "past")
FROM_NEXT, FROM_PREVIOUS = 1, -1  # frame that a channel is taken from, less its own

Group = tuple[int, int]  # number of channels; FROM_NEXT or FROM_PREVIOUS


def move_groups(x: Tensor, num_frames: int, groups: list[Group]) -> Tensor:
    """Return maps (B*T, C, H, W) whose first channels come from the next or the previous frame.

    Frame t has channels of frame t+1 or t-1 of its clip, zeros where there is none (figure 1).
    """
    clips = x.unflatten(0, (-1, num_frames))  # (B, T, C, H, W)
    *moved, kept = clips.split([*_sizes(groups), x.shape[1] - sum(_sizes(groups))], dim=2)
    parts = [
        _padded(part[:, 1:] if step == FROM_NEXT else part[:, :-1], step)
        for part, (_, step) in zip(moved, groups, strict=True)
    ]
    return torch.cat([*parts, kept], dim=2).flatten(0, 1)  # (B*T, C, H, W)


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
    groups = _checked_groups(x, num_frames, fold_div, order, direction, ratio)
    if torch.compiler.is_compiling() or torch.jit.is_tracing():
        return move_groups(x, num_frames, groups)  # without writes, so that a compiler fuses it
    return _OneCopy.apply(x, num_frames, groups)


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
        x: Same as in `channel_shift`; its content is undefined afterwards.
        num_frames: Same as in `channel_shift`.
        fold_div: Same as in `channel_shift`.
        order: Same as in `channel_shift`.
        direction: Same as in `channel_shift`.
        ratio: Same as in `channel_shift`.

    Returns:
        Feature maps, (B*T, C, H, W).

    Raises:
        ValueError: Same cases as in `channel_shift`.
    """
    is_traced = torch.compiler.is_compiling() or torch.jit.is_tracing()
    if is_traced or (x.requires_grad and torch.is_grad_enabled()):
        return channel_shift(x, num_frames, fold_div, order, direction, ratio)
    groups = _checked_groups(x, num_frames, fold_div, order, direction, ratio)
    # A copy of the moved channels alone: without it a frame would be overwritten before its
    # neighbour has read it.
    _write_groups(x, x[:, : sum(_sizes(groups))].clone(), num_frames, groups)
    return x


def channel_blend(x: Tensor, num_frames: int, fold_div: int = 8) -> Tensor:
    """Return the maps with two groups of channels averaged with the next or the previous frame.

    Channels ``[0, fold)`` of frame t become half the sum of frames t and t+1, channels
    ``[fold, 2 * fold)`` half the sum of t-1 and t. At the end of the clip that lacks the second
    frame they become zero, as in the TokShift release's ResNet modules, where this comes from.

    Args:
        x: Same as in `channel_shift`.
        num_frames: Same as in `channel_shift`.
        fold_div: Same as in `channel_shift`; the release always takes 8.

    Returns:
        Feature maps, (B*T, C, H, W).

    Raises:
        ValueError: Same cases as in `channel_shift`.
    """
    # One order and both directions: the release's blend knows no others.
    groups = _checked_groups(x, num_frames, fold_div, "future_first", "both", ratio=0.0)
    clips = x.unflatten(0, (-1, num_frames))  # (B, T, C, H, W)
    first, second, kept = clips.split([*_sizes(groups), x.shape[1] - sum(_sizes(groups))], dim=2)
    # The frame without a partner becomes zero and not its own half: so the release has it.
    first = _padded((first[:, :-1] + first[:, 1:]) / 2, FROM_NEXT)
    second = _padded((second[:, :-1] + second[:, 1:]) / 2, FROM_PREVIOUS)
    return torch.cat([first, second, kept], dim=2).flatten(0, 1)  # (B*T, C, H, W)


class ChannelShift(nn.Module):
    """`channel_shift` with fixed settings; no parameters.

    Args:
        fold_div: Inverse of the channel share moved each way.
        order: ``future_first`` or ``past_first``.
        direction: ``both`` or ``past``.
        ratio: 0, or the share in place of ``1 / fold_div``; see `channel_shift`.
        owns_input: Nothing else reads the input, so that the module may write to it.
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
        return _group_sizes(num_channels, self.fold_div, self.ratio)[0]

    def num_both(self, num_channels: int) -> int:
        """Return the size of both groups together."""
        return sum(_group_sizes(num_channels, self.fold_div, self.ratio))

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


def _checked_groups(
    x: Tensor, num_frames: int, fold_div: int, order: str, direction: str, ratio: float
) -> list[Group]:
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
    first, second = _group_sizes(x.shape[1], fold_div, ratio)
    if direction == "past":  # of the first group; `ops.token_shift` says why
        return [(first, FROM_PREVIOUS)]
    steps = (FROM_NEXT, FROM_PREVIOUS) if order == "future_first" else (FROM_PREVIOUS, FROM_NEXT)
    return list(zip((first, second), steps, strict=True))


def _group_sizes(num_channels: int, fold_div: int, ratio: float) -> tuple[int, int]:
    if ratio:
        # Both ends are rounded, not both sizes, as in PaddleVideo: where C / T is no whole number,
        # the second group can be one channel larger.
        first, end = int(num_channels * ratio), int(2 * num_channels * ratio)
    else:
        first = num_channels // fold_div
        # With fold_div 1 the first group has all channels and the second none.
        end = min(2 * first, num_channels)
    return first, end - first


def _sizes(groups: list[Group]) -> list[int]:
    return [size for size, _ in groups]


def _padded(moved: Tensor, step: int) -> Tensor:
    """Add zeros, to (B, T, C, H, W) from T-1 frames, for the frame that has no source."""
    missing = (0, 1) if step == FROM_NEXT else (1, 0)  # the last frame; the first
    return F.pad(moved, (0, 0, 0, 0, 0, 0, *missing))


def _write_groups(y: Tensor, x: Tensor, num_frames: int, groups: list[Group]) -> None:
    """Fill the moved channels of y, (B*T, C, H, W), from those of x, which is another tensor."""
    y, x = y.unflatten(0, (-1, num_frames)), x.unflatten(0, (-1, num_frames))  # (B, T, C, H, W)
    start = 0
    for size, step in groups:
        target, source = y.narrow(2, start, size), x.narrow(2, start, size)
        if step == FROM_NEXT:
            target[:, :-1], target[:, -1] = source[:, 1:], 0
        else:
            target[:, 1:], target[:, 0] = source[:, :-1], 0
        start += size


class _OneCopy(torch.autograd.Function):
    """`move_groups` in one pass over the maps forward and one backward, and in the same layout.

    Forward and backward take 12 ms, those of `move_groups` 15 ms; in channels_last 19 and 56 ms
    (64x256x28x28, fold_div 8, a CPU thread; x + x takes 10 ms).
    """

    @staticmethod
    def forward(x, num_frames, groups):  # type: ignore[no-untyped-def]
        # It takes over the layout of x: channels_last, which cuDNN's tensor cores want, is kept.
        y = torch.empty_like(x)
        num_moved = sum(_sizes(groups))
        y[:, num_moved:] = x[:, num_moved:]
        _write_groups(y, x, num_frames, groups)
        return y

    @staticmethod
    def setup_context(ctx, inputs, output):  # type: ignore[no-untyped-def]
        _, ctx.num_frames, ctx.groups = inputs

    @staticmethod
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        sources = [(size, -step) for size, step in ctx.groups]  # a gradient goes where x came from
        # Through `apply`, so that autograd records this pass too, for second derivatives.
        return _OneCopy.apply(grad, ctx.num_frames, sources), None, None
