"""Which videos a command line means: files, frames, folders of them, lists, globs."""

import glob
import os
import re
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from config.regular_file import check_regular
from config.text_files import read_text
from datasets.annotations import NUM_FAULTS_SHOWN, VideoRecord
from datasets.frame_files import may_hold_frames
from datasets.frame_series import numbered_image, other_files
from datasets.list_lines import (
    Disk,
    as_integer,
    as_labels,
    is_comment,
    readings,
    split_line,
    syntax_fault,
)
from datasets.readers import UnreadableVideoError, open_reader
from datasets.video_suffixes import is_left_behind, is_pack_name, is_video_name

LIST_EXTENSIONS = (".txt", ".lst", ".list", ".csv")
NO_LABEL = -1


class FoundVideo(NamedTuple):
    """A video, and what to call it.

    Attributes:
        name: Name as printed: of one file its name, of a folder's the path below the folder, else
            as it was given.
        record: Record for the readers; a label that is not known is `NO_LABEL`. A relative path
            starts from DATA.ROOT, as in a list.
    """

    name: str
    record: VideoRecord


def find_videos(words: Sequence[str], root: str | None = None) -> list[FoundVideo]:
    """Return the videos that words mean, in order.

    A word is a video file; a folder or a pack of frames; a folder with any of these in it, at any
    depth; a list file of lines ``path``, ``path label`` or ``path num_frames label``, or of several
    labels, ``path 3,7``; or a glob of files and folders.

    Args:
        words: Words of the command line.
        root: Folder that the paths of lists start from; what exists there decides about lines that
            can be read in two ways. None: not known yet.

    Raises:
        ValueError: A word means none, or a list cannot be read.
    """
    return [video for word in words for video in _of_word(word, root)]


def is_list(word: str) -> bool:
    """Tell whether a word means a list file."""
    return Path(word).is_file() and Path(word).suffix.lower() in LIST_EXTENSIONS


def is_frame_folder(folder: Path) -> bool:
    """Tell whether a folder holds numbered images, and no video file and no pack."""
    names = [entry.name for entry in folder.iterdir()]
    has_videos = any(is_video_name(name) or _is_pack(folder / name) for name in names)
    return not has_videos and any(map(numbered_image, names))


def _of_word(word: str, root: str | None) -> list[FoundVideo]:
    path = Path(word)
    if path.exists() and not path.is_dir():
        try:
            check_regular(path)
        except OSError as error:
            raise ValueError(f"--input {word}: {error.strerror}") from error
        return _of_list(path, root) if is_list(word) else [_found(path.name, path)]
    if path.is_dir():
        found = list(_of_folder(path))
    elif glob.has_magic(word):
        matches = map(Path, sorted(glob.glob(word, recursive=True)))  # noqa: PTH207 - absolute too
        found = [_found(str(m), m) for m in matches if not m.is_dir() or is_frame_folder(m)]
    else:
        raise ValueError(f"--input {word}: no such file, folder or glob")
    if not found:
        files = other_files(entry.name for entry in path.iterdir()) if path.is_dir() else ""
        raise ValueError(f"--input {word}: no video and no folder of numbered images there{files}")
    return found


def _of_folder(folder: Path) -> Iterator[FoundVideo]:
    if is_frame_folder(folder):
        yield _found(folder.resolve().name, folder)
        return
    for place, folders, files in os.walk(folder):
        here = Path(place)
        folders[:] = sorted(name for name in folders if not is_left_behind(name))
        videos = [name for name in files if is_video_name(name) or _is_pack(here / name)]
        frame_folders = [name for name in folders if is_frame_folder(here / name)]
        folders[:] = [name for name in folders if name not in frame_folders]
        for path in sorted(here / name for name in [*videos, *frame_folders]):
            yield _found(str(path.relative_to(folder)), path)


def _is_pack(path: Path) -> bool:
    return is_pack_name(path) and may_hold_frames(path)


def _of_list(path: Path, root: str | None) -> list[FoundVideo]:
    """Read a list; where a line has two readings that exist, the lines without a number decide."""
    text = read_text(path, "the list file", of_any_encoding=True)
    disk, faults = None if root is None else Disk(root, partial(_num_frames, root)), []
    lines = [
        (number, line.strip())
        for number, line in enumerate(text.split("\n"), start=1)
        if not is_comment(line, disk)
    ]
    are_bare = disk is not None and (
        all(disk.holds(line) for _, line in lines) or not all(_has_label(line) for _, line in lines)
    )
    found = []
    for number, line in lines:
        try:
            found.append(_of_line(line, number, disk, are_bare))
        except ValueError as error:
            faults.append(f"line {number}: {error}")
    if faults:
        more = f"\n  ... and {len(faults) - NUM_FAULTS_SHOWN} more"
        raise ValueError(
            f"{path}: {len(faults)} malformed lines\n  "
            + "\n  ".join(faults[:NUM_FAULTS_SHOWN])
            + (more if len(faults) > NUM_FAULTS_SHOWN else "")
        )
    if not found:
        raise ValueError(f"{path}: the list names no video")
    return found


def _has_label(line: str) -> bool:
    return bool(re.fullmatch(r".*\S\s+[0-9]+(,[0-9]+)*", line))


def _of_line(line: str, number: int, disk: Disk | None, is_bare: bool) -> FoundVideo:
    path, frames, label = line, "", str(NO_LABEL)
    is_there = disk is not None and disk.holds(line)
    has_several = _has_label(line) and "," in line.rsplit(maxsplit=1)[-1]
    is_several = has_several and any(disk is None or disk.holds(f.path) for f in readings(line))
    if disk and not is_there and not is_several:
        fault = syntax_fault(line, disk)
        if fault:
            raise ValueError(fault)
    if _has_label(line) and not (is_there and is_bare):
        path, frames, label = split_line(line, disk, takes_several=has_several)
        if disk and is_there and not disk.holds(path):
            path, frames, label = line, "", str(NO_LABEL)
    num_frames = as_integer(frames or "0", "the number of frames")
    labels = as_labels(label)
    several = labels if len(labels) > 1 else ()
    return FoundVideo(path, VideoRecord(path, num_frames, labels[0], number, several))


def _num_frames(root: str, path: str) -> int:
    try:
        return len(open_reader(Path(root) / path))
    except UnreadableVideoError:
        return 0


def _found(name: str, path: Path) -> FoundVideo:
    return FoundVideo(name, VideoRecord(str(path.absolute()), 0, NO_LABEL, 1))
