"""Signals that ask a run to stop: training ends at its next step, with a checkpoint."""

import _thread
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

# Those of Ctrl-C, of kill, of a terminal that is closed, and what schedulers send ahead of a limit.
STOP_SIGNALS = (
    signal.SIGINT,
    signal.SIGTERM,
    signal.SIGHUP,
    signal.SIGUSR1,
    signal.SIGUSR2,
)
INSIST_SECONDS = 2.0
TIDY_SECONDS = 20.0  # for what is still being written; a scheduler gives thirty and more


class StopSignals:
    """What this process does when it is asked to stop.

    It ends at once, except between `hold` and `release`: then the signal is noted in `received`,
    and whoever trains looks there. A launcher and a scheduler may both pass the same signal on, so
    a second one changes nothing, unless it comes `INSIST_SECONDS` later: then somebody insists.

    Attributes:
        received: The first signal that came, 0 while none has.
        way_out: Advice on going on, in the line that the process ends with.
        tidy: Functions that are called before the process ends, to finish what is being written.
    """

    def __init__(self) -> None:
        self.received = 0
        self.way_out = "nothing was saved yet; the same command starts again"
        self.tidy: list[Callable[[], None]] = []
        self._process = 0
        self._is_held = self._is_leaving = False
        self._received_at = 0.0

    def install(self) -> dict[int, Any]:
        """Take the signals over from Python, whose answer is a traceback or a silent death.

        Returns:
            The handlers that were there before, by signal.
        """
        self._process = os.getpid()
        if threading.current_thread() is not threading.main_thread():
            return {}  # Python sets handlers in the main thread alone
        return take_signals(self._take)

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Take the signals over for a while."""
        before = self.install()
        try:
            yield
        finally:
            # while another thread ends the process, a collective that a peer broke may lead here
            if not self._is_leaving:
                for number, handler in before.items():
                    signal.signal(number, handler)
                self.__init__()  # type: ignore[misc]

    def hold(self) -> None:
        """From here on a signal waits until the trainer has looked."""
        self._is_held = True

    def release(self) -> None:
        """From here on a signal ends the process at once again; one that waits does so now."""
        self._is_held = False
        if self.received:
            self.leave()

    @property
    def is_held(self) -> bool:
        """Whether a signal waits until the trainer has looked."""
        return self._is_held

    def follow(self, number: int) -> None:
        """End the process as a signal would that has ended another one of the run."""
        if not self._is_leaving:
            self.received = self.received or number
            self.leave()

    def leave(self) -> None:
        """End the process with 128 + the signal, and say in one line how to go on."""
        self._is_leaving = True
        tidying = threading.Thread(target=self._tidy_up, daemon=True)
        tidying.start()
        tidying.join(TIDY_SECONDS)
        if os.environ.get("RANK", "0") == "0":
            line = f"stopped by {signal.Signals(self.received).name}: {self.way_out}\n"
            os.write(1, line.encode(errors="backslashreplace"))
        os._exit(128 + self.received)

    def _tidy_up(self) -> None:
        for finish in self.tidy:
            with suppress(OSError):  # one that fails leaves the others to be finished
                finish()
        sys.stdout.flush()

    def _take(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process or self._is_leaving:
            return  # in a loader's worker, forked from here, which ends with the run; or a second
        insists = self.received and time.monotonic() - self._received_at > INSIST_SECONDS
        if not self.received:
            self.received, self._received_at = number, time.monotonic()
        if insists or not self._is_held:
            self._is_leaving = True
            # not in this frame: what it interrupts may hold the lock of a file, or of the log
            _thread.start_new_thread(self.leave, ())


def take_signals(handler: Callable[[int, FrameType | None], None]) -> dict[int, Any]:
    """Set a handler for every signal that asks to stop; return the previous ones, by signal.

    Of the signals that are ignored, HUP alone stays ignored: nohup means it. A script's ``&`` has
    INT ignored without meaning it.
    """
    taken = [
        number
        for number in STOP_SIGNALS
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN
    ]
    return {number: signal.signal(number, handler) for number in taken}


stop_signals = StopSignals()  # signals are the process's, so there is one
