"""The networks of `models.streaming`: one frame and a state in, logits and the next state out."""

from collections.abc import Iterator
from typing import Protocol

import torch
from torch import Tensor, nn

from models.resnet_tsm import ResNetTSM, TemporalBlock
from models.vit import Block, VisionTransformer
from ops.channel_shift import ChannelShift
from ops.token_shift import TokenShift

StreamState = list[Tensor]

HOW_TO_TRAIN = (
    "A model that looks at the past alone must be trained so: see config/quickstart_online.yml; to "
    "your own recipe add MODEL.SHIFT.DIRECTION past, or for a tsm MODEL.TSM.DIRECTION past"
)


class OnlineModel(Protocol):
    """A network that runs frame by frame."""

    def initial_state(self, frames: Tensor) -> StreamState:
        """Return the state before the first frame, for frames like (B, 3, H, W)."""

    def __call__(self, frames: Tensor, state: StreamState) -> tuple[Tensor, StreamState]:
        """Return the logits (B, K) of the current frames, and the next state."""


class OnlineViT(nn.Module):
    """A TokShift of direction ``past``, or an image ViT, frame by frame.

    The state holds, for each shift, the class-token channels that the next frame takes from this
    one, (B, C / fold_div): 18 KiB for ViT-B and fold_div 4. That of an image ViT is empty.

    Args:
        model: Model to run; it is switched to evaluation.

    Raises:
        ValueError: The model takes something from later frames.
    """

    def __init__(self, model: VisionTransformer) -> None:
        super().__init__()
        if not all(_is_past(shift) for shift in _shifts(model)):
            raise ValueError(
                "online inference needs a model without later frames, MODEL.SHIFT.DIRECTION past; "
                f"this one: {model.describe_time()}. {HOW_TO_TRAIN}"
            )
        self.model = model.eval()

    def initial_state(self, frames: Tensor) -> StreamState:
        """Return the state before the first frame: zeros for frames like (B, 3, H, W)."""
        B, C = len(frames), self.model.cls_token.shape[-1]
        return [
            frames.new_zeros(B, _length(shift.from_previous(C)))
            for shift in _shifts(self.model)
            if isinstance(shift, TokenShift)
        ]

    @torch.no_grad()
    def forward(self, frames: Tensor, state: StreamState) -> tuple[Tensor, StreamState]:
        """Classify the current frames.

        Args:
            frames: Current frames of B videos, (B, 3, H, W).
            state: State from `initial_state` or from the frames before; it is left as it is.

        Returns:
            Logits (B, K) of these frames, and the next state.
        """
        caches, following = iter(state), StreamState()
        x = self.model.embed(frames[:, None])  # (B, 1, N, C)
        for block in self.model.blocks:
            assert isinstance(block, Block)
            shifted = _shifted_tokens(block, block.attn_shift, x, caches, following)
            x = block.stream(x, shifted) + block.update(block.attn, block.norm1(shifted), block.ls1)
            shifted = _shifted_tokens(block, block.mlp_shift, x, caches, following)
            x = block.stream(x, shifted) + block.update(block.mlp, block.norm2(shifted), block.ls2)
        return self.model.classify(x)[:, 0], following


class OnlineTSM(nn.Module):
    """A TSM of direction ``past``, or a TSN, frame by frame.

    The state holds, for each shift, the channels of the maps that the next frame takes from this
    one, (B, C / fold_div, H, W): 2.7 MiB for ResNet-50 at 224 pixels (TSM, section 4.3).

    Args:
        model: Model to run; it is switched to evaluation.

    Raises:
        ValueError: The model takes something from later frames.
    """

    def __init__(self, model: ResNetTSM) -> None:
        super().__init__()
        options = model.options
        is_past = options.op == "shift" and options.direction == "past"
        if (model.fold_div and not is_past) or options.temporal_pool or options.non_local:
            raise ValueError(
                "online inference needs a model without later frames: MODEL.TSM.DIRECTION past, "
                f"OP shift, no TEMPORAL_POOL, no NON_LOCAL; this one: {model.describe_time()}. "
                f"{HOW_TO_TRAIN}"
            )
        self.model = model.eval()

    @torch.no_grad()
    def initial_state(self, frames: Tensor) -> StreamState:
        """Return the state before the first frame: zeros for frames like (B, 3, H, W)."""
        x, state = self.model.stem(frames), StreamState()
        for block in self.model.blocks():
            if block.temporal is not None:
                state.append(torch.zeros_like(x[:, : _num_cached(block)]))
            x = block.residual(x, x)
        return state

    @torch.no_grad()
    def forward(self, frames: Tensor, state: StreamState) -> tuple[Tensor, StreamState]:
        """Classify the current frames; same arguments and result as in `OnlineViT.forward`."""
        x, following = self.model.stem(frames), StreamState()
        caches = iter(state)
        for block in self.model.blocks():
            if block.temporal is None:
                x = block(x, 1)
                continue
            own = x[:, : _num_cached(block)]
            following.append(own.clone())
            own.copy_(next(caches))  # a copy of all maps would cost more than the shift itself
            out = block.branch(x)
            if not block.shifts_shortcut:
                own.copy_(following[-1])
            x = block.joined(out, x)
        return self.model.classify(x), following


def _shifted_tokens(
    block: Block, shift: nn.Module, x: Tensor, caches: Iterator[Tensor], following: StreamState
) -> Tensor:
    """Return tokens (B, 1, N, C) with the channels of the frame before; note those of this one."""
    if not isinstance(shift, TokenShift):
        return x
    # these tokens were made here, and the unshifted ones are needed only beside the branch
    shifted = x if block.shifts_residual else x.clone()
    moved = shifted[:, 0, 0, shift.from_previous(x.shape[-1])]  # (B, C/fold_div)
    following.append(moved.clone())
    moved.copy_(next(caches))
    return shifted


def _shifts(model: VisionTransformer) -> list[nn.Module]:
    """Return the shifts of all blocks in their order, or what stands in their place."""
    halves = ((block.attn_shift, block.mlp_shift) for block in model.blocks)
    return [shift for pair in halves for shift in pair]  # type: ignore[misc]


def _is_past(shift: nn.Module) -> bool:
    return isinstance(shift, nn.Identity) or (
        isinstance(shift, TokenShift) and shift.direction == "past"
    )


def _length(part: slice) -> int:
    return part.stop - part.start


def _num_cached(block: TemporalBlock) -> int:
    assert isinstance(block.temporal, ChannelShift)
    return block.temporal.num_first(block.num_in)
