"""How a program ends on an error of its user's: with one line, and without a traceback."""

import errno
import logging
import re
import socket
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import torch.distributed as dist

from datasets.decode.pyav_frames import MissingDecoderError, UnreadableVideoError
from engine.bad_videos import TooManyBadVideosError
from engine.departure import FaultExit
from engine.whole_file import UnwritableError

_log = logging.getLogger("main")
_OF_A_DISK = (  # errors of a write, which do not name the file
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS),
    *(errno.EIO, errno.ESTALE, errno.EMFILE, errno.ENFILE),
)
_OURS = Path(__file__).resolve().parents[1]
_LOADER = re.compile(
    r"DataLoader (timed out after [\d.]+ seconds|worker .* exited unexpectedly"
    r"|worker .* is killed by signal)"
)


@contextmanager
def user_errors_shown(
    is_common_shown: bool, way_out: Callable[[], str] | None = None
) -> Iterator[None]:
    """End the program on a user's error with its text alone; other errors keep their traceback.

    Args:
        is_common_shown: Whether errors that every process meets are shown, too.
        way_out: Function that says, after a file could not be written, what is saved and how to go
            on.
    """
    try:
        yield
    except MissingDecoderError as error:
        text = _last_line(error).removeprefix("MissingDecoderError: ")
        raise _told(text, is_common_shown) from error
    except (UnreadableVideoError, TooManyBadVideosError, FloatingPointError) as error:
        raise _told(_last_line(error)) from error
    except OSError as error:
        if not _is_of_the_system(error):
            raise
        clauses = [_reason(error)]
        if way_out and isinstance(error, UnwritableError):
            clauses.append(way_out())
        raise _told("; ".join(clauses)) from error
    except RuntimeError as error:
        match = _LOADER.search(str(error))
        if not match:
            raise
        raise _told(_loader_fault(match[0])) from error
    except ValueError as error:
        raised_in = Path(traceback.extract_tb(error.__traceback__)[-1].filename)
        if _OURS not in raised_in.parents or "site-packages" in raised_in.parts:
            raise
        raise _told(str(error), is_common_shown) from error


def _told(text: str, is_shown: bool = True) -> FaultExit:
    """Show an error, or hand it on untold: the process that is to show it may not get so far."""
    if is_shown:
        with suppress(UnwritableError):  # the disk of train.log is full; the console has the line
            _log.error("error: %s", text)
    return FaultExit(untold="" if is_shown else text)


def _loader_fault(text: str) -> str:
    rank = dist.get_rank() if dist.is_initialized() else 0
    return (
        f"process {rank} on {socket.gethostname()}: {text}: a loader process is stopped, was "
        "killed (for want of memory, perhaps: lower DATA.WORKERS), or waits for its disk"
    )


def _is_of_the_system(error: OSError) -> bool:
    """Tell an error of a file or a disk, which the user can mend, from one of a connection."""
    if isinstance(error, ConnectionError | TimeoutError):
        return False
    return isinstance(error, UnwritableError) or bool(error.filename) or error.errno in _OF_A_DISK


def _reason(error: OSError) -> str:
    if isinstance(error, UnwritableError) or not error.filename:
        return str(error)
    return f"{str(error.filename)!r}: {error.strerror}"


def _last_line(error: Exception) -> str:
    last_line = str(error).splitlines()[-1]  # before it, a loader process's traceback
    return last_line.removeprefix(f"{UnreadableVideoError.__module__}.")
