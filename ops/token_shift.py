"""Token shift: class tokens of neighbouring frames swap channels (TokShift, arXiv:2108.02432).

Direction ``past`` leaves out the channels from frame t+1 and moves those from t-1 where ``both``
has them, ``[fold, 2 * fold)``. In `ops.channel_shift` it moves the first group, ``[0, fold)``: the
online model that TSM released does so, and its weights expect it. TokShift released none.
"""

import torch
import torch.nn.functional as F
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
    _check(x, num_frames, fold_div, direction)
    # Split, not sliced: the gradients of a split are joined in one pass, those of slices are padded
    # and added. Backward takes 5 ms, not 15 (64x197x768, one CPU thread; that of x + x takes 4).
    cls, patches = x.split([1, x.shape[1] - 1], dim=1)
    cls = cls.squeeze(1).unflatten(0, (-1, num_frames))  # (B, T, C)
    group = _from_previous(x.shape[-1], fold_div)
    first, second, kept = cls.tensor_split([group.start, group.stop], dim=-1)
    # Zeros, not the frame at the other end of the clip: the published weights were trained so.
    if direction == "both":
        first = F.pad(first[:, 1:], (0, 0, 0, 1))  # frame t reads t+1; the last reads zero
    second = F.pad(second[:, :-1], (0, 0, 1, 0))  # frame t reads t-1; the first reads zero
    cls = torch.cat([first, second, kept], dim=-1).flatten(0, 1)  # (B*T, C)
    return torch.cat([cls.unsqueeze(1), patches], dim=1)  # (B*T, N, C)


def token_shift_(x: Tensor, num_frames: int, fold_div: int, direction: str = "both") -> Tensor:
    """Do what `token_shift` does, but write into x where that is possible: patch tokens stay put.

    Only for a tensor that nothing else reads afterwards. While autograd records or a tracer looks
    on (``torch.compile``, ``torch.export``), x is left alone: always use the return value.

    Args:
        x: Same as in `token_shift`; its content is undefined afterwards.
        num_frames: Same as in `token_shift`.
        fold_div: Same as in `token_shift`.
        direction: Same as in `token_shift`.

    Returns:
        Tokens, (B*T, N, C).

    Raises:
        ValueError: Same cases as in `token_shift`.
    """
    is_traced = torch.compiler.is_compiling() or torch.jit.is_tracing()
    if is_traced or (x.requires_grad and torch.is_grad_enabled()):
        return token_shift(x, num_frames, fold_div, direction)
    _check(x, num_frames, fold_div, direction)
    # Patch tokens, 196 of 197 in a ViT-B/16 at 224 pixels, are neither read nor copied.
    x[:, :1] = token_shift(x[:, :1], num_frames, fold_div, direction)
    return x


class TokenShift(nn.Module):
    """`token_shift` on tokens that still show their frames, (B, T, N, C); no parameters.

    Args:
        fold_div: Inverse of the channel share moved each way.
        direction: ``both`` or ``past``.
        owns_input: Nothing else reads the input, so that the module may write to it.
    """

    def __init__(self, fold_div: int, direction: str = "both", owns_input: bool = False) -> None:
        super().__init__()
        self.fold_div = fold_div
        self.direction = direction
        self.owns_input = owns_input

    def forward(self, x: Tensor) -> Tensor:
        """Shift (B, T, N, C) tokens."""
        # T is the clip's own. The release fixes it in the config, and a clip of another length then
        # mixes frames of different videos.
        B, T = x.shape[:2]
        shift = token_shift_ if self.owns_input else token_shift
        x = shift(x.flatten(0, 1), T, self.fold_div, self.direction)  # (B*T, N, C)
        return x.unflatten(0, (B, T))  # (B, T, N, C)

    def from_previous(self, num_channels: int) -> slice:
        """Return which class-token channels, of so many, come from the frame before."""
        return _from_previous(num_channels, self.fold_div)

    def extra_repr(self) -> str:
        """Show the settings in ``print(model)``."""
        return f"fold_div={self.fold_div}, direction={self.direction}"


def _from_previous(num_channels: int, fold_div: int) -> slice:
    fold = num_channels // fold_div
    # With fold_div 1 the first group has all channels and the second none, as released.
    return slice(fold, min(2 * fold, num_channels))


def _check(x: Tensor, num_frames: int, fold_div: int, direction: str) -> None:
    if x.dim() != 3 or num_frames < 1 or x.shape[0] % num_frames:
        raise ValueError(
            "token shift needs (B*T, N, C) tokens with B*T a multiple of T >= 1; "
            f"got shape {tuple(x.shape)}, T={num_frames}"
        )
    if fold_div < 1:
        raise ValueError(f"token shift needs fold_div >= 1, got {fold_div}")
    if direction not in DIRECTIONS:
        raise ValueError(f"token shift direction is one of {DIRECTIONS}, got {direction!r}")
