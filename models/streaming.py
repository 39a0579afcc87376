"""Video models frame by frame: one frame and a state in, its logits and the next state out.

Each frame costs one forward of the image model, whatever came before. It takes a model whose frames
take nothing from later ones; the weights are shared with it. The state is a list of tensors, what
the next frame takes from this one, and can be saved with ``torch.save``::

    online = build_online(model)
    state = online.initial_state(frames)
    for frames in camera:  # (B, 3, H, W), normalised
        logits, state = online(frames, state)  # (B, K)

The logits are those that the model gives for the frame in the clip so far, and their mean so far is
the model's answer to that clip; `ops.running_mean` has it, and means that forget.
"""

from torch import nn

from models import MODELS
from models.online import OnlineModel, StreamState


def build_online(model: nn.Module) -> OnlineModel:
    """Return a model that runs frame by frame on the weights of one that takes clips.

    Raises:
        ValueError: The model takes something from later frames, or is of a kind that always does.
    """
    for entry in MODELS.values():
        if entry.online and isinstance(model, entry.network):
            return entry.online(model)
    raise ValueError(
        f"a {type(model).__name__} cannot run online: it looks at all frames of a clip at once; "
        "MODEL.NAME tokshift and tsm of direction past can, and vit"
    )


def num_bytes(state: StreamState) -> int:
    """Count the bytes of a state's tensors, the whole batch together."""
    return sum(cache.numel() * cache.element_size() for cache in state)
