"""Each process of a group watches the others: one that dies or falls silent ends them all at once.

Process 0 is linked with each of the others, and both ends of a link say every second that they are
there. The system closes the links of a process that dies; one that is stopped, or whose host is cut
off, is silent. A process that works long keeps its sign of life, which comes from a thread of its
own: silence counts, not duration.
"""

import logging
import os
import re
import selectors
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, NoReturn

from engine.departure import FaultExit, leave, leave_to_others
from engine.links import Link, Peer
from engine.stop_signals import stop_signals

_log = logging.getLogger("main")

_BEAT_SECONDS = 1.0
# That a process gets to end by itself, once a peer is gone: it may be about to tell the same error.
_GRACE_SECONDS = 3.0
_STOP_SECONDS = 30.0  # the same where a signal stops the run
_COLLECTIVE = re.compile(r"gloo|nccl|Connection (closed|reset)|Broken pipe|Socket", re.IGNORECASE)


@dataclass(frozen=True)
class Loss:
    """A peer that was lost, and how.

    Attributes:
        peer: Peer that was lost.
        silent_minutes: Time of its silence, minutes; 0 = it has ended.
        error: Error that it ended with, if it has not shown it on its console.
        signal: Signal that has ended it, and is on its way to all; 0 = none.
    """

    peer: Peer
    silent_minutes: float = 0.0
    error: str = ""
    signal: int = 0

    def __str__(self) -> str:
        if self.silent_minutes:
            return (
                f"{self.peer} has been silent for {self.silent_minutes:g} minutes "
                "(TRAIN.TIMEOUT_MINUTES): it is stopped, or its host is cut off"
            )
        if self.error:
            return f"{self.peer}: {self.error}"
        return f"{self.peer} is gone, see its error"


class Watch:
    """Watches the other processes while the body of the ``with`` runs, and ends this one with them.

    An exception that leaves the body ends the process, too: the peers are told, the records are
    flushed, and the exit status is that of a SystemExit, else 1. Leaving it normally is a good end.

    Args:
        me: This process.
        links: Links to the others: of process 0 to each, else to process 0.
        local_rank: Number of this process on its host.
        minutes: Silence that counts as a loss, minutes.
    """

    def __init__(
        self, me: Peer, links: Sequence[Link], local_rank: int = 0, minutes: float = 10.0
    ) -> None:
        self.me, self.links, self.local_rank, self.minutes = me, links, local_rank, minutes
        self._loss: Loss | None = None
        self._is_lost, self._is_done = threading.Event(), threading.Event()
        self._is_ending = threading.Lock()
        self._tidy = stop_signals.tidy  # kept: the list is another one once the training is left
        self._tidy.insert(0, self.stop)
        if links:
            # a loader process that outlives this one must not hold its connections open
            os.register_at_fork(after_in_child=self._close)
            threading.Thread(target=self._run, name="watch", daemon=True).start()

    def __enter__(self) -> "Watch":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is None:
            self._part()
            return
        if self._is_done.is_set():  # another thread ends this process: on a signal, say
            leave_to_others()
        if isinstance(error, RuntimeError) and _COLLECTIVE.search(f"{kind} {error}"):
            self._is_lost.wait(_GRACE_SECONDS)  # then it is known why the collective has failed
            if self._loss and self._loss.signal:
                stop_signals.follow(self._loss.signal)
                leave_to_others()
            if self._loss:
                self._end(str(self._loss))
        status = _tell(error)
        if status == 0:
            self._part()
        elif status < 128:
            untold = error.untold if isinstance(error, FaultExit) else ""
            if untold:  # a launcher that sees this process end may end the one that is to tell it
                self._is_lost.wait(_GRACE_SECONDS)
            self._fail(untold)
        leave(status, self._tidy)

    def stop(self) -> None:
        """Tell the others that this process ends, by a signal perhaps: they are to end, too."""
        if self._is_done.is_set():
            return
        self._is_done.set()
        number = int(stop_signals.received)
        error = "it was stopped by a signal" if number else ""
        self._broadcast({"failed": error, "signal": number})

    @contextmanager
    def limited(self, error: str) -> Iterator[None]:
        """End all processes with an error if the body takes longer than the silence that counts."""
        timer = threading.Timer(60 * self.minutes, self._give_up, (error,))
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def _run(self) -> None:
        """Send and receive signs of life until this process or a peer ends."""
        last = time.monotonic()
        with selectors.DefaultSelector() as selector:
            for link in self.links:
                selector.register(link.socket, selectors.EVENT_READ, link)
            while not self._is_done.is_set() and not self._loss and selector.get_map():
                for key, _ in selector.select(timeout=_BEAT_SECONDS / 2):
                    if not self._hear(key.data):
                        selector.unregister(key.fileobj)
                now = time.monotonic()
                if now - last >= _BEAT_SECONDS:
                    # no more than two: when this process was stopped itself, it heard nobody
                    self._beat(min(now - last, 2 * _BEAT_SECONDS))
                    last = now
        if self._loss and not self._is_done.is_set():
            self._lose(self._loss)

    def _hear(self, link: Link) -> bool:
        """Take in what a peer says; return whether it is still there."""
        link.silence = 0.0
        try:
            messages = link.receive()
        except (OSError, EOFError):
            if not link.has_parted:
                lost = Loss(link.peer, error=link.error, signal=link.signal)
                self._loss = self._loss or lost
            return False
        for message in messages:
            link.has_parted |= "bye" in message
            link.signal = message.get("signal", link.signal)
            link.error = message.get("failed", link.error)
            if "lost" in message:
                rank, host, *rest = message["lost"]
                self._loss = self._loss or Loss(Peer(rank, host), *rest)
        return True

    def _beat(self, elapsed: float) -> None:
        for link in self.links:
            link.send({})
            link.silence += 0 if link.has_parted else elapsed
            if link.silence > 60 * self.minutes:
                self._loss = self._loss or Loss(link.peer, silent_minutes=self.minutes)

    def _lose(self, loss: Loss) -> None:
        if self.me.rank == 0:
            rest = (loss.silent_minutes, loss.error, loss.signal)
            self._broadcast({"lost": [loss.peer.rank, loss.peer.host, *rest]})
        self._is_lost.set()
        is_done = self._is_done.wait(_GRACE_SECONDS)
        if loss.signal and not is_done and not stop_signals.is_held:
            stop_signals.follow(loss.signal)  # it was sent to the other process alone
        if not is_done and not (loss.signal and self._is_done.wait(_STOP_SECONDS)):
            self._end(str(loss))

    def _end(self, text: str) -> NoReturn:
        if self._is_ending.acquire(blocking=False):
            gone = self._loss.peer.rank if self._loss else -1
            first_here = self.me.rank - self.local_rank
            if self.local_rank == (1 if gone == first_here else 0):  # a line a host
                _log.error("error: %s", text)
        leave(1, self._tidy)

    def _give_up(self, error: str) -> None:
        self._fail(error)
        self._end(error)

    def _fail(self, untold: str) -> None:
        self._is_done.set()
        self._broadcast({"failed": untold})

    def _part(self) -> None:
        self._is_done.set()
        self._broadcast({"bye": True})

    def _broadcast(self, message: dict[str, Any]) -> None:
        for link in self.links:
            link.send(message)

    def _close(self) -> None:
        for link in self.links:
            link.socket.close()


def _tell(error: BaseException) -> int:
    """Show an error as the end of the interpreter would; return the exit status."""
    if not isinstance(error, SystemExit):
        sys.excepthook(type(error), error, error.__traceback__)
        return 1
    if error.code is None or isinstance(error.code, int):
        return error.code or 0
    sys.stderr.write(f"{error.code}\n")
    return 1
