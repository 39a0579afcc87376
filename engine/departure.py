"""How a process leaves its group on a fault: its records flushed, and without a collective.

`destroy_process_group` waits for the others under NCCL, and a thread that waits in a collective
waits for ever when a peer is gone. So a process that fails ends by `os._exit`, whatever it waits
for, and does itself what the end of the interpreter would have done.
"""

import atexit
import logging
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from typing import NoReturn

_FLUSH_SECONDS = 10.0

_log = logging.getLogger(__name__)
_is_leaving = threading.Lock()


class FaultExit(SystemExit):
    """The end of this process on an error of the user's.

    Args:
        untold: Text of the error, if another process that has the same one was to show it.
    """

    def __init__(self, untold: str = "") -> None:
        super().__init__(1)
        self.untold = untold


def leave(status: int, tidy: Iterable[Callable[[], None]] = ()) -> NoReturn:
    """Flush what the program has written, and end this process; a second caller waits for the end.

    Args:
        status: Exit status of the process.
        tidy: Function that is called first, to finish what is being written.
    """
    if not _is_leaving.acquire(blocking=False):
        leave_to_others()
    if threading.current_thread() is threading.main_thread() and hasattr(signal, "SIGCHLD"):
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # torch's raises at the death of a worker
    flushing = threading.Thread(target=_flush, args=(tidy,), daemon=True)
    flushing.start()
    flushing.join(_FLUSH_SECONDS)
    os._exit(status)


def leave_to_others() -> NoReturn:
    """Wait for the end of this process, which another thread brings about."""
    while True:
        threading.Event().wait()


def _flush(tidy: Iterable[Callable[[], None]]) -> None:
    for child in multiprocessing.active_children():
        if child.daemon and child.pid:  # a loader's, which the exit functions wait for
            child.terminate()  # it ends with 0 then: what is killed, torch reports as a fault
            os.kill(child.pid, signal.SIGCONT)
    with ExitStack() as steps:  # from the last to the first, all of them even if one fails
        for stream in (sys.stdout, sys.stderr):
            steps.callback(stream.flush)
        steps.callback(atexit._run_exitfuncs)
        steps.callback(logging.shutdown)
        for finish in reversed(list(tidy)):
            steps.callback(_finish, finish)


def _finish(finish: Callable[[], None]) -> None:
    """Finish what is being written; what the disk does not take is told in a line."""
    try:
        finish()
    except OSError as error:
        _log.error("error: %s", error)
