"""One writer for a folder: a lock that the system drops when its process ends, however it ends."""

import errno
import json
import os
import threading
import time
from contextlib import suppress
from pathlib import Path

from engine.process_name import ProcessName
from engine.whole_file import sync_file

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

FILE_NAME = ".lock"
BEAT_SECONDS = 5.0
WATCH_SECONDS = 15.0  # for the beat of a holder on another host
_PATIENCE_SECONDS = 1.0  # a process that was just killed may still be ending
_UNSUPPORTED = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL)


class FolderLock:
    """The lock of a folder, a file in it that names host and process of its holder.

    It is a POSIX record lock: unlike one of flock, the loaders' processes do not inherit it, so it
    ends with its process and not with theirs. Where the file system does not share locks between
    hosts, the holder's beat counts, the time that it keeps writing onto the file.

    Args:
        folder: Folder to lock.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE_NAME
        self._handle = -1
        self._ended = threading.Event()

    @property
    def is_held(self) -> bool:
        """Whether this object holds the lock."""
        return self._handle >= 0

    def take(self) -> None:
        """Take the lock until `release` or the end of the process.

        Raises:
            ValueError: Another process holds it; says which.
            OSError: The file cannot be written.
        """
        patient_until = time.monotonic() + _PATIENCE_SECONDS
        while True:
            handle = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
            try:
                holder = self._holder_that_hinders(handle)
                # a holder that ends removes the file, and then this lock is of no use
                if not holder and _is_same_file(handle, self.path):
                    self._write(handle)
                    break
            except OSError:
                os.close(handle)
                raise
            os.close(handle)
            if holder and time.monotonic() > patient_until:
                raise ValueError(
                    f"{str(self.path.parent)!r} is the folder of a run that goes on, {holder}; "
                    "choose another with --output, or end that run first"
                )
            time.sleep(0.05)
        self._handle, self._ended = handle, threading.Event()
        threading.Thread(target=self._beat, daemon=True).start()

    def release(self) -> None:
        """Give the lock back and remove its file; nothing to do where it is not held."""
        if not self.is_held:
            return
        self._ended.set()
        with suppress(OSError):  # the folder may be gone
            if _is_same_file(self._handle, self.path):
                self.path.unlink()
        os.close(self._handle)
        self._handle = -1

    def _holder_that_hinders(self, handle: int) -> str:
        """Lock the file and return ""; or return, as a clause, who holds it."""
        told = _read(handle)
        if told and told[0] == ProcessName.own():
            return ""
        is_in_force = fcntl is not None
        try:
            if fcntl is not None:
                fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EAGAIN):
                return told[1] if told else "of another process"
            if error.errno not in _UNSUPPORTED:
                raise
            is_in_force = False
        told = _read(handle)
        if told is None:
            return ""
        is_gone = told[0].is_gone()
        if is_gone is None:
            return told[1] if self._beats() else ""
        return "" if is_gone or is_in_force else told[1]

    def _beats(self) -> bool:
        """Watch whether a holder on another host still writes the time onto the file."""
        first, end = self._seen_at(), time.monotonic() + WATCH_SECONDS
        while time.monotonic() < end:
            time.sleep(BEAT_SECONDS / 10)
            if self._seen_at() != first:
                return True
        return False

    def _seen_at(self) -> int:
        try:
            return self.path.stat().st_mtime_ns
        except FileNotFoundError:
            return 0

    def _write(self, handle: int) -> None:
        own = ProcessName.own()
        since = time.strftime("%Y-%m-%d %H:%M:%S")
        text = json.dumps({**own._asdict(), "since": since}) + "\n"
        try:
            os.ftruncate(handle, 0)
            os.lseek(handle, 0, os.SEEK_SET)
            os.write(handle, text.encode())
            sync_file(handle)
        except OSError:
            with suppress(OSError):
                self.path.unlink()
            raise

    def _beat(self) -> None:
        handle, ended = self._handle, self._ended
        while not ended.wait(BEAT_SECONDS):
            with suppress(OSError):  # a full or lost disk is told by those who write there
                os.utime(handle)


def _read(handle: int) -> tuple[ProcessName, str] | None:
    """Return who holds a lock, and the same as a clause; None where the file does not say."""
    os.lseek(handle, 0, os.SEEK_SET)
    try:
        entry = json.loads(os.read(handle, 4096))
        name = ProcessName(str(entry["host"]), int(entry["pid"]), int(entry["start"]))
        host = name.host.partition("+")[0]
        return name, f"process {name.pid} on host {host} since {entry['since']}"
    except (ValueError, KeyError, TypeError):  # just made, or cut short by a full disk
        return None


def _is_same_file(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False
