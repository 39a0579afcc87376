"""Early stop: how long a training has gone without a better validation."""

from collections.abc import Mapping

from config.values import counted
from engine.distributed import World, decided_by_main


class Patience:
    """Says when a training ends for want of a better validation; rank 0 decides for all.

    What the validations gave is kept in the checkpoints, so that a run that goes on stops where an
    unbroken one would.

    Args:
        limit: Number of epochs without a better top-1 after which it ends, `TRAIN.PATIENCE`; 0 =
            never.
        top1s: Top-1 of the validations so far, percent, by number of finished epochs.
    """

    def __init__(self, limit: int, top1s: Mapping[int, float] | None = None) -> None:
        self.limit = limit
        self.top1s = dict(top1s or {})

    def add(self, num_epochs: int, top1: float) -> None:
        """Take in the top-1 of the validation after so many epochs; on rank 0."""
        self.top1s = {epoch: value for epoch, value in self.top1s.items() if epoch < num_epochs}
        self.top1s[num_epochs] = top1

    def decided_end(self, world: World) -> str:
        """Return in every process why the training ends now, as rank 0 knows it; empty: it goes on.

        All processes call together.
        """
        return decided_by_main(self.why_end, world) if self.limit else ""

    def why_end(self) -> str:
        """Return why the training ends now, by what this process knows; empty: it goes on."""
        if not (self.limit and self.top1s):
            return ""
        best = max(self.top1s, key=lambda epoch: (self.top1s[epoch], -epoch))  # the first of equals
        num_waited = max(self.top1s) - best
        if num_waited < self.limit:
            return ""
        return (
            f"the training ends after epoch {max(self.top1s)}: no validation was better than "
            f"{self.top1s[best]:.2f} after epoch {best} for {counted(num_waited, 'epoch')} "
            f"(TRAIN.PATIENCE={self.limit})"
        )
