import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def free_port() -> Callable[[], int]:
    """Find a port of this host that nobody listens on."""

    def find() -> int:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            return probe.getsockname()[1]

    return find


@pytest.fixture
def run_processes(
    tmp_path: Path, repository: Path, free_port: Callable[[], int]
) -> Callable[..., list[int]]:
    """Run a script in several processes on the CPU and return their ids.

    Each gets `{rank}` in its arguments filled in, and, if it is launched, what a launcher puts into
    the environment.
    """

    def run(script: str, *arguments: str, num: int = 1, is_launched: bool = False) -> list[int]:
        path = tmp_path / "worker.py"
        path.write_text(script)
        shared = {"PYTHONPATH": str(repository), "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
        shared |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
        inherited = {k: v for k, v in os.environ.items() if "RANK" not in k and k != "WORLD_SIZE"}
        processes = []
        for rank in range(num):
            place = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(num)}
            environment = inherited | shared | (place if is_launched else {})
            words = [sys.executable, str(path), *(word.format(rank=rank) for word in arguments)]
            processes.append(subprocess.Popen(words, env=environment))
        try:
            assert [process.wait(timeout=120) for process in processes] == [0] * num
        finally:
            for process in processes:
                process.kill()  # only those that still run
        return [process.pid for process in processes]

    return run
