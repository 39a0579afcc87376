"""Signals that a launcher hands on to its processes, which stop by themselves."""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any

from engine.stop_signals import INSIST_SECONDS, StopSignals, take_signals


class Forwarding:
    """Hands the first signal that asks to stop on to all processes, once each, within a ``with``.

    What they save is up to them. If one of them has not got so far as to hear the signal, nothing
    can have been saved, and all are killed at once; so they are when somebody insists.

    Args:
        pids: Function that returns the ids of the processes that run. Each leads a process group,
            so that Ctrl-C and a closed terminal reach the launcher alone.

    Attributes:
        received: The first signal that came, 0 while none has.
        received_at: Time when it came, on the monotonic clock.
    """

    def __init__(self, pids: Callable[[], list[int]]) -> None:
        self.pids = pids
        self.received = 0
        self.received_at = 0.0
        self._before: dict[int, Any] = {}
        self._is_starting = False
        self._early = 0  # what came while processes were being started

    def __enter__(self) -> "Forwarding":
        self._before = take_signals(self._take)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @contextmanager
    def starting(self) -> Iterator[None]:
        """Keep a signal that comes meanwhile until all processes have an id to hand it on to.

        One that has begun to run before its id is known would never get the signal.
        """
        self._is_starting = True
        try:
            yield
        finally:
            self._is_starting = False
            if self._early:
                self._take(self._early, None)

    def status(self, status: int) -> int:
        """Return the exit status for what a process ended with, negative for a signal.

        It says that nothing was saved if a signal that was handed on has ended the process.
        """
        if status < 0 and -status == self.received:
            say_nothing_saved(self.received)
        return 128 - status if status < 0 else status

    def _take(self, number: int, frame: FrameType | None) -> None:
        if self._is_starting:
            self._early = self._early or number
            return
        if self.received:
            if time.monotonic() - self.received_at > INSIST_SECONDS:
                name = signal.Signals(number).name
                _say(f"stopped by {name} at once: what was saved before stays\n")
                self._end(number)
            return
        self.received, self.received_at = number, time.monotonic()
        pids = self.pids()
        if not pids or not all(_catches(pid, signal.SIGTERM) for pid in pids):
            say_nothing_saved(number)
            self._end(number)
        for pid in pids:
            _send(pid, number)

    def _end(self, number: int) -> None:
        for pid in self.pids():
            kill_group(pid)
            _send(pid, signal.SIGKILL)  # if it leads no group yet
        os._exit(128 + number)


def say_nothing_saved(number: int) -> None:
    """Write the line that a run which was stopped early ends with."""
    _say(f"stopped by {signal.Signals(number).name}: {StopSignals().way_out}\n")


def kill_group(leader: int) -> None:
    """Kill what is left of a process group."""
    with suppress(ProcessLookupError, PermissionError):  # macOS: of a group that is ending
        os.killpg(leader, signal.SIGKILL)


def _send(pid: int, number: int) -> None:
    with suppress(ProcessLookupError):  # it has ended by itself
        os.kill(pid, number)


def _catches(pid: int, number: int) -> bool:
    """Return whether a process has a handler for a signal; True where the system does not say."""
    status = Path(f"/proc/{pid}/status")
    if sys.platform != "linux" or not status.exists():
        return True
    caught = next(line for line in status.read_text().splitlines() if line.startswith("SigCgt:"))
    return bool(int(caught.split()[1], 16) >> (number - 1) & 1)


def _say(line: str) -> None:
    os.write(2, line.encode())  # a signal handler may interrupt a writer of sys.stderr
