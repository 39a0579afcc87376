"""How a process leaves its group on a fault: its records flushed, and without a collective.

`destroy_process_group` waits for the others under NCCL, and a thread that waits in a collective
waits for ever when a peer is gone. So a process that fails ends by `os._exit`, whatever it waits
for, and does itself what the end of the interpreter would have done.
"""

import atexit
import logging
import os
import sys
import threading
from typing import NoReturn

_WRITING_SECONDS = 10.0  # that a file which is being written is waited for
_FLUSH_SECONDS = 5.0

# Held while a file is written that a departure must not cut off: `with departure.unbroken: ...`
unbroken = threading.RLock()
_is_leaving = threading.Lock()


class FaultExit(SystemExit):
    """The end of this process on an error of the user's.

    Args:
        untold: The error's text, if another process was to tell it, which has the same one.
    """

    def __init__(self, untold: str = "") -> None:
        super().__init__(1)
        self.untold = untold


def leave(status: int) -> NoReturn:
    """Flush what the program has written, and end this process; a second caller waits for the end.

    Args:
        status: Exit status of the process.
    """
    if not _is_leaving.acquire(blocking=False):
        threading.Event().wait()
    unbroken.acquire(timeout=_WRITING_SECONDS)
    flushing = threading.Thread(target=_flush, daemon=True)
    flushing.start()
    flushing.join(_FLUSH_SECONDS)  # a stopped loader process would keep it for ever
    os._exit(status)


def _flush() -> None:
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    atexit._run_exitfuncs()
