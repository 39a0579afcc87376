"""Groups of training processes as a launcher has them, forked from one that has imported torch."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing import forkserver
from pathlib import Path
from typing import NamedTuple

import torch.distributed as dist

from tests.faults.aims import Aim, Rank, run_rank
from tests.ranks import _environment

REPOSITORY = Path(__file__).resolve().parents[2]
SCRIPT = "main_ddp_shift.py"
PRELOADED = ["main_ddp_shift", "tests.faults.aims", "tests.faults.campaign"]
POLL = 0.01  # seconds


class Batch(NamedTuple):
    """The videos that a process learned from at once, in an epoch, 0-based."""

    epoch: int
    videos: tuple[str, ...]


class Host(NamedTuple):
    """A network namespace, its end of a cable, and its address."""

    name: str
    device: str
    address: str


class Ended(NamedTuple):
    """How a group ended.

    Attributes:
        codes: Exit code of each process; minus the signal that ended it.
        console: What all of them printed.
        batches: Of all processes, each in its order.
        hit_at: When an aimed fault struck, seconds since 1970; 0 if none did.
        seconds: From the start to the end of the last process.
        is_hung: It had to be ended after the time allowed.
    """

    codes: list[int]
    console: str
    batches: list[list[Batch]]
    hit_at: float
    seconds: float
    is_hung: bool


def start_server() -> None:
    """Fork the process that the training processes are forked from, with all imported."""
    multiprocessing.get_context("forkserver").set_forkserver_preload(PRELOADED)
    os.environ["PYTHONPATH"] = str(REPOSITORY)
    os.environ["OMP_NUM_THREADS"] = "1"
    sys.path.insert(0, str(REPOSITORY))
    forkserver.ensure_running()


class Group:
    """The processes of one launch.

    Args:
        num: Number of processes.
        words: Arguments of the main script.
        aim: Where the process of a rank is struck.
        aimed: That rank.
        hosts: Where each runs, if not here; then process 0 holds the store, as between hosts.
    """

    def __init__(
        self,
        num: int,
        words: Sequence[str],
        aim: Aim | None = None,
        aimed: int = 0,
        hosts: Sequence[Host] = (),
    ) -> None:
        self.notes = tempfile.TemporaryDirectory(prefix="group_")
        self.console = Path(self.notes.name, "console")
        self.console.touch()
        # as torchrun's agent: it holds the store, on a port that the system gives
        self._store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
        self.start = time.monotonic()
        context = multiprocessing.get_context("forkserver")
        self.processes = []
        for rank in range(num):
            environment = _environment(rank, num, self._store.port)
            if hosts:
                environment |= {
                    "MASTER_ADDR": hosts[0].address,
                    "TORCHELASTIC_USE_AGENT_STORE": "False",
                    "GLOO_SOCKET_IFNAME": hosts[rank].device,
                }
            if num == 1:
                environment = {k: v for k, v in environment.items() if "RANK" not in k}
                environment.pop("WORLD_SIZE")
            started = Rank(
                [str(REPOSITORY / SCRIPT), *words],
                environment,
                str(REPOSITORY),
                str(self.console),
                self.notes.name,
                aim if rank == aimed else None,
                hosts[rank].name if hosts else "",
            )
            self.processes.append(context.Process(target=run_rank, args=(started,)))
            self.processes[-1].start()

    def send(self, number: int, ranks: Sequence[int] | None = None) -> None:
        """Send a signal to the processes of these ranks, by default all that still run."""
        for rank in range(len(self.processes)) if ranks is None else ranks:
            pid = self.processes[rank].pid
            if self.processes[rank].exitcode is None and pid:
                with suppress(ProcessLookupError):
                    os.kill(pid, number)

    def hit_at(self) -> float:
        """Return when an aimed fault struck, seconds since 1970; 0 before."""
        with suppress(OSError, ValueError):
            return float(Path(self.notes.name, "hit").read_text())
        return 0.0

    def is_running(self) -> bool:
        """Tell whether no process has ended."""
        return all(process.exitcode is None for process in self.processes)

    def wait_while_running(self, seconds: float) -> bool:
        """Wait so long, or until a process ends; tell whether none has."""
        end = time.monotonic() + seconds
        while self.is_running() and time.monotonic() < end:
            time.sleep(POLL)
        return self.is_running()

    def wait(self, seconds: float, forwarded: int = 0, grace: float = 0.0) -> Ended:
        """Wait for all processes, as a launcher does, and clear away what they leave.

        Args:
            seconds: Time allowed, from now.
            forwarded: Signal that all get as soon as an aimed one struck.
            grace: After the first that fails the others get SIGTERM, and SIGKILL so many seconds
                later; 0: they are left to find out by themselves.
        """
        end, kill_at = time.monotonic() + seconds, 0.0
        while any(process.exitcode is None for process in self.processes):
            now = time.monotonic()
            if forwarded and self.hit_at():
                self.send(forwarded)
                forwarded = 0
            failed = any(process.exitcode for process in self.processes)
            if grace and failed and not kill_at:
                self.send(signal.SIGTERM)
                kill_at = now + grace
            if now > end or (kill_at and now > kill_at):
                break
            time.sleep(POLL)
        is_hung = time.monotonic() > end
        return self._ended(is_hung)

    def _ended(self, is_hung: bool) -> Ended:
        for process in self.processes:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid or 0, signal.SIGKILL)  # with its loader processes
            process.join()
        ended = Ended(
            [process.exitcode or 0 for process in self.processes],
            self.console.read_text(errors="replace"),
            [_batches(path) for path in sorted(Path(self.notes.name).glob("clips_*"))],
            self.hit_at(),
            time.monotonic() - self.start,
            is_hung,
        )
        self.notes.cleanup()
        return ended


@contextmanager
def two_hosts() -> Iterator[list[Host]]:
    """Make two network namespaces joined by a cable, `cut` is for it.

    Raises:
        CalledProcessError: The user may not.
    """
    hosts = [Host(f"h{os.getpid()}{end}", f"cable{end}", f"10.213.7.{end}") for end in (1, 2)]
    try:
        for host in hosts:
            _ip("netns", "add", host.name)
        _ip(
            "-n",
            hosts[0].name,
            *("link", "add", hosts[0].device, "type", "veth"),
            "peer",
            "name",
            *(hosts[1].device, "netns", hosts[1].name),
        )
        for host in hosts:
            _ip("-n", host.name, "addr", "add", f"{host.address}/24", "dev", host.device)
            _ip("-n", host.name, "link", "set", "lo", "up")
            cut(host, is_cut=False)
        yield hosts
    finally:
        for host in hosts:
            with suppress(subprocess.CalledProcessError):
                _ip("netns", "del", host.name)


def cut(host: Host, is_cut: bool) -> None:
    """Cut a host off, or join it again."""
    _ip("-n", host.name, "link", "set", host.device, "down" if is_cut else "up")


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


def _batches(path: Path) -> list[Batch]:
    lines = path.read_text().splitlines(keepends=True)
    entries = [json.loads(line) for line in lines if line.endswith("\n")]
    return [Batch(epoch, tuple(videos)) for epoch, *videos in entries]
