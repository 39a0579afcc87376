"""Ends this process with the one that started it, be that killed without a word."""

import ctypes
import os
import signal
import sys
import threading
import time

LAUNCHER = "TOKSHIFT_LAUNCHER"  # in the environment: process id of our launcher
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_POLL_SECONDS = 1.0


def end_with_parent(parent: int) -> None:
    """Have this process killed as soon as its parent is gone.

    On Linux the kernel does it; elsewhere a thread asks every second who the parent is.

    Args:
        parent: Process id of the parent. If it is gone already, this process ends here.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    else:
        threading.Thread(target=_poll, args=(parent,), daemon=True).start()
    if os.getppid() != parent:  # it died before the kernel knew
        os._exit(1)


def _poll(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_POLL_SECONDS)
    os._exit(1)
