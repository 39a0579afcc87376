"""Jobs in, results out: one function over many jobs in processes that may crash.

A bare ProcessPoolExecutor takes all jobs at once and is lost when one of its processes dies.
"""

import logging
import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

Job = TypeVar("Job")
Result = TypeVar("Result")

logger = logging.getLogger(__name__)


def run_jobs(
    function: Callable[[Job], Result],
    jobs: Iterable[Job],
    num_workers: int,
    when_dead: Callable[[Job], Result],
) -> Generator[Result, None, None]:
    """Yield `function(job)` of every job as it is done, even if worker processes die.

    When one dies (a crash in a decoder, no memory), the jobs in work at that moment are tried
    again one by one in a process of their own: `function` may meet traces of its own first try.

    Args:
        function: Function at the top of a module, so that processes can import it.
        jobs: Arguments of the calls; they can be pickled, and so can the results.
        num_workers: Number of processes; 0 works in this one.
        when_dead: Function that gives the result of a job that killed its process twice. It runs in
            this process.

    Raises:
        BrokenProcessPool: Processes die before they have begun with any job.
        Exception: What `function` raises, from the first job that does.
    """
    if num_workers == 0:
        yield from map(function, jobs)
        return
    waiting = deque(jobs)
    while waiting:
        suspects = yield from _run_until_death(function, waiting, num_workers)
        if suspects:
            logger.warning("a worker process died; trying %d jobs one by one", len(suspects))
        for job in suspects:
            died_again = yield from _run_until_death(function, deque([job]), num_workers=1)
            if died_again:
                yield when_dead(job)


def _run_until_death(
    function: Callable[[Job], Result], waiting: deque[Job], num_workers: int
) -> Generator[Result, None, list[Job]]:
    """Take jobs from `waiting`, yield their results; return those in work when a process died."""
    running: dict[Future[Result], Job] = {}
    executor = _start_executor(min(num_workers, len(waiting)))
    try:
        while waiting or running:
            while waiting and len(running) <= num_workers:  # one ahead, not all: they may die
                future = executor.submit(function, waiting[0])
                running[future] = waiting.popleft()
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in sorted(done, key=_has_failed):  # results that did come are kept
                result = future.result()
                del running[future]
                yield result
    except BrokenProcessPool:
        return list(running.values())
    finally:
        executor.shutdown(cancel_futures=True)
    return []


def _start_executor(num_workers: int) -> ProcessPoolExecutor:
    executor = ProcessPoolExecutor(
        num_workers,
        mp_context=multiprocessing.get_context("spawn"),  # a fork would copy threads and locks
        initializer=_end_quietly_on_interrupt,
    )
    executor.submit(os.getpid).result()  # where no process can start, no job is to blame
    return executor


def _has_failed(future: Future[Result]) -> bool:
    return future.exception() is not None


def _end_quietly_on_interrupt() -> None:
    # Ctrl-C reaches every process; the main one reports it, and the others have nothing to say.
    # A shell script that starts us with & has it ignored, and then it stays so.
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
