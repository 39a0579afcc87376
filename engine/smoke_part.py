"""What a smoke run takes of a list, and what it says of itself."""

import logging
from collections.abc import Sequence

from yacs.config import CfgNode

from config.smoke_run import FLAG
from config.values import counted
from datasets.annotations import VideoRecord
from engine.distributed import World

_log = logging.getLogger("main")


def part_to_use(
    records: Sequence[VideoRecord], cfg: CfgNode, split: str, world: World
) -> list[VideoRecord]:
    """Return the videos of a list that a run uses: all, or those of a smoke run's batches.

    These are spread evenly over the list, which is often sorted by class.

    Args:
        records: Records of the whole list.
        cfg: Config of the run.
        split: ``train``, ``val`` or ``test``.
        world: Rank and device of this process, and the number of processes.
    """
    is_train = split == "train"
    at_once = cfg.TRAIN.CLIPS_PER_GPU // cfg.AUG.REPEATS if is_train else cfg.VAL.VIDEOS_PER_GPU
    num, total = cfg.TRAIN.MAX_ITERATIONS * at_once * world.size, len(records)
    if not 0 < num < total:
        return list(records)
    return [records[place * total // num] for place in range(num)]


def smoke_remark(cfg: CfgNode) -> str:
    """Return the remark that a smoke run's figures need; "" for a real run."""
    if not cfg.TRAIN.MAX_ITERATIONS:
        return ""
    batches = counted(cfg.TRAIN.MAX_ITERATIONS, "batch", "batches")
    return f"a smoke run ({FLAG}): {batches} of each list; the figures say nothing of the model"
