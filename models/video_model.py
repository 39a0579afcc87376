"""The interface of every video model; docs/architecture.md shows how to add one."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from torch import Tensor


@runtime_checkable
class VideoModel(Protocol):
    """A module from clips (B, T, C, H, W), normalised, to logits (B, K).

    It stands for no base class: a model is an ``nn.Module`` that has these beside what torch gives
    it. Anything else that is asked of a model is asked of its entry in `models.MODELS`.

    Attributes:
        head_name: Name of the module whose parameters depend on the classes: files of weights need
            not fit it where a model is fine-tuned.
    """

    head_name: str

    @property
    def layer_names(self) -> Sequence[tuple[str, ...]]:
        """Prefixes of the parameters' names, a tuple for each layer, from the embedding or stem on.

        Layer-wise learning rates count by it; what begins with none of them lies with the head.
        """

    def frame_logits(self, clips: Tensor) -> Tensor:
        """Return the logits that the answer is the mean of, (B, S, K).

        S is T; less where the model pools along time, 1 where it has one answer for the clip.
        """

    def describe_time(self) -> str:
        """Say in a line, for the log and for messages, what happens along time and where."""
