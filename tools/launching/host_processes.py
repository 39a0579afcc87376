"""The processes of a run on this host: started, watched, ended."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from functools import partial

from engine.forwarding import Forwarding, kill_group
from engine.parent import end_with_parent

LEAVE_SECONDS = 15.0  # that the others get to end by themselves, once a process has failed
STOP_SECONDS = 30.0  # the same once a process has ended on a signal: what it was to save is saved
_TICK_SECONDS = 0.1


class HostProcesses:
    """Starts the processes of this host and waits until all have ended.

    Args:
        command: Command that each of them runs.
        grace_seconds: Time that they get to save and end after a signal.
    """

    def __init__(self, command: Sequence[str], grace_seconds: float) -> None:
        self.command, self.grace_seconds = command, grace_seconds
        self._running: dict[int, subprocess.Popen[bytes]] = {}  # by rank

    def pids(self) -> list[int]:
        """Return the ids of those that run."""
        return [process.pid for process in self._running.values()]

    def start(
        self, environments: Mapping[int, Mapping[str, str]], store: socket.socket | None
    ) -> None:
        """Start a process for each rank, with what it gets in its environment.

        Each leads a session of its own: what a terminal sends reaches the launcher alone.

        Args:
            environments: Environment of each process, by rank.
            store: Socket that listens, which process 0 inherits if it runs here.
        """
        is_linux = sys.platform == "linux"
        for rank, environment in environments.items():
            self._running[rank] = subprocess.Popen(
                self.command,
                env=os.environ | environment,
                pass_fds=[store.fileno()] if store and rank == 0 else [],
                start_new_session=True,
                # of use before Python is up there, and torch imported
                preexec_fn=partial(end_with_parent, os.getpid()) if is_linux else None,
            )

    def wait(self, forwarding: Forwarding) -> int:
        """Return the status of the process that failed first, 0 if none did, once all have ended.

        The others end by themselves; those that have not in time are killed.
        """
        first, end = 0, float("inf")
        while self._running:
            failed = self._reap()
            if failed and not first:
                # of several at once, the one that is not just another's answer to it
                rank, first = min(failed, key=lambda one: (one[1] == 1, one))
                wait = STOP_SECONDS if forwarding.received else LEAVE_SECONDS
                end = time.monotonic() + wait
                if first < 0 and not forwarding.received:
                    say(f"error: process {rank} was ended by {_cause(-first)}")
            if forwarding.received and not first:
                end = forwarding.received_at + self.grace_seconds
            if time.monotonic() > end:
                self._kill("" if first else " (STOP_GRACE_SECONDS)")
                first = first or 128 + forwarding.received
            time.sleep(_TICK_SECONDS)
        return first

    def _reap(self) -> list[tuple[int, int]]:
        """Forget the processes that have ended; return rank and status of those that failed."""
        running = list(self._running.items())
        ended = [
            (rank, process.returncode) for rank, process in running if process.poll() is not None
        ]
        for rank, _ in ended:
            kill_group(self._running.pop(rank).pid)  # a stopped loader process would stay
        return [(rank, status) for rank, status in ended if status]

    def _kill(self, limit: str) -> None:
        ranks = ", ".join(str(rank) for rank in self._running)
        say(f"killed, since it did not end by itself in time{limit}: process {ranks}")
        for process in self._running.values():
            kill_group(process.pid)
            process.wait()
        self._running.clear()


def say(line: str) -> None:
    """Write a line of the launcher, among what the processes write."""
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def _cause(number: int) -> str:
    memory = "; out of memory, perhaps" if number == signal.SIGKILL else ""
    return f"signal {number} ({signal.Signals(number).name}){memory}"
