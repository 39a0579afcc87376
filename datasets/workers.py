"""A loader's worker processes: how many, how they start, and by whom they may be ended."""

import os
import signal
import threading

import torch

# Of a training process: sixteen give 1,300 clips of eight 441 x 331 frames a second, above what a
# model takes; more would only hold memory, two batches each.
MOST_WORKERS = 16


def num_workers(asked: int, num_processes: int | None = None) -> int:
    """Return the number of loader processes for each training process.

    Args:
        asked: Value of DATA.WORKERS; -1 for a share of the cores that this process may use.
        num_processes: Number of training processes of this host; None takes what the launcher says,
            else one for each GPU.
    """
    if asked >= 0:
        return asked
    if num_processes is None:
        num_processes = int(os.environ.get("LOCAL_WORLD_SIZE") or torch.cuda.device_count())
    has_affinity = hasattr(os, "sched_getaffinity")  # not on macOS
    cores = len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1
    return min(max(cores // max(num_processes, 1), 1), MOST_WORKERS)


def start_worker(worker: int) -> None:
    """Prepare a worker process: it computes in one thread and ignores the signals of the run.

    A terminal and a scheduler send their signals to every process of a job. The run then writes its
    checkpoint, and needs its workers until it has.

    Args:
        worker: Number of the worker, given by torch.
    """
    torch.set_num_threads(1)
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)
    if hasattr(signal, "sigwaitinfo"):  # Linux; elsewhere no scheduler does this
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_obey_parent, daemon=True).start()


def _obey_parent() -> None:
    """End this process on a SIGTERM from its parent, and from nobody else."""
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != os.getppid():
        pass
    os._exit(0)
