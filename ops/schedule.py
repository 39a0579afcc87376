"""Learning rate as a function of training progress: numbers in, numbers out, no state to save."""

import math
from collections.abc import Callable, Sequence

from yacs.config import CfgNode


def build_schedule(cfg: CfgNode) -> Callable[[float], float]:
    """Return the function from epochs done, with fraction, to the learning rate of the config."""
    optim, num_epochs = cfg.OPTIM, cfg.TRAIN.EPOCHS

    def rate(epoch: float) -> float:
        factor = warmup_factor(epoch, optim.WARMUP_EPOCHS, optim.WARMUP_START)
        if optim.SCHEDULE == "cosine":
            done = int(epoch) if optim.COSINE_PER_EPOCH else epoch
            return factor * cosine(optim.LR, done, optim.MIN_LR, total=num_epochs)
        return factor * multistep(optim.LR, int(epoch), optim.MILESTONES, optim.GAMMA)

    return rate


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
