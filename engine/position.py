"""How far a training is, to the clip: what a checkpoint keeps and a resumed run goes on from."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Position:
    """A place between two steps of a training.

    Attributes:
        epoch: Number of finished epochs.
        offset: Number of clips of the next epoch that were trained on, over all processes.
        dealt_to: Number of processes when that epoch began; see `EpochSampler`.
        iterations: Number of batches of each process since the run began, however many processes
            ran.
    """

    epoch: int = 0
    offset: int = 0
    dealt_to: int = 1
    iterations: int = 0

    def as_dict(self) -> dict[str, int]:
        """Return it as plain values, for a checkpoint."""
        return asdict(self)

    @classmethod
    def of(cls, content: Mapping[str, Any], batches_per_epoch: int) -> "Position":
        """Return where a checkpoint was written; one without a position ends an epoch."""
        if "position" in content:
            return cls(**content["position"])
        epoch = int(content["epoch"])
        return cls(epoch=epoch, iterations=epoch * batches_per_epoch)


class EpochPart:
    """The batches of an epoch that are to be trained on: all of them, or those after a checkpoint.

    Args:
        start: Place before the first of them.
        batches_per_epoch: Number of batches of a whole epoch with the present processes.
        num_batches: Number of batches that are left.
        clips_per_batch: Number of clips of a batch over all processes.
    """

    def __init__(
        self, start: Position, batches_per_epoch: int, num_batches: int, clips_per_batch: int
    ) -> None:
        self.start = start
        self.batches_per_epoch = batches_per_epoch
        self.num_batches = num_batches
        self.clips_per_batch = clips_per_batch

    @property
    def epoch(self) -> int:
        """The epoch, 0-based."""
        return self.start.epoch

    @property
    def num_before(self) -> float:
        """Number of batches before the first; not whole where the number of processes differed."""
        return self.start.offset / self.clips_per_batch

    def number(self, i: int) -> int:
        """Return the number in the epoch of batch i of this part, both 0-based."""
        return int(self.num_before) + i

    def epochs_done(self, i: int) -> float:
        """Return the epochs done before batch i of this part, with fraction: the schedule's x."""
        return self.epoch + (self.num_before + i) / self.batches_per_epoch

    def after(self, i: int) -> Position:
        """Return the place after batch i of this part, after the last one too; see `end`."""
        start = self.start
        return Position(
            start.epoch,
            start.offset + (i + 1) * self.clips_per_batch,
            start.dealt_to,
            start.iterations + i + 1,
        )

    def end(self) -> Position:
        """Return the place after the epoch."""
        start = self.start
        iterations = start.iterations + self.num_batches
        return Position(start.epoch + 1, dealt_to=start.dealt_to, iterations=iterations)
