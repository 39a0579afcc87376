"""Checks of what does not fit together among the keys of the training."""

from yacs.config import CfgNode


def training_faults(cfg: CfgNode) -> list[str]:
    """Return what does not fit together among the keys of the training."""
    faults, train = _swa_faults(cfg), cfg.TRAIN
    mixes = cfg.AUG.MIXUP_ALPHA or cfg.AUG.CUTMIX_ALPHA
    if mixes and train.CLIPS_PER_GPU < 2:
        faults.append(
            f"TRAIN.CLIPS_PER_GPU={train.CLIPS_PER_GPU}; AUG.MIXUP_ALPHA and AUG.CUTMIX_ALPHA mix "
            "the clips of a batch with each other: it must be at least 2"
        )
    # the signs of life come every second, and a thread wakes after more days not at all
    if not 0.05 <= train.TIMEOUT_MINUTES <= 10080:
        faults.append(
            f"TRAIN.TIMEOUT_MINUTES={train.TIMEOUT_MINUTES}; it must be from 0.05 to 10080, a week"
        )
    optim, layer_decay = cfg.OPTIM, cfg.OPTIM.LAYER_DECAY
    if len(optim.BETAS) != 2 or not all(0 <= beta < 1 for beta in optim.BETAS):
        faults.append(f"OPTIM.BETAS={optim.BETAS}; it must be two numbers from 0 to below 1")
    if not 0 < layer_decay <= 1:
        faults.append(f"OPTIM.LAYER_DECAY={layer_decay}; it must be above 0 and at most 1")
    if layer_decay != 1 and optim.GROUPS in ("tsm", "paddle"):
        faults.append(
            f"OPTIM.LAYER_DECAY={layer_decay}; OPTIM.GROUPS {optim.GROUPS} has its own learning "
            "rates: choose 'one' or 'vit'"
        )
    if train.CHECKPOINT_LAYOUT == "released":
        faults += [
            f"OPTIM.{key}={optim[key]!r}; TRAIN.CHECKPOINT_LAYOUT released is for {kept!r}, which "
            "alone the released code can go on with"
            for key, kept in (("NAME", "sgd"), ("GROUPS", "one"), ("LAYER_DECAY", 1.0))
            if optim[key] != kept
        ]
    return faults


def _swa_faults(cfg: CfgNode) -> list[str]:
    """Return what does not fit together in TRAIN.SWA."""
    faults, swa = [], cfg.TRAIN.SWA
    if swa.START_EPOCH and cfg.TRAIN.PATIENCE:
        faults.append(
            f"TRAIN.PATIENCE={cfg.TRAIN.PATIENCE}; it ends a run before the last epochs, which "
            f"TRAIN.SWA.START_EPOCH={swa.START_EPOCH} averages: set one of them to 0"
        )
    if swa.START_EPOCH > cfg.TRAIN.EPOCHS:
        faults.append(
            f"TRAIN.SWA.START_EPOCH={swa.START_EPOCH}; it must be at most "
            f"TRAIN.EPOCHS={cfg.TRAIN.EPOCHS}, or nothing is averaged (0: no averaging)"
        )
    faults += [
        f"TRAIN.SWA.{key}={swa[key]}; it needs a TRAIN.SWA.LR above 0 to lead to"
        for key in ("CYCLE_EPOCHS", "ANNEAL_EPOCHS")
        if swa[key] and not swa.LR
    ]
    if swa.CYCLE_EPOCHS and swa.ANNEAL_EPOCHS:
        faults.append(
            f"TRAIN.SWA.ANNEAL_EPOCHS={swa.ANNEAL_EPOCHS}; it is for the constant rate, "
            f"with TRAIN.SWA.CYCLE_EPOCHS={swa.CYCLE_EPOCHS} it must be 0"
        )
    if swa.CYCLE_EPOCHS and swa.LR > cfg.OPTIM.LR:
        faults.append(
            f"TRAIN.SWA.LR={swa.LR}; cycles fall to it from OPTIM.LR={cfg.OPTIM.LR}, "
            "it must not lie above"
        )
    return faults
