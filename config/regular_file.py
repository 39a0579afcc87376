"""Regular files alone: a pipe, a device or a socket in their place is an error, never a wait."""

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

_KINDS = (
    (stat.S_ISFIFO, "it is a FIFO, not a file"),
    (stat.S_ISSOCK, "it is a socket, not a file"),
    (stat.S_ISCHR, "it is a device, not a file"),
    (stat.S_ISBLK, "it is a device, not a file"),
)


class NotAFileError(OSError):
    """Something else than a file stands in its place; the text says what."""

    def __str__(self) -> str:
        """Say it without the number of an error that the system did not report."""
        return str(self.strerror)


def open_regular(path: str | Path) -> BinaryIO:
    """Open a file for reading, in bytes.

    Raises:
        OSError: There is no such file, it cannot be opened, or it is something else than a file;
            ``strerror`` says what.
    """
    check_regular(path)  # before the opening, which may do things to a device
    # by the time of the opening a pipe may stand there: it would wait for a writer
    number = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        _check_mode(os.fstat(number).st_mode, path)
        return os.fdopen(number, "rb")
    except OSError:
        os.close(number)
        raise


def check_regular(path: str | Path) -> None:
    """Raise OSError, as `open_regular`, where a path is no file that can be read to its end."""
    _check_mode(os.stat(path).st_mode, path)  # noqa: PTH116 - in one word for either type


def _check_mode(mode: int, path: str | Path) -> None:
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    for is_kind, text in _KINDS:
        if is_kind(mode):
            raise NotAFileError(errno.EINVAL, text, str(path))
