"""Where the frames of a video go: files in a folder, or members of a pack."""

import shutil
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from engine.whole_file import sync_file

Write = Callable[[str, bytes], None]  # an image under its name
_FILE_MODE = 0o644 << 16  # where a zip archive has it


@contextmanager
def open_folder(path: Path) -> Iterator[Write]:
    """Give what writes files into a folder."""
    yield lambda name, data: _write(path / name, data)


@contextmanager
def open_pack(path: Path) -> Iterator[Write]:
    """Begin a pack and give what writes members into it; an error leaves it whole up to there.

    It lies on the disk in the end. Members are stored as they are, and all of one date, so that
    equal frames are equal packs.
    """
    with path.open("wb") as file:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
            yield lambda name, data: _add(archive, name, data)
        file.flush()
        sync_file(file.fileno())


def remove_frames(path: Path) -> None:
    """Remove a folder of frames or a pack, where there is one."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _write(path: Path, data: bytes) -> None:
    path.write_bytes(data)


def _add(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    member = zipfile.ZipInfo(name)  # of 1980
    member.external_attr = _FILE_MODE
    archive.writestr(member, data)
