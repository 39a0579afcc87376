"""A JSON file from elsewhere as a mapping of plain values: bounded, of no other form."""

import json
from pathlib import Path
from typing import Any

from config.text_files import read_text

MAX_BYTES = 1 << 24  # 16 MiB: the index of a network of a hundred thousand tensors
MAX_DIGITS = 30


def read_json(path: str | Path, what: str) -> dict[str, Any]:
    """Return the object in a JSON file.

    Args:
        path: Path of the file.
        what: Name of its kind, for the messages.

    Raises:
        ValueError: There is no such file, it is too large, no JSON, or no object.
    """
    name = f"{what} {str(path)!r}"
    content = parse_json(read_text(path, what, max_bytes=MAX_BYTES), name)
    if not isinstance(content, dict):
        raise ValueError(f"{name} holds a {type(content).__name__}, not an object")
    return content


def parse_json(text: str, name: str) -> Any:
    """Return the value of a JSON text.

    Args:
        text: Text to parse.
        name: Name of the text, for the messages.

    Raises:
        ValueError: It is no JSON, or nested without end.
    """
    try:
        return json.loads(text, parse_int=_number)
    except RecursionError as error:
        raise ValueError(f"{name} is nested too deeply") from error
    except ValueError as error:
        raise ValueError(f"{name} is not JSON: {error}") from error


def _number(digits: str) -> int:
    if len(digits) > MAX_DIGITS:  # Python before 3.11 takes the square of their number in time
        raise ValueError(f"a number of {len(digits)} digits")
    return int(digits)
