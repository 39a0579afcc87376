"""A text file read whole: a regular one, of bounded size, in UTF-8."""

import os
from pathlib import Path

from config.regular_file import open_regular

MAX_BYTES = 1 << 28  # 256 MiB: a list of some three million videos
_NO_TEXT = {  # by their first bytes
    b"\xff\xfe": "UTF-16 text; save it as UTF-8",
    b"\xfe\xff": "UTF-16 text; save it as UTF-8",
    b"\xff\xd8\xff": "a JPEG image",
    b"\x89PNG": "a PNG image",
    b"PK\x03\x04": "a ZIP archive, or a table of a spreadsheet",
    b"\x1f\x8b": "a gzip archive",
}


def read_text(
    path: str | Path, what: str, max_bytes: int = MAX_BYTES, of_any_encoding: bool = False
) -> str:
    r"""Return the text of a UTF-8 file without its byte order mark; lines end in ``\n``.

    Args:
        path: Path of the file.
        what: Name of its kind, for the messages.
        max_bytes: Largest size; nothing is read beyond it.
        of_any_encoding: Whether bytes that are not UTF-8 are admitted; they come back as the
            system's names of files have them, half letters each (``surrogateescape``).

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
        for start, kind in _NO_TEXT.items():
            if content.startswith(start):
                raise ValueError(f"cannot read {what} {str(path)!r}: it is {kind}")
        errors = "surrogateescape" if of_any_encoding else "strict"
        text = content.decode("utf-8-sig", errors)
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
