"""The lines of a list file: how a path, a count and a label are written in one, and read again.

``path num_frames label``, ``path label`` or, where nothing is to be learned, ``path``: a path may
hold spaces, and so a name that ends in a number can be read in two ways. What exists on the disk
decides. Where a video may have several labels, they are one field: ``path num_frames 3,7``.
"""

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from config.values import MAX_TEXT, shown

INTEGER = re.compile(r"[+-]?[0-9]+")  # digits of other scripts belong to the path
LABELS = re.compile(r"[+-]?[0-9]+(,[+-]?[0-9]+)*")  # of a video that may have several
MAX_DIGITS = 18
QUOTES = ("'", '"')
_SPACED_LABELS = re.compile(r"\s[0-9]+\s+[0-9]+(\s*,\s*[0-9]+)+$")  # behind a count


class Fields(NamedTuple):
    """The texts of a line; `num_frames` and `label` are empty where it has none."""

    path: str
    num_frames: str = ""
    label: str = ""


class Disk:
    """What lies under the root of a list; a folder is listed once, however many paths it holds.

    Args:
        root: Folder that the paths start from.
        count: Function from a path below the root to its number of frames, 0 if unreadable.
    """

    def __init__(self, root: str | Path, count: Callable[[str], int] = lambda path: 0) -> None:
        self.root = str(root) or "."
        self.count = count
        self._names: dict[str, frozenset[str]] = {}

    def holds(self, path: str) -> bool:
        """Tell whether there is something at a path."""
        folder, slash, name = path.rstrip("/").rpartition("/")
        if name in ("", ".", "..") or "\0" in path:
            return False
        folder = folder or slash  # of /x it is /
        names = self._names.get(folder)
        if names is None:
            try:
                # names alone, which a Path would cost the most of reading a list for
                names = frozenset(os.listdir(os.path.join(self.root, folder) or "."))  # noqa: PTH118, PTH208
            except (OSError, ValueError):
                names = frozenset()
            self._names[folder] = names
        return name in names


def written_path(path: str) -> str:
    """Return a path as a line can hold it: a reader strips spaces and takes # for a comment.

    Raises:
        ValueError: It is empty, too long, or holds a line break or another control character.
    """
    if not path.strip():
        raise ValueError(f"the name {shown(path)} is empty")
    if len(path) > MAX_TEXT:
        raise ValueError(f"the name {shown(path)} has {len(path)} letters, at most {MAX_TEXT} go")
    if any(ord(letter) < 32 or letter == "\x7f" for letter in path):
        raise ValueError(f"the name {shown(path)} holds a line break or another control character")
    start = "./" if path[0] in "#\ufeff" or path[0].isspace() else ""
    end = "/" if path[-1].isspace() else ""  # only a folder of frames can end so
    return f"{start}{path}{end}"


def is_comment(line: str, disk: Disk | None = None) -> bool:
    """Tell whether a line is blank or a comment; not where # begins a path that exists."""
    line = line.strip()
    if not line.startswith("#"):
        return not line
    return disk is None or not any(disk.holds(fields.path) for fields in readings(line))


def readings(line: str) -> list[Fields]:
    """Return what a stripped line can mean: first with a count and a label, last a path alone."""
    words, found = line.rsplit(maxsplit=2), []
    if len(words) == 3 and INTEGER.fullmatch(words[1]):
        found.append(Fields(*words))
    if len(words) > 1:
        path, label = line.rsplit(maxsplit=1)
        found.append(Fields(path, label=label))
    return [*found, Fields(line)]


def split_line(line: str, disk: Disk | None = None, takes_several: bool = False) -> Fields:
    """Split a stripped line with a label from the right, as the disk says where there are two ways.

    Args:
        line: Stripped line of a list.
        disk: Files below the root, which decide where there are two ways.
        takes_several: Whether the label may be several, as ``3,7``.

    Raises:
        ValueError: It has fewer than two fields, or several labels without `takes_several`; or the
            fields are separated by commas, in quotes, or written with backslashes.
    """
    *found, whole = readings(line)
    if not found:
        raise ValueError(_comma_fault(line, takes_several) or "fewer than two fields")
    with_count, with_label = found[0], found[-1]
    is_label = (LABELS if takes_several else INTEGER).fullmatch(with_label.label)
    if disk is None or not is_label:
        has_commas = with_label.path.endswith((",", ";"))
        has_commas |= not is_label and any(letter in with_label.label for letter in ",;")
        fault = _comma_fault(line, takes_several) if has_commas else ""
    else:
        there = [fields for fields in found if disk.holds(fields.path)]
        fault = "" if there else _fault(line, whole, disk, takes_several)
        if there == [with_label]:
            return with_label
        count = int(with_count.num_frames[:MAX_DIGITS] or 0)
        if len(there) == 2 and disk.count(with_count.path) != count:
            return with_label
    if fault:
        raise ValueError(fault)
    return with_count


def as_labels(text: str) -> tuple[int, ...]:
    """Return the labels of a field that may hold several.

    Raises:
        ValueError: One is no integer, or there twice.
    """
    labels = tuple(as_integer(word, "the label") for word in text.split(","))
    if len({*labels}) < len(labels):
        raise ValueError(f"the labels {shown(text)} name a class twice")
    return labels


def as_integer(text: str, what: str) -> int:
    """Return the number of a field.

    Raises:
        ValueError: It is no integer, or has more digits than any count or label.
    """
    if not INTEGER.fullmatch(text):
        raise ValueError(f"{what} {shown(text)} is not an integer")
    if len(text) > MAX_DIGITS:
        raise ValueError(f"{what} {shown(text)} is beyond all there can be")
    return int(text)


def syntax_fault(line: str, disk: Disk) -> str:
    """Say how a line whose path does not exist should be written; "" if that is not the cause."""
    return _fault(line, Fields(line), disk)


def _fault(line: str, whole: Fields, disk: Disk, takes_several: bool = False) -> str:
    mended = _without_commas(line)
    if mended and any(disk.holds(fields.path) for fields in readings(mended)):
        return _comma_fault(line, takes_several)
    paths = [fields.path for fields in readings(line)]
    if any(path[:1] in QUOTES and disk.holds(path.strip(path[:1])) for path in paths):
        mended = re.sub(r"^(['\"])(.*)\1", r"\2", line)
        return f"paths stand without quotes: write {shown(mended)}"
    if any("\\" in path and disk.holds(path.replace("\\", "/")) for path in paths):
        return f"folders are separated by /: write {shown(whole.path.replace(chr(92), '/'))}"
    return ""


def _comma_fault(line: str, takes_several: bool = False) -> str:
    mended = _without_commas(line)
    if not mended:
        return ""
    if takes_several:
        return "fields are separated by spaces, labels by commas alone, as in `path num_frames 3,7`"
    *path, last = line.rsplit(maxsplit=1)
    if "," in last and LABELS.fullmatch(last) and path and not path[0].endswith((",", ";")):
        is_count = last.count(",") == 1 and not INTEGER.fullmatch(path[0].split()[-1])
        return f"several labels, {last}, which DATA.MULTI_LABEL True takes" + (
            f"; or, of a count and a label, write {shown(mended)}" if is_count else ""
        )
    if _SPACED_LABELS.search(line):
        return "several labels are joined by commas alone, `3,7`, which DATA.MULTI_LABEL True takes"
    return f"fields are separated by spaces, not by commas: write {shown(mended)}"


def _without_commas(line: str) -> str:
    """Return a line of CSV as a list has it: numbers at the end are fields; "" for no such line."""
    path, *fields = re.split(r"\s*[,;]\s*(?=[+-]?[0-9]+\s*(?:[,;]|$))", line)
    if not fields:
        return ""
    path = path.strip().rstrip(",;")
    if path[:1] in QUOTES and path[-1:] == path[:1]:
        path = path[1:-1]
    return " ".join([path, *(field.strip().strip(",;") for field in fields)])
