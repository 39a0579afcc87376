"""A one-directional TSM frame by frame; shifts remember what the next frame needs (section 4.3)."""

import torch
from torch import Tensor, nn

from models.resnet_tsm import ResNetTSM, TemporalBlock
from ops.channel_shift import ChannelShift

State = list[Tensor]


class OnlineTSM(nn.Module):
    """One frame and a state in, that frame's logits and the next state out; shares the weights.

    The state holds, for each shift, the channels that the next frame takes from this one. The
    frames' logits are those of the model on the whole clip, and their mean so far is the model's
    answer for the clip so far::

        state = online.initial_state(frames)
        for frames in camera:  # (B, 3, H, W)
            logits, state = online(frames, state)

    Args:
        model: A ResNetTSM that shifts from the past alone; it is set to evaluation.

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
                f"OP shift, no TEMPORAL_POOL, no NON_LOCAL; this one: {model.describe_time()}"
            )
        self.model = model.eval()

    @torch.no_grad()
    def initial_state(self, frames: Tensor) -> State:
        """Return the state before the first frame: zeros for frames like (B, 3, H, W)."""
        x, state = self.model.stem(frames), []
        for block in self.model.blocks():
            if block.temporal is not None:
                state.append(torch.zeros_like(x[:, : _num_cached(block)]))
            x = block.residual(x, x)
        return state

    def forward(self, frames: Tensor, state: State) -> tuple[Tensor, State]:
        """Classify the current frames.

        Args:
            frames: (B, 3, H, W), of B videos.
            state: From `initial_state` or the frames before; it is left as it is.

        Returns:
            Logits (B, K) of these frames, and the next state.
        """
        x, following = self.model.stem(frames), []
        caches = iter(state)
        for block in self.model.blocks():
            moved = x
            if block.temporal is not None:
                num_cached = _num_cached(block)
                moved = torch.cat([next(caches), x[:, num_cached:]], dim=1)  # (B, C, H, W)
                following.append(x[:, :num_cached].clone())
            x = block.residual(x, moved)
        return self.model.classify(x), following


def _num_cached(block: TemporalBlock) -> int:
    assert isinstance(block.temporal, ChannelShift)
    return block.temporal.num_first(block.num_in)
