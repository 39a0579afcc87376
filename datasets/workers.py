"""How a loader's worker process starts, and by whom it lets itself be ended."""

import os
import signal
import threading

import torch


def start_worker(worker: int) -> None:
    """Prepare a worker process: one thread to compute in, and deaf to what the run is told.

    A terminal and a scheduler send their signals to every process of a job. The run then writes its
    checkpoint, and needs its workers until it has.

    Args:
        worker: Number of the worker, which torch gives.
    """
    torch.set_num_threads(1)
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)
    if hasattr(signal, "sigwaitinfo"):  # Linux; elsewhere no scheduler does this
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_obey_parent, daemon=True).start()


def _obey_parent() -> None:
    """End this process when the one that it works for sends SIGTERM, and nobody else."""
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != os.getppid():
        pass
    os._exit(0)
