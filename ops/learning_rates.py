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
    """Return the base rate, multiplied by gamma for each milestone that has been reached.

    Args:
        base_lr: Rate before the first milestone.
        epoch: Epochs done.
        milestones: Epochs, whole or not, in any order; one that is given twice counts twice.
        gamma: Factor at each milestone.
        at_once: Multiply by one power of gamma, as the TSM release does, and the TokShift release
            after a resume. False: multiply at each distinct milestone, as torch's ``MultiStepLR``
            and the TokShift release do in a run without a break. The two differ in the last bit
            alone, and each release is met to that bit.
    """
    # Reached means epoch >= milestone, and epochs count from 0: of the steps 10, 15, 18 of the
    # TokShift recipes, which run for 18 epochs, the last never comes.
    reached = Counter(milestone for milestone in milestones if milestone <= epoch)
    if at_once:
        return base_lr * gamma ** reached.total()
    rate = base_lr
    # gamma**2 and gamma * gamma of the rate round apart: the golden rates need this order.
    for milestone in sorted(reached):
        rate *= gamma ** reached[milestone]
    return rate


def cosine(base_lr: float, progress: float, min_lr: float, total: float = 1.0) -> float:
    """Return the rate after so much of the total training, on half a cosine (arXiv:1608.03983).

    It equals the TSM release's rate to the last bit.
    """
    # Halving is exact, so that this is the release's 0.5 * lr * (1 + cos) to the last bit.
    return min_lr + (base_lr - min_lr) * (1 + math.cos(math.pi * progress / total)) / 2


def annealed(start_lr: float, end_lr: float, epoch: float, num_epochs: int) -> float:
    """Return the rate on half a cosine from one rate to another, after which it is constant.

    It equals the rate of torch's ``SWALR`` that is stepped once an epoch.

    Args:
        start_lr: Rate at epoch 0.
        end_lr: Rate from num_epochs on.
        epoch: Epochs done, with fraction.
        num_epochs: Length of the cosine, epochs; 0: the rate is end_lr at once.
    """
    if epoch >= num_epochs:
        return end_lr
    # Interpolated as in SWALR: the form of `cosine` is equal on paper and rounds otherwise.
    share = (1 - math.cos(math.pi * epoch / num_epochs)) / 2
    return end_lr * share + start_lr * (1 - share)


def cyclic(max_lr: float, min_lr: float, epoch: float, cycle_epochs: int) -> float:
    """Return the rate that falls in a line and starts anew each cycle (arXiv:1803.05407, 3.1).

    Each iteration has the rate that the paper gives to the one before it: a cycle begins at
    ``max_lr`` and ends one iteration short of ``min_lr``. The schedule does not know how long an
    iteration is.

    Args:
        max_lr: Rate at the start of a cycle.
        min_lr: Rate that a cycle falls towards.
        epoch: Epochs done, with fraction.
        cycle_epochs: Length of a cycle, epochs.
    """
    # A modulo, so that the rate jumps back to max_lr where a cycle ends, which SWA rests on.
    done = epoch % cycle_epochs / cycle_epochs
    return (1 - done) * max_lr + done * min_lr


def warmup_factor(epoch: float, warmup_epochs: float, start: float) -> float:
    """Return the factor of a linear warm-up from start to 1 over the first epochs.

    Args:
        epoch: Epochs done, with fraction.
        warmup_epochs: Length of the warm-up, epochs; 0 for none.
        start: Factor at epoch 0.
    """
    if epoch >= warmup_epochs:
        return 1.0
    # A factor on the schedule, which runs meanwhile; `warmup_line` stands in its place.
    return start + (1 - start) * epoch / warmup_epochs


def warmup_line(epoch: float, warmup_epochs: float, start: float, end: float) -> float:
    """Return the rate on a straight line from one rate to another (PaddleVideo, PySlowFast).

    Args:
        epoch: Epochs done, with fraction; below warmup_epochs.
        warmup_epochs: Length of the warm-up, epochs, above 0.
        start: Rate at epoch 0.
        end: Rate that the schedule has where the warm-up ends.
    """
    # No factor, as in `warmup_factor`: on a schedule that falls meanwhile that gives no line.
    return start + epoch * (end - start) / warmup_epochs
