"""Batches in groups of one step each, so that small devices train with large batches."""

from copy import copy

from yacs.config import CfgNode

LAST_GROUPS = ("underweight", "reweight", "drop")


class Accumulation:
    """Which batches of an epoch make a step together, and how much each weighs in it.

    Args:
        size: Number of batches of a full group.
        num_batches: Number of batches of an epoch.
        last_group: What happens to a smaller group at the epoch's end. ``underweight``: its sum is
            divided by the full size (TokShift); ``reweight``: by its own; ``drop``: no step is made
            and its gradients are thrown away (PaddleVideo).

    Raises:
        ValueError: No step would ever be made.
    """

    def __init__(self, size: int, num_batches: int, last_group: str = "underweight") -> None:
        if last_group not in LAST_GROUPS:
            raise ValueError(f"the last group is one of {LAST_GROUPS}, got {last_group!r}")
        if last_group == "drop" and num_batches < size:
            raise ValueError(
                f"an epoch has {num_batches} batches, and TRAIN.LAST_GROUP drop makes a step every "
                f"{size}: nothing would be learned; choose underweight or reweight, or fewer"
            )
        self.size = size
        self.num_batches = num_batches
        self.last_group = last_group

    def of_rest(self, num_batches: int) -> "Accumulation":
        """Return the groups of an epoch's last batches, which begin with a new group."""
        rest = copy(self)
        rest.num_batches = num_batches
        return rest

    def share(self, i: int) -> float:
        """Return the weight of batch i, 0-based, in its step."""
        if self.last_group != "reweight":
            return 1 / self.size
        return 1 / min(self.size, self.num_batches - (i - i % self.size))

    def steps_after(self, i: int) -> bool:
        """Tell whether a step follows batch i, 0-based."""
        ends_epoch = i + 1 == self.num_batches and self.last_group != "drop"
        return ends_epoch or (i + 1) % self.size == 0


def build_accumulation(cfg: CfgNode, num_batches: int, world_size: int) -> Accumulation:
    """Build the groups of an epoch of so many batches a process.

    Raises:
        ValueError: TRAIN.GLOBAL_BATCH is no multiple of what all processes take at once, or no step
            would ever be made.
    """
    train, size = cfg.TRAIN, cfg.TRAIN.ACCUMULATION
    if train.GLOBAL_BATCH:
        at_once = world_size * train.CLIPS_PER_GPU
        if train.GLOBAL_BATCH % at_once:
            raise ValueError(
                f"TRAIN.GLOBAL_BATCH={train.GLOBAL_BATCH}; it must be a multiple of {at_once}, "
                f"which {world_size} processes x {train.CLIPS_PER_GPU} clips take at once"
            )
        size = train.GLOBAL_BATCH // at_once
    return Accumulation(size, num_batches, train.LAST_GROUP)
