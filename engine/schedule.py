"""The learning rate of a config as a function of training progress; it has no state to save."""

from collections.abc import Callable

from yacs.config import CfgNode

from ops.learning_rates import annealed, cosine, cyclic, multistep, warmup_factor, warmup_line


def build_schedule(cfg: CfgNode) -> Callable[[float], float]:
    """Return the function from epochs done, with fraction, to the learning rate of the config."""
    optim, num_epochs = cfg.OPTIM, cfg.TRAIN.EPOCHS
    warmup_epochs, start = optim.WARMUP_EPOCHS, optim.WARMUP_START

    def warm(epoch: float) -> float:
        if optim.SCHEDULE == "cosine":
            done = int(epoch) if optim.COSINE_PER_EPOCH else epoch
            return cosine(optim.LR, done, optim.MIN_LR, total=num_epochs)
        # the rate changes at the start of an epoch, in the TSM release too, whose steps are floats
        is_tsm = cfg.MODEL.NAME == "tsm"
        return multistep(optim.LR, int(epoch), optim.MILESTONES, optim.GAMMA, at_once=is_tsm)

    def rate(epoch: float) -> float:
        # PaddleVideo's: straight to where the schedule will be, which is below LR under a cosine.
        if optim.WARMUP_RULE == "line" and epoch < warmup_epochs:
            return warmup_line(epoch, warmup_epochs, start * optim.LR, warm(warmup_epochs))
        return warmup_factor(epoch, warmup_epochs, start) * warm(epoch)

    return _build_averaging(cfg, rate)


def _build_averaging(cfg: CfgNode, rate: Callable[[float], float]) -> Callable[[float], float]:
    """Return the schedule with the rate of the epochs whose weights are averaged, if it has one."""
    swa = cfg.TRAIN.SWA
    if not swa.START_EPOCH or not swa.LR:
        return rate

    def rate_with_averaging(epoch: float) -> float:
        # START_EPOCH counts from 1, `epoch` epochs done: the first weights in the mean are those
        # with which this rate begins.
        since = epoch - swa.START_EPOCH
        if since < 0:
            return rate(epoch)
        if swa.CYCLE_EPOCHS:
            return cyclic(cfg.OPTIM.LR, swa.LR, since, swa.CYCLE_EPOCHS)
        return annealed(rate(swa.START_EPOCH), swa.LR, since, swa.ANNEAL_EPOCHS)

    return rate_with_averaging
