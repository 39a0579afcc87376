"""What a run that goes on does otherwise than the run that wrote its checkpoint."""

from collections.abc import Mapping, Sequence
from typing import Any

from yacs.config import CfgNode

from config.loading import all_leaves
from engine.checkpoints import TrainingList
from engine.distributed import World

# Keys that say where and how fast a run works, or what is tested after it.
_FREE = (
    "OUTPUT_DIR",
    "DATA.WORKERS",
    "TRAIN.CHECKPOINT_ASYNC",
    "TRAIN.CHECKPOINT_MINUTES",
    "TRAIN.CHECKPOINT_STEPS",
    "TRAIN.KEEP_EVERY",
    "TRAIN.KEEP_LAST",
    "TRAIN.PRINT_FREQ",
    "TRAIN.TIMEOUT_MINUTES",
    "VAL.VIDEOS_PER_GPU",
)
_DRAWS = ("SEED", "AUG.REPEATS")  # what the order of an epoch's clips is drawn from


def check_class_names(content: Mapping[str, Any], class_names: Sequence[str]) -> None:
    """Reject a checkpoint whose classes are others, or in another order.

    Raises:
        ValueError: Says which label differs first.
    """
    theirs = list(content.get("class_names", []))
    if _are_numbers(theirs) or _are_numbers(class_names) or len(theirs) != len(class_names):
        return  # there are no names to compare; another number of classes does not fit the head
    for label, (name, other) in enumerate(zip(class_names, theirs, strict=True)):
        if name != other:
            raise ValueError(
                f"label {label} is {other!r} in the checkpoint and {name!r} in DATA.CLASS_NAMES; "
                "--resume goes on with the same classes in the same order, --tune_from with "
                "TRAIN.TUNE_DROPS_HEAD True starts a run for others"
            )


def differences(
    content: Mapping[str, Any], cfg: CfgNode, training_list: TrainingList, world: World
) -> list[str]:
    """Say what differs, a line each, as far as the checkpoint tells.

    Args:
        content: The checkpoint.
        cfg: The config of now.
        training_list: What is trained on now.
        world: Where this process stands.
    """
    lines = [
        f"{key} {theirs!r} -> {ours!r}"
        for key, (theirs, ours) in _changed_keys(content, cfg).items()
        if key not in _FREE and not key.startswith("TEST.")
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
    theirs = content.get("training_list")
    if theirs and theirs["sha256"] != training_list.sha256:
        lines.append(
            f"the training list is another: {theirs['num_videos']} videos -> "
            f"{training_list.num_videos}, or another order or other labels"
        )
    if cfg.TRAIN.EMA_DECAY and not content.get("ema"):
        lines.append("the checkpoint holds no EMA; it begins from the weights")
    return lines


def has_same_draws(content: Mapping[str, Any], cfg: CfgNode) -> bool:
    """Tell whether the clips of an epoch come in the order of the checkpoint's run."""
    return not any(key in _changed_keys(content, cfg) for key in _DRAWS)


def _changed_keys(content: Mapping[str, Any], cfg: CfgNode) -> dict[str, tuple[Any, Any]]:
    if not content.get("config"):
        return {}
    theirs = dict(all_leaves(CfgNode.load_cfg(content["config"])))
    ours = dict(all_leaves(cfg))  # a key that one of them lacks is younger than the checkpoint
    return {
        key: (theirs[key], value)
        for key, value in ours.items()
        if key in theirs and theirs[key] != value
    }


def _are_numbers(names: Sequence[str]) -> bool:
    """Tell names of a run that knew none: it writes the labels."""
    return list(names) == [str(label) for label in range(len(names))]
