"""Learning rates as functions of training progress: numbers in, numbers out."""

import math
from collections import Counter
from collections.abc import Sequence


def multistep(
    base_lr: float,
    epoch: float,
    milestones: Sequence[float],
    gamma: float,
    at_once: bool = False,
) -> float:
    """Return the rate after so many epochs: times gamma for each milestone reached.

    Args:
        base_lr: Rate before the first milestone.
        epoch: Epochs done.
        milestones: Epochs, whole or not, in any order; one that is given twice counts twice.
        gamma: Factor.
        at_once: Round one product of them all, as the TSM release does and the TokShift release
            after a resume. False: round at each distinct milestone, as torch's ``MultiStepLR`` and
            the TokShift release do in a run without a break. Each is met to the last bit, in which
            alone they differ.
    """
    reached = Counter(milestone for milestone in milestones if milestone <= epoch)
    if at_once:
        return base_lr * gamma ** reached.total()
    rate = base_lr
    for milestone in sorted(reached):
        rate *= gamma ** reached[milestone]
    return rate


def cosine(base_lr: float, progress: float, min_lr: float, total: float = 1.0) -> float:
    """Return the rate after so much of the total training, on half a cosine (arXiv:1608.03983).

    Equal to the TSM release's, to the last bit.
    """
    return min_lr + (base_lr - min_lr) * (1 + math.cos(math.pi * progress / total)) / 2


def annealed(start_lr: float, end_lr: float, epoch: float, num_epochs: int) -> float:
    """Return the rate on half a cosine from one to another, after which it is constant.

    Equal to torch's ``SWALR`` stepped once an epoch.

    Args:
        start_lr: At epoch 0.
        end_lr: From num_epochs on.
        epoch: Epochs done, with fraction.
        num_epochs: Length; 0 for the end at once.
    """
    if epoch >= num_epochs:
        return end_lr
    share = (1 - math.cos(math.pi * epoch / num_epochs)) / 2
    return end_lr * share + start_lr * (1 - share)


def cyclic(max_lr: float, min_lr: float, epoch: float, cycle_epochs: int) -> float:
    """Return the rate that falls in a line and starts anew each cycle (arXiv:1803.05407, 3.1).

    It is the paper's of one iteration before: a cycle begins at ``max_lr`` and ends one iteration
    short of ``min_lr``, since a schedule does not know how long its iterations are.

    Args:
        max_lr: At the start of a cycle.
        min_lr: That a cycle leads to.
        epoch: Epochs done, with fraction.
        cycle_epochs: Length of a cycle.
    """
    done = epoch % cycle_epochs / cycle_epochs
    return (1 - done) * max_lr + done * min_lr


def warmup_factor(epoch: float, warmup_epochs: float, start: float) -> float:
    """Return the factor of a linear warm-up from start to 1 over the first epochs.

    Args:
        epoch: Epochs done, with fraction.
        warmup_epochs: Length; 0 for none.
        start: Factor at epoch 0.
    """
    if epoch >= warmup_epochs:
        return 1.0
    return start + (1 - start) * epoch / warmup_epochs


def warmup_line(epoch: float, warmup_epochs: float, start: float, end: float) -> float:
    """Return the rate on a straight line from one rate to another (PaddleVideo, PySlowFast).

    Args:
        epoch: Epochs done, with fraction; below warmup_epochs.
        warmup_epochs: Length, above 0.
        start: Rate at epoch 0.
        end: Rate of the schedule at the end of the warm-up, whatever the schedule does till then.
    """
    return start + epoch * (end - start) / warmup_epochs
