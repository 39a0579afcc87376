"""How a program ends on an error of its user's: with one line, and without a traceback."""

import logging
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from datasets.decode.pyav_frames import MissingDecoderError, UnreadableVideoError
from engine.bad_videos import TooManyBadVideosError

_log = logging.getLogger("main")
_OURS = Path(__file__).resolve().parents[1]


@contextmanager
def user_errors_shown(is_common_shown: bool) -> Iterator[None]:
    """End the program on a user's error with its text alone; other errors keep their traceback.

    Args:
        is_common_shown: Show the errors that every process meets, too.
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
    except ValueError as error:
        raised_in = Path(traceback.extract_tb(error.__traceback__)[-1].filename)
        if _OURS not in raised_in.parents or "site-packages" in raised_in.parts:
            raise
        if is_common_shown:
            _log.error("error: %s", error)
        sys.exit(1)


def _last_line(error: Exception) -> str:
    last_line = str(error).splitlines()[-1]  # before it, a loader process's traceback
    return last_line.removeprefix(f"{UnreadableVideoError.__module__}.")
