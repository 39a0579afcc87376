from collections.abc import Callable

import pytest
import torch

from engine.distributed import World
from engine.save_points import SavePoints
from engine.stop_signals import StopSignals

WORLD = World(rank=0, size=1, local_rank=0, device=torch.device("cpu"))


class Clock:
    """A clock that stands still until it is moved."""

    now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("engine.save_points.time", clock)
    return clock


def test_nothing_is_due_unless_it_is_asked_for() -> None:
    points = SavePoints(minutes=0, steps=0, world=WORLD, signals=StopSignals())
    assert not any(points.is_due(has_stepped=True) for _ in range(50))
    assert not points.must_stop()


def test_steps_are_counted_since_the_last_checkpoint_and_batches_are_not() -> None:
    points = SavePoints(minutes=0, steps=2, world=WORLD, signals=StopSignals())
    steps = [False, True, False, True, False, True, True, True]
    due = []
    for has_stepped in steps:
        due.append(points.is_due(has_stepped))
        if due[-1]:
            points.saved()
    assert due == [False, False, False, True, False, False, True, False]


def test_time_is_counted_since_the_last_checkpoint(clock: Clock) -> None:
    points = SavePoints(minutes=2, steps=0, world=WORLD, signals=StopSignals())
    clock.now += 119
    assert not points.is_due(has_stepped=True)
    clock.now += 1
    assert not points.is_due(has_stepped=False)  # in the middle of a step
    assert points.is_due(has_stepped=True)
    points.saved()
    assert not points.is_due(has_stepped=True)
    clock.now += 120
    assert points.is_due(has_stepped=True)


def test_signal_is_answered_after_the_step_that_it_came_in() -> None:
    signals = StopSignals()
    points = SavePoints(minutes=0, steps=0, world=WORLD, signals=signals)
    assert not points.is_due(has_stepped=True)
    signals.received = 15
    assert not points.is_due(has_stepped=False)
    assert points.is_due(has_stepped=True)
    points.saved()
    assert points.must_stop()


def test_signal_between_two_batches_is_seen_at_the_end_of_the_epoch() -> None:
    signals = StopSignals()
    points = SavePoints(minutes=0, steps=0, world=WORLD, signals=signals)
    assert not points.must_stop()
    signals.received = 10
    assert points.must_stop()


MANY = """
import sys

import torch
import torch.distributed as dist

from engine.distributed import World
from engine.save_points import SavePoints
from engine.stop_signals import StopSignals

rank = int(sys.argv[1])
dist.init_process_group("gloo")
world, signals = World(rank, 2, rank, torch.device("cpu")), StopSignals()

points = SavePoints(minutes=0, steps=3, world=world, signals=signals)
due = [points.is_due(True) for _ in range(3)]
assert due == [False, False, True], due
points.saved()
assert not points.must_stop()

points = SavePoints(minutes=1e-9 if rank == 0 else 0, steps=0, world=world, signals=signals)
due = [points.is_due(True), points.is_due(False), points.is_due(True)]
assert due == [False, False, True], due  # the clock of rank 0 counts for both
points.minutes = 0
points.saved()
due = [points.is_due(True) for _ in range(3)]
assert not any(due), due  # one time that has come makes one checkpoint

signals.received = 12 if rank == 1 else 0
due = [points.is_due(True), points.is_due(True)]
assert due == [False, True], due  # it came to one alone; the other hears of it a batch later
points.saved()
assert points.must_stop()
assert signals.received == 12
"""


@pytest.mark.ddp
def test_all_processes_get_the_same_answer(run_processes: Callable[..., None]) -> None:
    run_processes(MANY, "{rank}", num=2, is_launched=True)


@pytest.mark.ddp
def test_stop_at_the_epoch_s_end_reaches_all(run_processes: Callable[..., None]) -> None:
    script = MANY[: MANY.index("points = ")] + (
        "points = SavePoints(0, 0, world, signals)\n"
        "signals.received = 15 if rank == 0 else 0\n"
        "assert not points.is_due(False)\n"  # the last batch made no step
        "assert points.must_stop()\n"
        "assert signals.received == 15\n"
    )
    run_processes(script, "{rank}", num=2, is_launched=True)
