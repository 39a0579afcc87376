"""Which process wrote a file, and whether it still runs: host, process id and start."""

import os
import platform
import re
import socket
from pathlib import Path
from typing import NamedTuple


class ProcessName(NamedTuple):
    """A process, also after its id has gone to another one.

    Attributes:
        host: Name of the host, in letters that a file name may hold. A container may share it with
            others, so the name space of its process ids stands behind it.
        pid: Process id there.
        start: Start in the kernel's clock ticks since boot; 0 where the kernel does not tell.
    """

    host: str
    pid: int
    start: int

    @classmethod
    def own(cls) -> "ProcessName":
        """Return the name of this process."""
        return cls(_own_host(), os.getpid(), _start_of(os.getpid()))

    def is_gone(self) -> bool | None:
        """Whether the process has ended; None if it ran on another host, which nobody can ask."""
        if self.host != _own_host():
            return None
        if not _runs(self.pid):
            return True
        return bool(self.start) and _start_of(self.pid) != self.start


def _own_host() -> str:
    try:
        space = re.sub(r"\D", "", str(Path("/proc/self/ns/pid").readlink()))
    except OSError:  # no Linux
        space = ""
    name = re.sub(r"[^A-Za-z0-9-]", "-", socket.gethostname())[:48]
    return f"{name}+{space}" if space else name


def _start_of(pid: int) -> int:
    try:
        status = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:  # no Linux, or no such process
        return 0
    return int(status.rpartition(")")[2].split()[19])  # field 22; the name in brackets is free


def _runs(pid: int) -> bool:
    if platform.system() == "Windows":  # os.kill would end it there
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's
        return True
    return True
