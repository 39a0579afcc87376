"""How a program ends on an error of its user's: with one line, and without a traceback."""

import errno
import logging
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from datasets.decode.pyav_frames import MissingDecoderError, UnreadableVideoError
from engine.bad_videos import TooManyBadVideosError
from engine.whole_file import UnwritableError

_log = logging.getLogger("main")
_OF_A_DISK = (  # errors of a write, which do not name the file
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS),
    *(errno.EIO, errno.ESTALE, errno.EMFILE, errno.ENFILE),
)
_OURS = Path(__file__).resolve().parents[1]


@contextmanager
def user_errors_shown(
    is_common_shown: bool, way_out: Callable[[], str] | None = None
) -> Iterator[None]:
    """End the program on a user's error with its text alone; other errors keep their traceback.

    Args:
        is_common_shown: Show the errors that every process meets, too.
        way_out: Says, after a file could not be written, what is saved and how to go on.
    """
    try:
        yield
    except MissingDecoderError as error:
        if is_common_shown:
            _log.error("error: %s", _last_line(error).removeprefix("MissingDecoderError: "))
        sys.exit(1)
    except (UnreadableVideoError, TooManyBadVideosError, FloatingPointError) as error:
        _log.error("error: %s", _last_line(error))
        sys.exit(1)
    except OSError as error:
        if not _is_of_the_system(error):
            raise
        clauses = [_reason(error)]
        if way_out and isinstance(error, UnwritableError):
            clauses.append(way_out())
        with suppress(UnwritableError):  # the disk of train.log is full; the console has the line
            _log.error("error: %s", "; ".join(clauses))
        sys.exit(1)
    except ValueError as error:
        raised_in = Path(traceback.extract_tb(error.__traceback__)[-1].filename)
        if _OURS not in raised_in.parents or "site-packages" in raised_in.parts:
            raise
        if is_common_shown:
            _log.error("error: %s", error)
        sys.exit(1)


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
