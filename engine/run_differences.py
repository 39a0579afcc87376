"""What a run that goes on does differently from the run that wrote its checkpoint."""

from collections.abc import Mapping
from functools import reduce
from operator import getitem
from typing import Any

from yacs.config import CfgNode

from config.changes import changed_keys, value_before
from config.checks import value_at
from engine.checkpoints import TrainingList
from engine.distributed import World
from engine.schedule import build_schedule

# Keys that say where and how fast a run works, or what is tested after it.
FREE_KEYS = (
    "OUTPUT_DIR",
    "DATA.WORKERS",
    "LOG.MLFLOW",
    "LOG.WANDB",
    "TRAIN.CHECKPOINT_ASYNC",
    "TRAIN.CHECKPOINT_MINUTES",
    "TRAIN.CHECKPOINT_STEPS",
    "TRAIN.KEEP_EVERY",
    "TRAIN.KEEP_LAST",
    "TRAIN.PRINT_FREQ",
    "TRAIN.TIMEOUT_MINUTES",
    "VAL.VIDEOS_PER_GPU",
)
_OF_SCHEDULE = ("OPTIM.", "TRAIN.SWA.")
_SAME_RATE = 0.01
_DRAWS = ("SEED", "AUG.REPEATS", "DATA.BALANCE")  # what the order of an epoch's clips is drawn from


def differences(
    content: Mapping[str, Any], cfg: CfgNode, training_list: TrainingList, world: World
) -> list[str]:
    """Say what differs, a line each, as far as the checkpoint tells.

    Args:
        content: Content of the checkpoint.
        cfg: Config of this run.
        training_list: List that this run trains on.
        world: Rank and device of this process, and the number of processes.
    """
    lines = [
        f"{key} {theirs!r} -> {ours!r}"
        for key, (theirs, ours) in changed_keys(content.get("config", ""), cfg).items()
        if key not in FREE_KEYS and not key.startswith("TEST.")
    ]
    processes = content.get("processes")
    if processes and processes["size"] != world.size:
        lines.append(
            f"{processes['size']} processes -> {world.size}: the rest of a broken epoch is dealt "
            "anew, and dropout, Mixup and CutMix draw otherwise"
        )
    if processes and processes["clips_per_step"] != training_list.clips_per_step:
        lines.append(
            f"effective batch {processes['clips_per_step']} -> {training_list.clips_per_step}, "
            f"at OPTIM.LR {cfg.OPTIM.LR:g}"
        )
    lines += _rate_that_jumps(content, cfg)
    theirs = content.get("training_list")
    if theirs and theirs["sha256"] != training_list.sha256:
        lines.append(
            f"the training list is another: {theirs['num_videos']} videos -> "
            f"{training_list.num_videos}, or another order or other labels"
        )
    if cfg.TRAIN.EMA_DECAY and not content.get("ema"):
        lines.append("the checkpoint holds no EMA; it begins from the weights")
    return lines


def _rate_that_jumps(content: Mapping[str, Any], cfg: CfgNode) -> list[str]:
    """Say where the schedule of now has another learning rate at the place of the checkpoint."""
    changed = changed_keys(content.get("config", ""), cfg)
    keys = [key for key in changed if key == "TRAIN.EPOCHS" or key.startswith(_OF_SCHEDULE)]
    if not keys or "OPTIM.LR" in keys:  # which a line above names
        return []
    theirs = cfg.clone()
    theirs.defrost()
    for key in keys:
        *sections, name = key.split(".")
        reduce(getitem, sections, theirs)[name] = changed[key][0]
    epoch = content["epoch"]
    before, now = build_schedule(theirs)(epoch), build_schedule(cfg)(epoch)
    if abs(now - before) <= _SAME_RATE * before:
        return []
    way = "up" if now > before else "down"
    return [
        f"the learning rate goes {way} from {before:.3g} to {now:.3g} after epoch {epoch}, by "
        f"{', '.join(keys)}; what is learned may suffer at first"
    ]


def has_same_draws(content: Mapping[str, Any], cfg: CfgNode) -> bool:
    """Tell whether the clips of an epoch come in the order of the checkpoint's run."""
    text = content.get("config", "")
    return all(value_before(text, key) == value_at(cfg, key) for key in _DRAWS)
