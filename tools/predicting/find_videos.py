"""Which videos a command line means: files, folders of frames, folders of them, lists, globs."""

import glob
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from config.regular_file import check_regular
from config.text_files import read_text
from datasets.annotations import VideoRecord
from datasets.readers import IMAGE_SUFFIXES
from tools.extracting.video_jobs import VIDEO_EXTENSIONS

LIST_EXTENSIONS = (".txt", ".lst", ".list", ".csv")
NO_LABEL = -1


class FoundVideo(NamedTuple):
    """A video, and what to call it.

    Attributes:
        name: As printed: of one file its name, of a folder's the path below the folder, else as
            it was given.
        record: For the readers; a label that is not known is `NO_LABEL`. A relative path starts
            from DATA.ROOT, as in a list.
    """

    name: str
    record: VideoRecord


def find_videos(words: Sequence[str]) -> list[FoundVideo]:
    """Return the videos that words mean, in order.

    A word is a video file; a folder of frames; a folder with any of these in it, at any depth; a
    list file of lines ``path``, ``path label`` or ``path num_frames label``; or a glob of files and
    folders.

    Raises:
        ValueError: A word means none, or a list cannot be read.
    """
    return [video for word in words for video in _of_word(word)]


def is_frame_folder(folder: Path) -> bool:
    """Tell whether a folder holds numbered images, and no video file."""
    names = [entry.name for entry in folder.iterdir() if not entry.name.startswith(".")]
    suffixes = {Path(name).suffix.lower() for name in names}
    if suffixes & VIDEO_EXTENSIONS:
        return False
    return any(
        re.search(r"\d\.\w+$", n) and Path(n).suffix.lower() in IMAGE_SUFFIXES for n in names
    )


def _of_word(word: str) -> list[FoundVideo]:
    path = Path(word)
    if path.exists() and not path.is_dir():
        try:
            check_regular(path)
        except OSError as error:
            raise ValueError(f"--input {word}: {error.strerror}") from error
        is_list = path.suffix.lower() in LIST_EXTENSIONS
        return _of_list(path) if is_list else [_found(path.name, path)]
    if path.is_dir():
        found = list(_of_folder(path))
    elif glob.has_magic(word):
        matches = map(Path, sorted(glob.glob(word, recursive=True)))  # noqa: PTH207 - absolute too
        found = [_found(str(m), m) for m in matches if not m.is_dir() or is_frame_folder(m)]
    else:
        raise ValueError(f"--input {word}: no such file, folder or glob")
    if not found:
        raise ValueError(f"--input {word}: no video and no folder of numbered images there")
    return found


def _of_folder(folder: Path) -> Iterator[FoundVideo]:
    if is_frame_folder(folder):
        yield _found(folder.resolve().name, folder)
        return
    for place, folders, files in os.walk(folder):
        here = Path(place)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        videos = [Path(name) for name in files if Path(name).suffix.lower() in VIDEO_EXTENSIONS]
        frame_folders = [name for name in folders if is_frame_folder(here / name)]
        folders[:] = [name for name in folders if name not in frame_folders]
        for path in sorted(here / name for name in [*map(str, videos), *frame_folders]):
            if not path.name.startswith("."):
                yield _found(str(path.relative_to(folder)), path)


def _of_list(path: Path) -> list[FoundVideo]:
    lines = read_text(path, "the list file").split("\n")
    found = [
        _of_line(line.strip(), number)
        for number, line in enumerate(lines, start=1)
        if line.strip() and not line.lstrip().startswith("#")
    ]
    if not found:
        raise ValueError(f"{path}: the list names no video")
    return found


def _of_line(line: str, number: int) -> FoundVideo:
    match = re.fullmatch(r"(.*?\S)(?:\s+(\d+))?\s+(\d+)", line)
    path, frames, label = match.groups() if match else (line, None, NO_LABEL)
    return FoundVideo(path, VideoRecord(path, int(frames or 0), int(label), number))


def _found(name: str, path: Path) -> FoundVideo:
    return FoundVideo(name, VideoRecord(str(path.absolute()), 0, NO_LABEL, 1))
