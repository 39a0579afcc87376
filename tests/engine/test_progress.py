import logging
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from engine import progress
from engine.distributed import World
from engine.pace import Pace
from engine.position import EpochPart, Position
from engine.progress import Progress
from engine.run_log import NullRunLog

WORLD = World(rank=0, size=1, local_rank=0, device=torch.device("cpu"))


class Recorder(NullRunLog):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.values: dict[str, list[tuple[int, float]]] = {}
        self.lines: list[dict[str, Any]] = []

    def scalars(self, step: int, values: dict[str, float]) -> None:
        for tag, value in values.items():
            self.values.setdefault(tag, []).append((step, value))

    def line(self, kind: str, **values: Any) -> None:
        self.lines.append({"kind": kind, **values})


class Clock:
    """A clock that stands still until it is moved."""

    now = 100.0

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("engine.progress.time", clock)
    monkeypatch.setattr("engine.pace.time", clock)
    return clock


def progress_of(
    num_iterations: int = 4, print_freq: int = 2, epoch: int = 0, num_epochs: int = 1
) -> tuple[Progress, Recorder]:
    recorder = Recorder()
    start = Position(epoch, iterations=epoch * num_iterations)
    part = EpochPart(start, num_iterations, num_iterations, clips_per_batch=2)
    return Progress(part, num_epochs, WORLD, print_freq, recorder), recorder


def add(progress: Progress, loss: float, hits: tuple[int, int] = (0, 0), num: int = 2) -> None:
    videos = [f"video {loss} {index}" for index in range(num)]
    progress.add(torch.tensor(loss), torch.tensor(hits), num, videos)


def test_epoch_means_are_of_batches_for_the_loss_and_of_clips_for_accuracy() -> None:
    progress, _ = progress_of(num_iterations=3)
    add(progress, 4.0, (1, 2))
    add(progress, 1.0, (0, 3), num=4)
    add(progress, 0.25, (2, 2))
    # (4 + 1 + 0.25) / 3 batches; 3 and 7 hits of 8 clips
    assert progress.epoch_means() == {"loss": 1.75, "top1": 37.5, "top5": 87.5}


def test_skipped_iterations_count_neither_for_the_loss_nor_for_accuracy() -> None:
    progress, recorder = progress_of(num_iterations=4, print_freq=2)
    progress.skip()
    add(progress, 3.0, (1, 2))
    progress.report(0.1)
    add(progress, 1.0, (1, 1))
    progress.skip()
    progress.report(0.1)
    assert progress.epoch_means() == {"loss": 2.0, "top1": 50.0, "top5": 75.0}
    assert recorder.values["Iteration/loss"] == [(1, 3.0), (2, 1.0)]
    assert [line["iteration"] for line in recorder.lines] == [2, 4]


def test_interval_of_skipped_iterations_is_not_reported() -> None:
    progress, recorder = progress_of(num_iterations=2, print_freq=2)
    progress.skip()
    progress.skip()
    progress.report(0.1)
    assert recorder.lines == []


def test_loss_before_a_skipped_iteration_is_looked_at() -> None:
    progress, _ = progress_of()
    add(progress, float("nan"))
    with pytest.raises(FloatingPointError, match="video nan 0"):
        progress.skip()


def test_epoch_means_do_not_lose_small_losses_in_long_epochs() -> None:
    progress, _ = progress_of(num_iterations=2000, print_freq=5000)
    for _ in range(2000):
        add(progress, 0.1)
    # summed in double precision: nothing but the rounding of 0.1 to float32 is left
    assert progress.epoch_means()["loss"] == pytest.approx(0.1, rel=2e-8)


@pytest.mark.parametrize("loss", [float("nan"), float("inf"), float("-inf")])
def test_bad_loss_stops_the_run_an_iteration_later_and_names_its_videos(loss: float) -> None:
    progress, _ = progress_of(epoch=2)
    add(progress, 1.0)
    add(progress, loss)
    with pytest.raises(FloatingPointError) as caught:
        add(progress, 2.0)
    assert f"loss {loss} in epoch 3, iteration 2;" in str(caught.value)
    assert f"Videos of the batch: video {loss} 0, video {loss} 1" in str(caught.value)


def test_bad_loss_of_the_last_iteration_stops_the_run_at_the_end_of_the_epoch() -> None:
    progress, _ = progress_of(num_iterations=2)
    add(progress, 1.0)
    add(progress, float("nan"))
    with pytest.raises(FloatingPointError, match=r"iteration 2; .*video nan 0, video nan 1"):
        progress.epoch_means()


def test_finite_losses_do_not_stop_the_run() -> None:
    progress, _ = progress_of(num_iterations=3)
    for loss in (0.0, 1e30, -1.0):
        add(progress, loss)
    progress.check_losses()
    assert progress.epoch_means()["loss"] > 1e29


def test_report_comes_every_few_iterations_and_at_the_end() -> None:
    progress, recorder = progress_of(num_iterations=5, print_freq=2)
    for loss in (1.0, 2.0, 3.0, 5.0, 8.0):
        add(progress, loss)
        progress.report(rate=0.1)
    assert [line["iteration"] for line in recorder.lines] == [2, 4, 5]
    assert [line["loss"] for line in recorder.lines] == [1.5, 4, 8]  # means since the last report


def test_report_records_every_loss_under_the_step_of_its_iteration() -> None:
    progress, recorder = progress_of(num_iterations=3, print_freq=2, epoch=2, num_epochs=4)
    for loss in (1.0, 2.0, 4.0):
        add(progress, loss)
        progress.report(rate=loss / 10)
    assert recorder.values["Iteration/loss"] == [(6, 1), (7, 2), (8, 4)]
    assert recorder.values["Iteration/lr"] == [(7, 0.2), (8, 0.4)]
    assert {line["epoch"] for line in recorder.lines} == {3}  # counted from 1


def test_report_has_accuracy_since_the_start_and_the_norm_of_the_last_step() -> None:
    progress, recorder = progress_of(num_iterations=4, print_freq=2)
    for iteration, hits in enumerate([(2, 2), (1, 2), (0, 2), (0, 0)]):
        add(progress, 1.0, hits)
        if iteration == 2:
            progress.stepped(torch.tensor(2.5))
        progress.report(rate=0.1)
    assert [line["top1"] for line in recorder.lines] == [75, 37.5]
    assert [line.get("grad_norm") for line in recorder.lines] == [None, 2.5]  # no step yet
    assert all(line["memory_gib"] > 0.01 for line in recorder.lines)


def test_speed_wait_and_time_left_are_measured(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    progress, recorder = progress_of(num_iterations=4, print_freq=2, epoch=1, num_epochs=3)

    def loader() -> Iterator[int]:
        for batch in range(4):
            clock.now += 3.0  # the loader takes its time
            yield batch

    batches = []
    for batch in progress.timed(loader()):
        batches.append(batch)
        clock.now += 7.0  # and so does the device
        add(progress, 1.0, num=5)
        progress.report(rate=0.1)
    assert batches == [0, 1, 2, 3]
    assert [line["data_wait"] for line in recorder.lines] == [0.3, 0.3]
    assert [line["clips_per_s"] for line in recorder.lines] == [0.5, 0.5]
    # ten seconds an iteration; 2 + 4 and then 4 iterations are left
    assert [line["eta_s"] for line in recorder.lines] == [60, 40]
    assert "epoch 2/3 it 2/4 loss 1.0000 top1 0.0 lr 0.1 0.5 clips/s wait 30% eta 0:01:00" in (
        caplog.text
    )


def test_time_left_is_told_early_and_counts_what_comes_between_epochs(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    pace, lines = Pace(), []
    for epoch in (0, 1):
        part = EpochPart(Position(epoch, iterations=4 * epoch), 4, 4, clips_per_batch=2)
        recorder = Recorder()
        progress = Progress(part, 3, WORLD, 100, recorder, pace=pace)
        for _ in range(4):
            clock.now += 5.0
            add(progress, 1.0)
            progress.report(rate=0.1)
        clock.now += 20.0  # a validation
        lines += [(line["iteration"], line["eta_s"]) for line in recorder.lines]
    # five seconds an iteration; then 60 s for two epochs, of which one is left
    assert lines == [(4, 40.0), (4, 30.0)]
    assert caplog.messages[0] == "about 0:00:50 left, by the first 2 iterations"
    assert caplog.text.count("about") == 1


def test_every_batch_of_the_loader_passes_even_one_that_is_false() -> None:
    progress, _ = progress_of()
    assert list(progress.timed([0, [], "", 3])) == [0, [], "", 3]


@pytest.mark.parametrize(("system", "unit"), [("darwin", 1), ("linux", 1024)])
def test_peak_memory_is_in_the_units_of_the_system(
    system: str, unit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = SimpleNamespace(ru_maxrss=3 * 2**30 // unit)
    monkeypatch.setattr(progress.sys, "platform", system)
    monkeypatch.setattr(progress.resource, "getrusage", lambda _: usage)
    assert progress._memory_gib(torch.device("cpu")) == 3
