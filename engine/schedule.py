"""Learning rate as a function of training progress: numbers in, numbers out, no state to save."""

import math
from collections.abc import Callable, Sequence

from yacs.config import CfgNode


def build_schedule(cfg: CfgNode) -> Callable[[float], float]:
    """Return the function from epochs done, with fraction, to the learning rate of the config."""
    optim, num_epochs = cfg.OPTIM, cfg.TRAIN.EPOCHS
    warmup_epochs, start = optim.WARMUP_EPOCHS, optim.WARMUP_START

    def warm(epoch: float) -> float:
        if optim.SCHEDULE == "cosine":
            done = int(epoch) if optim.COSINE_PER_EPOCH else epoch
            return cosine(optim.LR, done, optim.MIN_LR, total=num_epochs)
        return multistep(optim.LR, int(epoch), optim.MILESTONES, optim.GAMMA)

    def rate(epoch: float) -> float:
        if optim.WARMUP_RULE == "line" and epoch < warmup_epochs:
            return warmup_line(epoch, warmup_epochs, start * optim.LR, warm(warmup_epochs))
        return warmup_factor(epoch, warmup_epochs, start) * warm(epoch)

    return _build_averaging(cfg, rate)


def multistep(base_lr: float, epoch: int, milestones: Sequence[int], gamma: float) -> float:
    """Return the rate of a 0-based epoch: times gamma for each milestone reached.

    Equal to torch's ``MultiStepLR`` stepped once an epoch (released schedule): to the last bit for
    distinct milestones and gamma 0.1.
    """
    return base_lr * gamma ** sum(milestone <= epoch for milestone in milestones)


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


def _build_averaging(cfg: CfgNode, rate: Callable[[float], float]) -> Callable[[float], float]:
    """Return the schedule with the rate of the epochs whose weights are averaged, if it has one."""
    swa = cfg.TRAIN.SWA
    if not swa.START_EPOCH or not swa.LR:
        return rate

    def rate_with_averaging(epoch: float) -> float:
        since = epoch - swa.START_EPOCH
        if since < 0:
            return rate(epoch)
        if swa.CYCLE_EPOCHS:
            return cyclic(cfg.OPTIM.LR, swa.LR, since, swa.CYCLE_EPOCHS)
        return annealed(rate(swa.START_EPOCH), swa.LR, since, swa.ANNEAL_EPOCHS)

    return rate_with_averaging
