"""The figures of a tool as a JSON file, for machines."""

import json
from pathlib import Path
from typing import Any

from engine.whole_file import errors_told, whole_file


def write_json(path: Path, content: Any) -> None:
    """Write plain values as JSON; an error leaves a file that was there as it was.

    Args:
        path: Path of the file. A pipe or a device is written into, a link is followed.
        content: Mapping or list of plain values.

    Raises:
        UnwritableError: It cannot be written.
    """
    data = (json.dumps(content, indent=2) + "\n").encode()
    if path.exists() and not path.is_file():  # whole_file would put a file in the place of a device
        with errors_told(path), path.open("wb") as file:
            file.write(data)
        return
    with whole_file(path.resolve()) as file:
        file.write(data)
