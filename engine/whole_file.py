"""Files that are there whole or not at all, whenever the writer or the machine dies."""

import errno
import io
import itertools
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from engine.process_name import ProcessName

_NO_LINKS = (errno.EPERM, errno.EXDEV, errno.EMLINK, errno.ENOTSUP, errno.ENOSYS, errno.EACCES)
_NO_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.EBADF, errno.EACCES)  # of a folder, on some systems
_PART = re.compile(r"\..+\.(?P<host>[A-Za-z0-9+-]+)\.(?P<pid>\d+)\.(?P<start>\d+)\.\d+\.part")
_NAME_BYTES = 100  # of the final name in the temporary one: a name has 255 at most
_numbers = itertools.count()
_WAYS_OUT = {
    errno.ENOSPC: "make room there",
    errno.EDQUOT: "the quota is used up; make room there",
    errno.EFBIG: "the file may not be that large; see ulimit -f",
    errno.EROFS: "it lies on a read-only file system",
    errno.EACCES: "this user may not write there",
    errno.EPERM: "this user may not write there",
    errno.ENOENT: "its folder is gone",
    errno.ENOTDIR: "a file has the name of its folder",
    errno.EISDIR: "a folder has its name",
    errno.ENOTEMPTY: "a folder has its name",
}


class UnwritableError(OSError):
    """A file cannot be written; the text says which, why, and that the one before is intact."""


def unwritable(path: Path, error: OSError) -> UnwritableError:
    """Return the error that says what could not be written, and what is still there.

    Args:
        path: Path of the file that was to be written.
        error: Error that came instead.
    """
    clauses = [f"cannot write {str(path)!r}: {error.strerror or error}"]
    if error.errno in _WAYS_OUT:
        clauses.append(_WAYS_OUT[error.errno])
    if path.is_file():
        clauses.append("what had that name before is intact")
    told = UnwritableError("; ".join(clauses))
    told.errno = error.errno
    return told


@contextmanager
def errors_told(path: Path) -> Iterator[None]:
    """Have an error of the system say that this could not be written; see `unwritable`."""
    try:
        yield
    except UnwritableError:
        raise
    except OSError as error:
        raise unwritable(path, error) from error


@contextmanager
def whole_file(
    path: Path, before_it_is_named: Callable[[], None] | None = None
) -> Iterator[IO[bytes]]:
    """Open a file to write, which gets its name once all of it lies on the disk.

    An error leaves what had the name before, and nothing else. Writers of one name do not meet:
    each has a temporary name of its own.

    Args:
        path: Final name.
        before_it_is_named: Function that is called when all bytes lie on the disk.

    Raises:
        UnwritableError: The disk is full, the folder is gone, or the system gives another reason.
    """
    part = _part_of(path)
    with errors_told(path):
        disk = _Disk(part, "xb")
    file = io.BufferedWriter(disk)
    try:
        yield file
        with errors_told(path):
            file.flush()
            sync_file(disk.fileno())
            file.close()  # Windows renames no open file
        if before_it_is_named:
            before_it_is_named()
        with errors_told(path):
            part.replace(path)
            sync_folder(path.parent)
    except Exception as error:
        if disk.fault is None or isinstance(error, UnwritableError):
            raise
        # torch's writer turns an error of the disk into one of its own
        raise unwritable(path, disk.fault) from error
    finally:
        with suppress(OSError):  # what could not be written is told already
            file.close()
        with suppress(OSError):
            part.unlink(missing_ok=True)


def link_or_copy(source: Path, target: Path) -> None:
    """Give a whole file a second name, in place of what has it; no second copy on the disk.

    Where the file system has no hard links, it is copied.

    Args:
        source: Path of the file, on the same file system where a link is to be made.
        target: Path of the other name.

    Raises:
        UnwritableError: Neither a link nor a copy can be made.
    """
    part = _part_of(target)
    try:
        os.link(source, part)
        part.replace(target)
        sync_folder(target.parent)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise unwritable(target, error) from error
        with whole_file(target) as copy, source.open("rb") as file:
            while chunk := file.read(1 << 20):
                copy.write(chunk)
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)  # it stays where both names are one file's already


def sync_file(handle: int) -> None:
    """Bring an open file onto the disk."""
    if sys.platform == "darwin":
        import fcntl

        fcntl.fcntl(handle, fcntl.F_FULLFSYNC)  # fsync stops at the drive's memory there
    else:
        os.fsync(handle)


def sync_folder(folder: Path) -> None:
    """Bring the names in a folder onto the disk, where the system can."""
    if os.name == "nt":
        return
    try:
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as error:
        if error.errno not in _NO_SYNC:
            raise


def remove_stale_parts(folder: Path) -> int:
    """Remove what writers that are gone left of their files in a folder; for its one owner.

    Returns:
        Number of bytes that are free again.
    """
    num_bytes = 0
    for path in folder.glob(".*.part"):
        match = _PART.fullmatch(path.name)
        if not match:
            continue
        writer = ProcessName(match["host"], int(match["pid"]), int(match["start"]))
        if writer.is_gone() is not False:  # another host's too: the owner knows that none runs
            num_bytes += path.stat().st_size
            path.unlink()
    return num_bytes


class _Disk(io.FileIO):
    """A file that remembers what kept it from being written."""

    fault: OSError | None = None

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except OSError as error:
            self.fault = self.fault or error
            raise


def _part_of(path: Path) -> Path:
    host, pid, start = ProcessName.own()
    name = path.name.encode(errors="replace")[:_NAME_BYTES].decode(errors="ignore")
    return path.with_name(f".{name}.{host}.{pid}.{start}.{next(_numbers)}.part")
