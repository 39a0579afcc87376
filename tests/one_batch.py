"""The batch of a training loop, as the main script has it."""

from collections.abc import Callable

from torch import Tensor

from engine.learner import Learner


def accumulate(
    learner: Learner, clips: Tensor, loss: Callable[[Tensor], Tensor], share: float, is_last: bool
) -> tuple[Tensor, Tensor]:
    """Add the gradient of one batch; return its loss and its logits."""
    with learner.accumulating(is_last):
        with learner.autocast():
            logits = learner.parallel(clips)
            value = loss(logits)
        learner.backward(value, share)
    return value.detach(), logits.detach()
