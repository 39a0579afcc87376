"""Files that are there whole or not at all, whenever the writer dies."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


@contextmanager
def whole_file(path: Path, writer: str = "") -> Iterator[IO[bytes]]:
    """Open a file to write, which gets its name once all of it lies on the disk.

    An error leaves what had the name before, and nothing else.

    Args:
        path: Final name.
        writer: Tells processes apart that may write the same file at the same time.
    """
    part = path.with_name(f".{path.name}{writer}.part")
    with part.open("wb") as file:
        try:
            yield file
            file.flush()
            os.fsync(file.fileno())
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)


def link_or_copy(source: Path, target: Path) -> None:
    """Give a file a second name, in place of whatever had it; a copy where links cannot be."""
    part = target.with_name(f".{target.name}.part")
    part.unlink(missing_ok=True)
    try:
        os.link(source, part)
    except OSError:
        shutil.copyfile(source, part)
    part.replace(target)
    part.unlink(missing_ok=True)  # rename does nothing where both are one file already
