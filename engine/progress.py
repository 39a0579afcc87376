"""Figures of an epoch while it runs: what was learned, how fast, and what it waited for."""

import logging
import math
import resource
import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from engine.distributed import World, all_reduce_sum
from engine.fetching import Fetched
from engine.pace import Pace
from engine.position import EpochPart
from engine.run_log import NullRunLog, RunLog

Batch = TypeVar("Batch")

_EARLY = 2  # iterations until the time left is told; the first is no measure

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Iteration:
    """What one iteration gave.

    Attributes:
        number: Number of the epoch, 1-based.
        step: Number of the iteration in the run, 0-based.
        figures: Loss, top-1 and top-5 hits.
        num_clips: Number of clips of the batch.
        videos: Names of the batch's videos.
    """

    number: int
    step: int
    figures: Fetched
    num_clips: int
    videos: list[str]


class Progress:
    """Adds up an epoch of training and reports every few iterations.

    The device is never waited for between two reports. Figures are looked at once they have come,
    which on a CPU is an iteration later. A loss that is not finite then stops the run.

    Args:
        part: The batches of the epoch that are trained on.
        num_epochs: Number of epochs of the run.
        world: Rank and device of this process, and the number of processes.
        print_freq: Number of iterations from one report to the next.
        runlog: Records that get the reports, besides the console.
        totals: Sums that `state` gave when the epoch was broken off; empty for a whole one.
        pace: Pace of the run, for the time left; None: that of this epoch alone.
    """

    def __init__(
        self,
        part: EpochPart,
        num_epochs: int,
        world: World,
        print_freq: int,
        runlog: RunLog | NullRunLog,
        totals: Sequence[float] = (),
        pace: Pace | None = None,
    ) -> None:
        self.epoch = part.epoch
        self.num_epochs = num_epochs
        self.num_iterations = part.number(part.num_batches)
        self.world = world
        self.print_freq = print_freq
        self.runlog = runlog
        self._totals = [float(total) for total in totals or [0.0] * 5]
        self._awaited: deque[_Iteration] = deque()
        self._done = self._done_before = part.number(0)
        self._iterations_before = part.start.iterations
        self._grad_norm: Tensor | None = None
        self._start_interval()
        self.pace = pace or Pace()
        self.pace.begin(self._epochs_done())

    def timed(self, loader: Iterable[Batch]) -> Iterator[Batch]:
        """Yield the batches of a loader and measure the wait for each."""
        batches = iter(loader)
        while True:
            start = time.perf_counter()
            batch = next(batches, None)
            self._waited += time.perf_counter() - start
            if batch is None:
                return
            yield batch

    def add(self, loss: Tensor, hits: Tensor, num_clips: int, videos: list[str]) -> None:
        """Take the figures of one iteration.

        Args:
            loss: Mean loss of the batch, on the device.
            hits: Top-1 and top-5 hits of the batch, (2,), on the device; of mixed clips, shares.
            num_clips: Number of clips of the batch.
            videos: Names of the batch's videos.

        Raises:
            FloatingPointError: The loss of an iteration before is not finite.
        """
        self._take_in()
        step = self._iterations_before + self._done - self._done_before
        self._done += 1
        figures = Fetched(torch.cat([loss.detach()[None], hits]))
        self._awaited.append(_Iteration(self._done, step, figures, num_clips, videos))
        self._clips += num_clips

    def skip(self) -> None:
        """Take an iteration in which nothing could be learned: none of its videos is readable."""
        self._take_in()
        self._done += 1

    def check_losses(self) -> None:
        """Wait for all figures; raise ``FloatingPointError`` for the first loss not finite."""
        self._take_in(waits=True)

    def stepped(self, grad_norm: Tensor) -> None:
        """Take the gradient norm of a step, on the device."""
        self._grad_norm = grad_norm

    def state(self) -> list[float]:
        """Return what was added up, for a run that goes on in the middle of the epoch.

        Raises:
            FloatingPointError: A loss is not finite.
        """
        self.check_losses()
        return [*self._totals]

    def report(self, rate: float, is_forced: bool = False) -> None:
        """Write a line and the records: every print_freq iterations, at the end and when forced.

        Before a run's first line the time left is told on the console.
        """
        is_end = self._done == self.num_iterations
        if self._done % self.print_freq and not is_end and not is_forced:
            if not self.pace.is_told and self._done - self._done_before == _EARLY:
                eta = self.pace.seconds_left(self._epochs_done(), self.num_epochs)
                _log.info("about %s left, by the first %d iterations", _clock(eta), _EARLY)
            return
        self.check_losses()
        if not self._losses:  # all were skipped
            return
        losses = list(self._losses.values())
        grad_norm = self._grad_norm.item() if self._grad_norm is not None else None
        seconds = time.perf_counter() - self._interval_start  # what was waited for counts
        means = self._means(self._totals)
        step = self._iterations_before + self._done - self._done_before
        figures = {
            "loss": sum(losses) / len(losses),
            "top1": means["top1"],
            "clips_per_s": self._clips * self.world.size / seconds,
            "data_wait": self._waited / seconds,
            "memory_gib": _memory_gib(self.world.device),
            "lr": rate,
        }
        if grad_norm is not None:  # there has been a step
            figures["grad_norm"] = grad_norm
        eta = self.pace.seconds_left(self._epochs_done(), self.num_epochs)
        _log.info(
            "epoch %d/%d it %d/%d loss %.4f top1 %.1f lr %.3g %.1f clips/s wait %.0f%% eta %s",
            *(self.epoch + 1, self.num_epochs, self._done, self.num_iterations),
            *(figures["loss"], figures["top1"], rate, figures["clips_per_s"]),
            *(100 * figures["data_wait"], _clock(eta)),
        )
        for iteration, loss in self._losses.items():
            self.runlog.scalars(iteration, {"Iteration/loss": loss})
        others = {f"Iteration/{name}": value for name, value in figures.items() if name != "loss"}
        self.runlog.scalars(step - 1, others)
        place = {"epoch": self.epoch + 1, "iteration": self._done, "step": step}
        self.runlog.line("train", **place, eta_s=eta, **figures)
        self._start_interval()

    def epoch_means(self) -> dict[str, float]:
        """Return loss, top1 and top5 of the epoch over all processes."""
        self.check_losses()
        totals = torch.tensor(self._totals, dtype=torch.float64)
        return self._means(all_reduce_sum(totals).tolist())

    def _take_in(self, waits: bool = False) -> None:
        """Add up the figures that have come, in turn of the iterations; all of them, if it waits.

        Raises:
            FloatingPointError: A loss is not finite; names the videos.
        """
        while self._awaited and (waits or self._awaited[0].figures.has_come()):
            iteration = self._awaited.popleft()
            figures = iteration.figures.values()
            if not math.isfinite(figures[0]):
                raise FloatingPointError(
                    f"loss {figures[0]} in epoch {self.epoch + 1}, iteration {iteration.number}; "
                    "the run stops and the last checkpoint stays as it is. Videos of the batch: "
                    + ", ".join(iteration.videos)
                )
            self._losses[iteration.step] = figures[0]
            added = (*figures, iteration.num_clips, 1)
            self._totals = [a + b for a, b in zip(self._totals, added, strict=True)]

    def _means(self, totals: list[float]) -> dict[str, float]:
        loss, top1, top5, num_clips, num_batches = totals
        num_clips, num_batches = max(num_clips, 1), max(num_batches, 1)
        return {
            "loss": loss / num_batches,
            "top1": 100 * top1 / num_clips,
            "top5": 100 * top5 / num_clips,
        }

    def _start_interval(self) -> None:
        self._interval_start = time.perf_counter()
        self._waited = 0.0
        self._clips = 0
        self._losses: dict[int, float] = {}  # by iteration of the run

    def _epochs_done(self) -> float:
        return self.epoch + self._done / self.num_iterations


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}"


def _memory_gib(device: torch.device) -> float:
    """Return the peak memory: of the GPU, or resident of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**30 if sys.platform == "darwin" else 2**20)  # bytes there, else KiB
