"""After which steps of an epoch a checkpoint is due: all processes get the same answer."""

import time
from typing import Any

import torch
import torch.distributed as dist

from engine.distributed import World
from engine.stop_signals import StopSignals


class SavePoints:
    """Decides, after each batch, whether the state is to be saved now.

    The clock is rank 0's, and a signal may have come to one process alone; so the processes tell
    each other after every batch, and read the answer after the next one, when it has long come.

    Args:
        minutes: Minutes between two checkpoints; 0 = never by time.
        steps: Number of steps between two checkpoints; 0 = never by steps.
        world: Rank and device of this process, and the number of processes.
        signals: Stop signals of this process.
    """

    def __init__(self, minutes: float, steps: int, world: World, signals: StopSignals) -> None:
        self.minutes = minutes
        self.steps = steps
        self.world = world
        self.signals = signals
        self._asked: tuple[torch.Tensor, Any] | None = None
        self._stop, self._is_late = 0, False
        self.saved()

    def is_due(self, has_stepped: bool) -> bool:
        """Tell after a batch whether to save; never between two steps. All processes call this."""
        self._num_steps += has_stepped
        if not self._is_many:
            self._ask()
        self._hear()
        is_due = has_stepped and (
            self._stop > 0 or self._is_late or 0 < self.steps <= self._num_steps
        )
        if self._is_many and not is_due:
            self._ask()
        return is_due

    def saved(self) -> None:
        """Count time and steps from here."""
        self._since, self._num_steps, self._is_late = time.monotonic(), 0, False

    def must_stop(self) -> bool:
        """Tell whether a signal asks all processes to stop. All of them call this together."""
        if not self._stop:
            self._hear()
            self._ask()
            self._hear()
        self.signals.received = self.signals.received or self._stop
        return self._stop > 0

    def _ask(self) -> None:
        late = self.minutes and time.monotonic() - self._since >= 60 * self.minutes
        told = torch.tensor([self.signals.received, int(bool(late) and self.world.is_main)])
        work = dist.all_reduce(told, dist.ReduceOp.MAX, async_op=True) if self._is_many else None
        self._asked = told, work

    def _hear(self) -> None:
        if self._asked is None:
            return
        told, work = self._asked
        if work is not None:
            work.wait()
        self._asked = None
        stop, is_late = told.tolist()
        self._stop, self._is_late = self._stop or stop, self._is_late or bool(is_late)

    @property
    def _is_many(self) -> bool:
        return self.world.size > 1
