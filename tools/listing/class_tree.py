"""A folder per class, in it a file, or frames in a folder or a pack: its classes and videos."""

import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from config.values import shown
from datasets.frame_files import may_hold_frames
from datasets.frame_series import numbered_image
from datasets.video_suffixes import is_left_behind, is_pack_name, is_video_name

FILE, FRAMES, PACK = "file", "frames", "pack"  # what a video is
# Of a folder that holds a part of a data set; parts have classes in common.
_PART = re.compile(
    r"(?:^|[^a-z])(train|training|trn|val|valid|validation|test|testing|tst|dev|eval)(?:[^a-z]|$)",
    re.IGNORECASE,
)


class TreeVideo(NamedTuple):
    """A video of a tree.

    Attributes:
        path: Path below the tree, with slashes.
        class_name: Name of its folder, without spaces around it.
        kind: Kind: `FILE`, or `FRAMES` of a folder or a `PACK`.
    """

    path: str
    class_name: str
    kind: str

    @property
    def stem(self) -> str:
        """The path without the suffix of a file."""
        return self.path if self.kind == FRAMES else self.path.removesuffix(Path(self.path).suffix)


class ClassTree(NamedTuple):
    """What a tree holds.

    Attributes:
        classes: Names of the classes in the order of their labels.
        videos: Videos in the order of their paths, class by class.
        ignored: Number of entries of each kind that are no video and no class.
        note: Remark on the order of the classes, "" for none.
    """

    classes: list[str]
    videos: list[TreeVideo]
    ignored: Counter[str]
    note: str = ""

    def describe_ignored(self) -> str:
        """Return what was ignored, as "2 hidden files, 1 .txt files"; "" for nothing."""
        kinds = sorted(self.ignored.items())
        return ", ".join(f"{number} {kind}" for kind, number in kinds if number)


def read_class_tree(folder: Path) -> ClassTree:
    """Look at a tree: hidden, empty and left-behind folders are no classes.

    Raises:
        ValueError: It is no folder, or a class has a name that no file of names can hold.
    """
    if not folder.is_dir():
        raise ValueError(f"{folder} is not a folder with a folder for each class")
    ignored: Counter[str] = Counter()
    videos: list[TreeVideo] = []
    folders: dict[str, str] = {}
    for entry in _sorted_entries(folder):
        if not entry.is_dir():
            ignored[_file_kind(entry.name, "beside the class folders")] += 1
            continue
        if is_left_behind(entry.name):
            ignored[_folder_kind(entry.name)] += 1
            continue
        found = list(_videos(entry, ignored))
        if not found:
            ignored["folders without a video"] += 1
            continue
        name = _class_name(entry, folders)
        folders[name] = entry.name
        videos += [TreeVideo(f"{entry.name}/{path}", name, kind) for path, kind in found]
    classes, note = ordered_classes(list(folders))
    return ClassTree(classes, videos, ignored, note)


def ordered_classes(names: Sequence[str]) -> tuple[list[str], str]:
    """Return class names in the order of their labels: of the alphabet, or of their numbers.

    Returns:
        The names; what to know where all are numbers, but not the labels themselves.
    """
    if not all(name.isascii() and name.isdecimal() for name in names):
        return sorted(names), ""
    classes = sorted(names, key=lambda name: (int(name), name))
    if classes == [str(label) for label in range(len(classes))]:
        return classes, ""
    pairs = ", ".join(f"{name!r} is label {label}" for label, name in enumerate(classes[:3]))
    return classes, f"the class folders are numbers, but not 0 to {len(classes) - 1}: {pairs} ..."


def check_parts(folder: Path, classes: Sequence[str]) -> None:
    """See that a tree lacks no class that another part beside it has: labels would differ.

    Args:
        folder: Folder of the tree, ``.../val`` say.
        classes: Names of its classes.

    Raises:
        ValueError: There is such a part; the classes that are missing are named.
    """
    place = folder.resolve()
    if not _PART.search(place.name):
        return
    for other in sorted(place.parent.iterdir()):
        if other == place or not _PART.search(other.name) or not other.is_dir():
            continue
        theirs = [entry.name.strip() for entry in _sorted_entries(other) if _is_class(entry)]
        missing = [name for name in theirs if name not in classes]
        if missing and len(missing) < len(theirs):
            raise ValueError(
                f"{folder} lacks {len(missing)} of the {len(theirs)} classes of {other}: "
                f"{shown(missing[:5])}; the labels of the two would differ: give --classes FILE, "
                "a name a line, the same for both (--write-classes writes one)"
            )


def _is_class(entry: os.DirEntry[str]) -> bool:
    if not entry.is_dir() or is_left_behind(entry.name):
        return False
    return next(_videos(entry, Counter()), None) is not None


def _videos(folder: os.DirEntry[str], ignored: Counter[str]) -> Iterator[tuple[str, str]]:
    """Yield name and kind of each video of a class, and count what is none."""
    for entry in _sorted_entries(folder.path):
        if not entry.is_dir():
            if is_video_name(entry.name):
                yield entry.name, FILE
            elif is_pack_name(entry.name) and may_hold_frames(Path(entry.path)):
                yield entry.name, PACK
            else:
                ignored[_file_kind(entry.name)] += 1
        elif is_left_behind(entry.name):
            ignored[_folder_kind(entry.name)] += 1
        elif _any_file(entry.path, numbered_image):
            yield entry.name, FRAMES
        elif _any_file(entry.path, is_video_name):
            ignored["folders of videos, a level too deep"] += 1
        else:
            ignored["folders without a video"] += 1


def _any_file(folder: str, is_one: Callable[[str], object]) -> bool:
    with os.scandir(folder) as entries:
        return any(is_one(entry.name) for entry in entries)


def _class_name(entry: os.DirEntry[str], known: dict[str, str]) -> str:
    name, fault = entry.name.strip(), ""
    if name in known:
        fault = f"differs from {known[name]!r} by spaces alone"
    elif not name or name.startswith("\ufeff"):
        fault = "is empty"
    elif any(ord(letter) < 32 or letter == "\x7f" for letter in name):
        fault = "holds a line break or another control character"
    elif any("\ud800" <= letter <= "\udfff" for letter in name):
        fault = "is not UTF-8 text"
    if fault:
        raise ValueError(f"the class folder {shown(entry.path)} {fault}; rename it")
    return name


def _file_kind(name: str, where: str = "") -> str:
    if name.startswith("."):
        return "hidden files"
    suffix = Path(name).suffix.lower()
    kind = f"{suffix} files" if suffix else "files without a suffix"
    return f"{kind} {where}".rstrip()


def _folder_kind(name: str) -> str:
    return "hidden folders" if name.startswith(".") else f"{name} folders"


def _sorted_entries(folder: str | Path) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        return sorted(entries, key=lambda entry: entry.name)
