"""Where the videos of a list lie on the disk, and how many frames they have."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import NamedTuple

from datasets.list_lines import written_path
from datasets.readers import FrameFolder, UnreadableVideoError, VideoFile
from datasets.video_suffixes import PACK_SUFFIX, is_pack_name, is_video_name
from tools.listing.official_annotations import Entry

DISK_THREADS = 16


class Found(NamedTuple):
    """Where a video lies below the root, its frames (0 = not counted), why it is left out."""

    path: str
    num_frames: int = 0
    fault: str = ""


def find_videos_of(
    entries: Sequence[Entry], root: Path | None, is_video: bool, counts_videos: bool
) -> list[Found | None]:
    """Look for each entry on the disk, many at once; without a root all are taken as they are.

    A folder of frames is looked for first, then a pack, then a file of any video suffix in any
    case.

    Args:
        entries: Entries of the videos.
        root: Folder that they are looked for in.
        is_video: Whether they are video files, not folders or packs of frames.
        counts_videos: Whether the frames of files are counted, too.

    Returns:
        For each entry its place, None where it is not there.

    Raises:
        ValueError: The root is not a folder.
    """
    if root is None:
        return [Found(entry.stems[0]) for entry in entries]
    if not root.is_dir():
        raise ValueError(f"--root {str(root)!r} is not a folder")

    @cache
    def files_of(folder: str) -> dict[str, list[str]]:
        return _videos_by_stem(root / folder)

    def find(entry: Entry) -> Found | None:
        place = None if is_video else _find_frames(root, entry)
        for stem in entry.stems if place is None else ():
            folder, name = os.path.split(stem)
            files = files_of(folder).get(name, [])
            whole = [file for file in files if (root / folder / file).stat().st_size]
            if whole:
                path = f"{folder}/{whole[0]}" if folder else whole[0]
                place = _counted(root, path) if counts_videos else Found(path)
                break
        return _listable(place)

    with ThreadPoolExecutor(DISK_THREADS) as pool:
        return list(pool.map(find, entries))


def _videos_by_stem(folder: Path) -> dict[str, list[str]]:
    """Return the names of the video files in a folder, by themselves and by what they begin with.

    A file found by its whole name is its only candidate.
    """
    try:
        with os.scandir(folder) as entries:
            names = sorted(e.name for e in entries if is_video_name(e.name) and e.is_file())
    except OSError:
        return {}
    found: dict[str, list[str]] = {}
    for name in names:
        found.setdefault(Path(name).stem, []).append(name)
    return found | {name: [name] for name in names}


def _find_frames(root: Path, entry: Entry) -> Found | None:
    for stem in entry.stems:
        for path in (stem, stem + PACK_SUFFIX):
            if not ((root / path).is_dir() or (is_pack_name(path) and (root / path).is_file())):
                continue
            try:
                num_frames = len(FrameFolder(root / path))
            except UnreadableVideoError as error:  # images of several names
                return Found(path, 0, str(error))
            if num_frames:
                return Found(path, num_frames)
    return None


def _counted(root: Path, path: str) -> Found:
    try:
        return Found(path, len(VideoFile(root / path)))
    except UnreadableVideoError as error:
        return Found(path, 0, str(error))


def _listable(place: Found | None) -> Found | None:
    if place is None or place.fault:
        return place
    try:
        written_path(place.path)
    except ValueError as error:
        return place._replace(fault=f"{error}; rename it")
    return place
