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


def read_text(path: str | Path, errors: str = "strict", max_bytes: int | None = None) -> str:
    """Read a UTF-8 text, with or without a byte order mark.

    Args:
        path: The file.
        errors: What to do about other bytes, as ``bytes.decode``.
        max_bytes: A larger file is an error; None: any size.

    Raises:
        OSError: As `open_regular`, or the file is too large.
        UnicodeDecodeError: It is no UTF-8.
    """
    with open_regular(path) as file:
        data = file.read() if max_bytes is None else file.read(max_bytes + 1)
    if max_bytes is not None and len(data) > max_bytes:
        raise OSError(errno.EFBIG, f"it is larger than {max_bytes} bytes", str(path))
    text = data.decode("utf-8-sig", errors)
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _check_mode(mode: int, path: str | Path) -> None:
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    for is_kind, text in _KINDS:
        if is_kind(mode):
            raise OSError(errno.EINVAL, text, str(path))
