"""Processes as torchrun starts them, forked from one that has imported torch already.

Each process that imports the main script by itself spends seconds on it. Where torchrun is not what
is tested, these stand for its processes: they get the same environment, the store of their group
lies with their parent as it does with torchrun's agent, so that no two groups can meet on a port,
and those that have not ended by themselves soon after the first that fails are killed.
"""

import atexit
import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from multiprocessing import connection, forkserver
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
import torch.distributed as dist

PRELOADED = ["main_ddp_shift", "pytest"]  # pytest: it is this process's main module
TIMEOUT = 300  # seconds
LEAVE = 20  # seconds that the others get to end by themselves, once one has failed


class Ranks:
    """Runs Python scripts of the repository, or of a test, in several processes."""

    def __init__(self, repository: Path) -> None:
        self.repository = repository
        self.context = multiprocessing.get_context("forkserver")
        self.context.set_forkserver_preload(PRELOADED)
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(repository)
            patch.setenv("PYTHONPATH", str(repository))  # Python 3.10 hands on no sys.path
            forkserver.ensure_running()

    def run(
        self, num: int, script: Path | str, *words: object, is_launched: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run a script in so many processes on the CPU; return what all print, on both streams.

        The exit code is that of the first one that fails.

        Args:
            num: Number of processes.
            script: Path of the script, below the repository or absolute.
            words: Its arguments; ``{rank}`` in them is filled in.
            is_launched: Whether they get what torchrun puts into the environment.
        """
        # as torchrun's agent: it holds the store, on a port that the system gives
        store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
        with tempfile.NamedTemporaryFile("r") as console:
            processes = []
            for rank in range(num):
                environment = _environment(rank, num, store.port) if is_launched else _inherited()
                argv = [str(self.repository / script), *(str(w).format(rank=rank) for w in words)]
                args = (argv, environment, str(self.repository), console.name)
                processes.append(self.context.Process(target=_run_script, args=args))
                processes[-1].start()
            code = _wait(processes)
            return subprocess.CompletedProcess(argv, code, console.read(), "")


def _inherited() -> dict[str, str]:
    inherited = {k: v for k, v in os.environ.items() if "RANK" not in k and k != "WORLD_SIZE"}
    return inherited | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}


def _environment(rank: int, num: int, port: int) -> dict[str, str]:
    place = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(num)}
    address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    agent = {"TORCHELASTIC_USE_AGENT_STORE": "True", "TORCHELASTIC_RESTART_COUNT": "0"}
    return _inherited() | place | address | agent


def _run_script(
    argv: Sequence[str], environment: Mapping[str, str], folder: str, console: str
) -> None:
    output = os.open(console, os.O_WRONLY | os.O_APPEND)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(output, stream.fileno())
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.argv = list(argv)
    sys.path[0] = str(Path(argv[0]).parent)  # as Python does for a script
    try:
        runpy.run_path(argv[0], run_name="__main__")
    finally:
        atexit._run_exitfuncs()  # a script does at its end, a forked process does not


def _wait(processes: Sequence[BaseProcess]) -> int:
    """Wait for all, and not much longer than for the first that fails; return its exit code."""
    end, first = time.monotonic() + TIMEOUT, 0
    try:
        running = list(processes)
        while running:
            left = max(end - time.monotonic(), 0)
            ended = connection.wait([p.sentinel for p in running], timeout=left)
            assert ended or first, f"not done after {TIMEOUT} s"
            if not ended:
                break
            for process in [p for p in running if p.sentinel in ended]:
                process.join()
                running.remove(process)
                if process.exitcode and not first:
                    first, end = process.exitcode, time.monotonic() + LEAVE
        return first
    finally:
        for process in processes:
            process.kill()  # only those that still run
            process.join()
