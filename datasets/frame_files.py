"""The files that hold a video's images: those of a folder, or the members of a pack."""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Protocol

from config.regular_file import open_regular
from datasets.decode.pyav_frames import UnreadableVideoError
from datasets.frame_pack import FramePack
from datasets.frame_series import numbered_image
from datasets.video_suffixes import is_pack_name


class FrameFiles(Protocol):
    """Files by name.

    Attributes:
        kind: Kind of container that they lie in, for errors.
    """

    kind: str

    def names(self) -> Iterable[str]:
        """Return the names of all files; some may be no images."""

    def holds(self, name: str) -> bool:
        """Tell whether there is a file of a name."""

    def open(self, name: str) -> BinaryIO:
        """Open a file; FileNotFoundError where there is none of that name."""


class FolderFiles:
    """The files of a folder; see `FrameFiles`."""

    kind = "folder"

    def __init__(self, path: Path) -> None:
        self.path = path

    def names(self) -> list[str]:
        """Return the names of all files.

        Raises:
            UnreadableVideoError: The folder cannot be listed.
        """
        try:
            return os.listdir(self.path)  # noqa: PTH208 - a Path for each would take longer
        except OSError as error:
            raise UnreadableVideoError(f"{self.path}: {error.strerror}") from error

    def holds(self, name: str) -> bool:
        """Tell whether there is a file of a name."""
        return (self.path / name).exists()

    def open(self, name: str) -> BinaryIO:
        """Open a file."""
        return open_regular(self.path / name)


@contextmanager
def open_frame_files(path: Path) -> Iterator[FrameFiles]:
    """Open what lies at a path: a pack, or else a folder; where nothing is, reading says so.

    Raises:
        UnreadableVideoError: It is a pack that cannot be read.
    """
    if not is_pack_name(path) or path.is_dir() or not path.exists():
        yield FolderFiles(path)
        return
    try:
        file = open_regular(path)
    except OSError as error:
        raise UnreadableVideoError(f"{path}: {error.strerror}") from error
    with file:
        yield FramePack(path, file)


def may_hold_frames(path: Path) -> bool:
    """Tell whether a zip archive holds numbered images; True, too, for one that cannot be read."""
    try:
        with open_frame_files(path) as files:
            return any(map(numbered_image, files.names()))
    except UnreadableVideoError:
        return True
