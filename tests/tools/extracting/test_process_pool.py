import multiprocessing
import os
import signal
import time
from collections.abc import Generator
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from pathlib import Path

import pytest

from tools.extracting import process_pool
from tools.extracting.process_pool import run_jobs


def square_or_die(job: int) -> int:
    """Square a number; a negative one ends the process, as a crash in a decoder does."""
    if job < 0:
        os._exit(9)
    return job * job


def die_once(mark: Path) -> str:
    if not mark.exists():
        mark.touch()
        os._exit(9)
    return "second try"


def raise_on_two(job: int) -> int:
    if job == 2:
        raise OSError("disk full")
    return job


def sleep(job: int) -> int:
    time.sleep(job)
    return job


def never(job: object) -> int:
    raise AssertionError(f"{job} has died")


@pytest.mark.parametrize("num_workers", [0, 1, 2])
def test_each_job_gives_its_result_once(num_workers: int) -> None:
    results = list(run_jobs(square_or_die, range(9), num_workers, when_dead=never))
    assert sorted(results) == [job * job for job in range(9)]


def test_results_come_as_they_are_done() -> None:
    jobs = iter(range(10))
    stream = run_jobs(square_or_die, jobs, num_workers=0, when_dead=never)
    assert next(stream) == 0
    assert next(jobs) == 1


@pytest.mark.parametrize("num_workers", [1, 2])
def test_job_that_kills_its_process_twice_is_given_up_and_no_other(
    num_workers: int, caplog: pytest.LogCaptureFixture
) -> None:
    jobs = [1, 2, -3, 4, 5, -6, 7]
    results = list(run_jobs(square_or_die, jobs, num_workers, when_dead=lambda job: job))
    assert sorted(results) == [-6, -3, 1, 4, 16, 25, 49]
    assert "a worker process died; trying" in caplog.text


def test_job_whose_process_died_gets_a_second_try(tmp_path: Path) -> None:
    results = list(run_jobs(die_once, [tmp_path / "mark"], num_workers=1, when_dead=str))
    assert results == ["second try"]


def test_processes_that_cannot_start_are_an_error_and_no_job_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(process_pool, "_end_quietly_on_interrupt", os.abort)
    with pytest.raises(BrokenProcessPool):
        list(run_jobs(square_or_die, [1, 2], num_workers=1, when_dead=never))


@pytest.mark.parametrize("num_workers", [0, 1])
def test_exception_of_a_job_ends_the_run(num_workers: int) -> None:
    results: list[int] = []
    with pytest.raises(OSError, match="disk full"):
        results.extend(run_jobs(raise_on_two, range(50), num_workers, when_dead=never))
    assert {0, 1} <= set(results) <= {0, 1, 3}  # another one may be done by then


def test_closing_the_stream_ends_the_processes_and_drops_the_jobs_that_wait() -> None:
    with closing(run_jobs(sleep, [0] + [1] * 100, num_workers=1, when_dead=never)) as stream:
        assert next(stream) == 0
        start = time.monotonic()
    assert time.monotonic() - start < 10  # of 100 s
    assert multiprocessing.active_children() == []


@pytest.fixture
def interrupt_handler() -> Generator[None, None, None]:
    handler = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, handler)


@pytest.mark.usefixtures("interrupt_handler")
def test_workers_end_on_an_interrupt_unless_it_is_ignored() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    process_pool._end_quietly_on_interrupt()
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    signal.signal(signal.SIGINT, signal.default_int_handler)
    process_pool._end_quietly_on_interrupt()
    assert signal.getsignal(signal.SIGINT) is signal.SIG_DFL
