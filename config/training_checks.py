"""Checks of what does not fit together among the keys of the training."""

from yacs.config import CfgNode


def training_faults(cfg: CfgNode) -> list[str]:
    """Return what does not fit together among the keys of the training."""
    faults, train = [], cfg.TRAIN
    mixes = cfg.AUG.MIXUP_ALPHA or cfg.AUG.CUTMIX_ALPHA
    if mixes and train.CLIPS_PER_GPU < 2:
        faults.append(
            f"TRAIN.CLIPS_PER_GPU={train.CLIPS_PER_GPU}; AUG.MIXUP_ALPHA and AUG.CUTMIX_ALPHA mix "
            "the clips of a batch with each other: it must be at least 2"
        )
    optim, layer_decay = cfg.OPTIM, cfg.OPTIM.LAYER_DECAY
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
