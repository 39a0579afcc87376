"""A text file read whole: a regular one, of bounded size, in UTF-8."""

import os
from pathlib import Path

from config.regular_file import open_regular

MAX_BYTES = 1 << 28  # 256 MiB: a list of some three million videos


def read_text(path: str | Path, what: str, max_bytes: int = MAX_BYTES) -> str:
    r"""Return the text of a UTF-8 file without its byte order mark; lines end in ``\n``.

    Args:
        path: The file.
        what: What it is to the user, for the messages.
        max_bytes: Size that is not read on beyond.

    Raises:
        ValueError: There is no such file, or it is no regular one, too large or not UTF-8.
    """
    try:
        os.fsencode(path)
        if "\0" in str(path):
            raise ValueError(f"cannot read {what} {str(path)!r}: a NUL byte, which no path holds")
        with open_regular(path) as file:
            content = file.read(max_bytes + 1)
        if len(content) > max_bytes:
            raise ValueError(f"cannot read {what} {str(path)!r}: over {max_bytes} bytes, no such")
        text = content.decode("utf-8-sig")
    except OSError as error:
        raise ValueError(f"cannot read {what} {str(path)!r}: {error.strerror}") from error
    except UnicodeEncodeError as error:
        raise ValueError(f"cannot read {what} {str(path)!r}: no path has these letters") from error
    except UnicodeDecodeError as error:
        raise ValueError(
            f"cannot read {what} {str(path)!r}: byte {error.start} is not UTF-8 text "
            f"({error.reason})"
        ) from error
    return text.replace("\r\n", "\n").replace("\r", "\n")
