"""In a process that trains: what was learned from is noted, and a fault strikes where it is aimed.

Nothing of this is in the product: functions are replaced in the forked process alone.
"""

import ctypes
import importlib
import json
import multiprocessing
import os
import resource
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tests.ranks import _run_script

# Functions that a fault may be aimed at, by what the user would call the moment.
PLACES = {
    "set-up": ("torch", "manual_seed"),
    "fsync": ("os", "fsync"),
    "rename": ("os", "replace"),
    "link": ("os", "link"),
    "removal": ("os", "unlink"),
    "save": ("torch", "save"),
    "iteration": ("engine.progress", "Progress.add"),
    "step": ("engine.learner", "Learner.step"),
    "validation": ("datasets.view_chunks", "classify_views"),
    "averaging": ("engine.averaging", "update_average"),
}
BYTES = "bytes"  # of a file, by the limit on the size of files: the kernel ends the process there
CLONE_NEWNET = 0x40000000
DISK_FULL = "disk full"  # the same limit, but the write fails


class Aim(NamedTuple):
    """When a process is struck, and with what.

    Attributes:
        place: A key of PLACES, BYTES or DISK_FULL.
        count: At which of the calls; of BYTES and DISK_FULL, the size that no file may exceed.
        signal: What the process sends itself; SIGSTOP makes it hang, 0 does nothing to it.
        is_after: After the call, not before it.
    """

    place: str
    count: int
    signal: int = signal.SIGKILL
    is_after: bool = False


class Rank(NamedTuple):
    """What one process is started with.

    Attributes:
        argv: The script and its arguments.
        environment: All of it.
        folder: It works there.
        console: File that both its streams are appended to.
        notes: Folder that the clips learned from, and a hit, are noted in.
        aim: Where it is struck, if it is.
        host: Network namespace that it runs in; empty: this one.
    """

    argv: Sequence[str]
    environment: dict[str, str]
    folder: str
    console: str
    notes: str
    aim: Aim | None
    host: str = ""


def run_rank(rank: Rank) -> None:
    """Run the script in this process, struck as it is aimed."""
    multiprocessing.set_start_method("fork", force=True)  # as a script has it, for its loaders
    os.setsid()  # its loader processes are found, and ended, by its group
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if rank.host:
        with Path("/var/run/netns", rank.host).open() as file:
            assert ctypes.CDLL(None).setns(file.fileno(), CLONE_NEWNET) == 0
    number = rank.environment.get("RANK", "0")
    _note_clips(Path(rank.notes, f"clips_{number}_{os.getpid()}.jsonl"))
    if rank.aim:
        _take_aim(rank.aim, Path(rank.notes, "hit"))
    _run_script(rank.argv, rank.environment, rank.folder, rank.console)


def _note_clips(path: Path) -> None:
    """Append a line to a file for each batch that gradients were taken of."""
    note = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def noted(progress: Any, loss: Any, hits: Any, num_clips: int, videos: list[str]) -> None:
        os.write(note, json.dumps([progress.epoch, *videos]).encode() + b"\n")

    _wrap(*PLACES["iteration"], before=noted)


def _take_aim(aim: Aim, hit: Path) -> None:
    if aim.place in (BYTES, DISK_FULL):
        ends = aim.place == BYTES
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL if ends else signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (aim.count, resource.RLIM_INFINITY))
        return
    calls = 0

    def strike(*args: Any, **kwargs: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == aim.count:
            hit.write_text(str(time.time()))
            os.kill(os.getpid(), aim.signal)

    name = "after" if aim.is_after else "before"
    _wrap(*PLACES[aim.place], **{name: strike})


def _wrap(
    module: str,
    name: str,
    before: Callable[..., None] | None = None,
    after: Callable[..., None] | None = None,
) -> None:
    """Replace a function, or a method, by itself between two others."""
    owner: Any = importlib.import_module(module)
    *classes, function = name.split(".")
    for part in classes:
        owner = getattr(owner, part)
    wrapped = getattr(owner, function)

    def wrapper(*args: Any, **kwargs: Any) -> Any:
        if before:
            before(*args, **kwargs)
        result = wrapped(*args, **kwargs)
        if after:
            after(*args, **kwargs)
        return result

    setattr(owner, function, wrapper)
