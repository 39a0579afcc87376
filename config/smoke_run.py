"""A smoke run: the whole path from the lists to results.json in a few batches; no figures."""

import re
from pathlib import Path

from yacs.config import CfgNode

FLAG = "--max-iterations"
SUFFIX = "_smoke"
# A saved config names its keys once each, at the indent of their section.
_SAVED = re.compile(r"^  MAX_ITERATIONS: ([0-9]{1,19})$", re.M)


def shorten(cfg: CfgNode) -> dict[str, str]:
    """Make a config of TRAIN.MAX_ITERATIONS one epoch with everything that follows, elsewhere.

    Args:
        cfg: Checked config that is not frozen yet; a real run's is left as it is.

    Returns:
        What set the keys that are changed.
    """
    if not cfg.TRAIN.MAX_ITERATIONS:
        return {}
    cfg.TRAIN.EPOCHS = 1
    cfg.TRAIN.SWA.START_EPOCH = min(cfg.TRAIN.SWA.START_EPOCH, 1)
    cfg.TRAIN.LAST_GROUP = "underweight"  # a step, however few batches there are for it
    cfg.TEST.AFTER_TRAINING = True
    folder = Path(cfg.OUTPUT_DIR)
    if not folder.name.endswith(SUFFIX):  # the saved config of a smoke run names its own folder
        cfg.OUTPUT_DIR = str(folder.parent / f"{folder.name}{SUFFIX}")
    keys = ("TRAIN.EPOCHS", "TRAIN.SWA.START_EPOCH", "TRAIN.LAST_GROUP", "TEST.AFTER_TRAINING")
    return dict.fromkeys((*keys, "OUTPUT_DIR"), FLAG)


def smoke_iterations(saved: object) -> int:
    """Return TRAIN.MAX_ITERATIONS in the config of a checkpoint; 0 of a real run, or of no text."""
    found = _SAVED.search(saved) if isinstance(saved, str) else None
    return int(found[1]) if found else 0
