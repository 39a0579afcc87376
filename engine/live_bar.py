"""How far long work is: a live bar on a terminal, else plain lines every few seconds.

    with LiveBar(len(videos), "video", "test") as bar:
        for video in videos:
            bar.update()

The bar goes to standard error. Where that is a file or a pipe, lines go to the log or to where the
caller says, and work that is done within a few seconds has none.
"""

import logging
import shutil
import sys
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from types import TracebackType

from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

SECONDS = 5.0  # between two lines, at least
SHARE = 0.02  # of the time since the start, at least: a night's work gives no ten thousand lines

_log = logging.getLogger(__name__)


class _Bar(tqdm):
    """tqdm's bar without its thread and its lock of several processes: ours are forked."""

    monitor_interval = 0
    _lock = threading.RLock()


class LiveBar:
    """A bar, or lines, with rate and time left.

    Args:
        total: Number of things to do.
        noun: Name of one of them, in the singular.
        label: Name of the work; begins the line.
        say: Function that takes a plain line; None: the log does.
        is_shown: Whether this process shows it.
    """

    def __init__(
        self,
        total: int,
        noun: str,
        label: str = "",
        say: Callable[[str], None] | None = None,
        is_shown: bool = True,
    ) -> None:
        self.total = total
        self.noun = noun
        self.label = label
        self._say = say or (lambda line: _log.info("%s", line))
        self._is_shown = is_shown and total > 0
        self._num_done = self._num_failed = self._num_told = 0
        self._start = self._last_said = time.monotonic()
        self._stack = ExitStack()
        self._bar: _Bar | None = None
        if self._is_shown and sys.stderr.isatty():
            size = shutil.get_terminal_size()  # tqdm shows none where the terminal does not say
            self._bar = _Bar(
                total=total,
                desc=label or None,
                unit=f" {noun}s",
                file=sys.stderr,
                leave=False,
                ncols=size.columns - 1,
                nrows=size.lines,
                miniters=1,
            )
            self._stack.callback(self._bar.close)
            self._stack.enter_context(logging_redirect_tqdm(tqdm_class=_Bar))

    def __enter__(self) -> "LiveBar":
        """Return it, to be closed at the end."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close it."""
        self.close()

    def update(self, number: int = 1, num_failed: int = 0) -> None:
        """Count things that are done, or have failed; more than there are count as all."""
        number = min(number, self.total - self._num_done)
        self._num_done += number
        self._num_failed += num_failed
        if not self._is_shown:
            return
        if self._bar is not None:
            if num_failed:
                self._bar.set_postfix_str(f"{self._num_failed} failed", refresh=False)
            self._bar.update(number)
            return
        now = time.monotonic()
        if now - self._last_said >= max(SECONDS, SHARE * (now - self._start)):
            self._last_said, self._num_told = now, self._num_done
            self._say(self._line())

    def aside(self) -> AbstractContextManager[object]:
        """Take the bar off the terminal while something else is written there."""
        return _Bar.external_write_mode()

    def close(self) -> None:
        """End the bar, or the lines with a last one; work that was short has none."""
        self._stack.close()
        if 0 < self._num_told < self._num_done == self.total:
            self._say(self._line())

    def _line(self) -> str:
        rate = self._num_done / max(time.monotonic() - self._start, 1e-3)
        left = tqdm.format_interval((self.total - self._num_done) / max(rate, 1e-9))
        label = f"{self.label} " if self.label else ""
        failed = f", {self._num_failed} failed" if self._num_failed else ""
        return (
            f"{label}{self._num_done}/{self.total} {self.noun}s{failed}, "
            f"{rate:.1f} {self.noun}s/s, {left} left"
        )
