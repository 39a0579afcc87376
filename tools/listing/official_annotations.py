"""The data sets' own annotation files, each read as what it names: a video and its class."""

import csv
import json
import re
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from config.text_files import read_text
from config.values import MAX_SHOWN, MAX_TEXT, shown

# Videos in each official list, by data set, split number and subset. Kinetics has none that lasts:
# videos disappear from YouTube, and so every copy differs.
OFFICIAL_COUNTS = {
    ("ucf101", 1, "train"): 9537,
    ("ucf101", 1, "test"): 3783,
    ("ucf101", 2, "train"): 9586,
    ("ucf101", 2, "test"): 3734,
    ("ucf101", 3, "train"): 9624,
    ("ucf101", 3, "test"): 3696,
    ("ssv1", 1, "train"): 86017,
    ("ssv1", 1, "val"): 11522,
    ("ssv2", 1, "train"): 168913,
    ("ssv2", 1, "val"): 24777,
    ("jester", 1, "train"): 118562,
    ("jester", 1, "val"): 14787,
}
for _split in (1, 2, 3):
    OFFICIAL_COUNTS |= {("hmdb51", _split, "train"): 3570, ("hmdb51", _split, "test"): 1530}
OFFICIAL_CLASSES = {
    "kinetics": 400,
    "ucf101": 101,
    "hmdb51": 51,
    "ssv1": 174,
    "ssv2": 174,
    "jester": 27,
}
_TIMES = ("time_start", "time_end")


class Entry(NamedTuple):
    """One video of an annotation file.

    Attributes:
        stems: Places where it may lie below the root, without a video's suffix; the official one
            first.
        class_name: Name of its class.
        number: Number of the class in the file, where it has one; -1 otherwise.
    """

    stems: tuple[str, ...]
    class_name: str
    number: int = -1


def read_kinetics(path: Path, subset: str, split: int) -> list[Entry]:
    """Read ``label,youtube_id,time_start,time_end,split`` with a header; the subset's rows alone.

    A video is ``<class>/<id>_<start>_<end>`` with six digits each, the class with spaces or with
    underscores, or without its class's folder.
    """
    del split  # there is one
    try:
        rows = list(csv.DictReader(_read_text(path).split("\n")))
    except csv.Error as error:
        raise ValueError(f"{path} is not CSV: {error}") from error
    needed = {"label", "youtube_id", "time_start", "time_end"}
    if not rows or not needed <= set(rows[0]):
        raise ValueError(f"{path}: the first line must name the columns {sorted(needed)}")
    entries = []
    for number, row in enumerate(rows, start=1):
        if any(row[key] is None for key in needed):
            raise ValueError(f"{path}: video {number} has fewer columns than the first line")
        if subset and row.get("split") and not row["split"].startswith(subset):
            continue
        times = (_seconds(row[key], f"{path}: video {number}: {key}") for key in _TIMES)
        name = "_".join([row["youtube_id"], *(f"{time:06d}" for time in times)])
        label = row["label"].strip().strip('"')
        folders = (f"{label}/", f"{label.replace(' ', '_')}/", "")
        entries.append(Entry(tuple(dict.fromkeys(f + name for f in folders)), label))
    return entries


def read_ucf101(path: Path, subset: str, split: int) -> list[Entry]:
    """Read ``trainlist01.txt``, 1-based ``Class/video.avi 1``, or ``testlist01.txt``, no label."""
    del subset, split  # the file is of one
    entries = []
    for line in _lines(path):
        match = re.fullmatch(r"([^/\s]+)/(\S+?)(?:\.avi)?(?:\s+([0-9]{1,9}))?", line)
        if not match:
            raise ValueError(
                f"{path}: {shown(line)}; a line is `Class/video.avi` or `Class/video.avi 1`"
            )
        number = int(match[3]) - 1 if match[3] else -1
        entries.append(Entry((f"{match[1]}/{match[2]}", match[2]), match[1], number))
    return entries


def read_hmdb51(path: Path, subset: str, split: int) -> list[Entry]:
    """Read the folder of ``<class>_test_split<N>.txt``: ``video.avi 1`` to train on, 2 to test."""
    wanted = {"train": "1", "test": "2", "val": "2"}.get(subset)
    if wanted is None:
        raise ValueError("hmdb51 needs --subset train or test: its files hold both")
    files = sorted(path.glob(f"*_test_split{split}.txt"))
    if not files:
        raise ValueError(f"{path}: no <class>_test_split{split}.txt in this folder")
    entries = []
    for file in files:
        name = file.name.removesuffix(f"_test_split{split}.txt")
        for line in _lines(file):
            video, _, use = line.rpartition(" ")
            if not video or use not in ("0", "1", "2"):
                raise ValueError(f"{file}: {shown(line)}; a line is `video.avi 1`, or 2, or 0")
            video = video.strip()
            stem = video.removesuffix(".avi")
            if use == wanted:
                entries.append(Entry((f"{name}/{stem}", stem), name))
    return entries


def read_semicolons(path: Path, subset: str, split: int) -> list[Entry]:
    """Read the ``id;label`` lines of Something-Something v1 and of Jester."""
    del subset, split  # the file is of one
    entries = []
    for line in _lines(path):
        video, separator, label = line.partition(";")
        if not separator:
            raise ValueError(
                f"{path}: {shown(line)} holds no `id;label`; the test set has no labels"
            )
        entries.append(Entry((video.strip(),), label.strip()))
    return entries


def read_ssv2(path: Path, subset: str, split: int) -> list[Entry]:
    """Read the json of Something-Something v2; the class is the template without its brackets."""
    del subset, split  # the file is of one
    rows = _read_json(path)
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ValueError(f"{path} holds no list of videos")
    if not all(isinstance(row.get("template"), str) for row in rows):
        raise ValueError(f"{path}: a video without `template`; the test set has no labels")
    if not all(isinstance(row.get("id"), str | int) for row in rows):
        raise ValueError(f"{path}: a video without `id`")
    return [Entry((str(row["id"]),), re.sub(r"[\[\]]", "", row["template"])) for row in rows]


FORMATS: dict[str, Callable[[Path, str, int], list[Entry]]] = {
    "kinetics": read_kinetics,
    "ucf101": read_ucf101,
    "hmdb51": read_hmdb51,
    "ssv1": read_semicolons,
    "ssv2": read_ssv2,
    "jester": read_semicolons,
}


def read_class_file(path: Path, known: Collection[str] = ()) -> list[str]:
    """Read class names in the order of their labels.

    Taken are a name a line; a numbered name a line, from 0 or 1 (``classInd.txt``); and JSON of
    names to numbers (``labels.json``).

    Args:
        path: Path of the file.
        known: Names that it should hold. They decide whether a number is a part of the name.

    Raises:
        ValueError: The file is none of these, or its numbers are not consecutive.
    """
    if path.suffix == ".json":
        table = _read_json(path)
        if not isinstance(table, dict) or not all(map(_is_number, table.values())):
            raise ValueError(f"{path} holds no table of class names and their numbers")
        numbered = [(int(number), name) for name, number in table.items()]
    else:
        lines = _lines(path)
        matches = [re.fullmatch(r"([0-9]{1,9})\s+(.+)", line) for line in lines]
        if not all(matches) or (known and set(known) <= {*lines}):
            return lines
        numbered = [(int(match[1]), match[2]) for match in matches if match]
    numbered.sort()
    first = numbered[0][0] if numbered else 0
    if first > 1 or [number for number, _ in numbered] != [*range(first, first + len(numbered))]:
        raise ValueError(f"{path}: the numbers of the classes are not consecutive from 0 or 1")
    return [name for _, name in numbered]


def own_classes(name: str, entries: Sequence[Entry], labels: Path) -> list[str]:
    """Return the classes in the order of their labels, where no file names them.

    That is the alphabet's; of UCF-101 the official one, since its lists of test videos have no
    numbers and need not hold every class.

    Args:
        name: Name of the data set, a key of `FORMATS`.
        entries: Entries of its videos.
        labels: Folder of files of class names.

    Raises:
        ValueError: A list of UCF-101 has no numbers, and other classes than UCF-101.
    """
    found = sorted({entry.class_name for entry in entries})
    if name != "ucf101" or all(entry.number >= 0 for entry in entries):
        return found
    official = read_class_file(labels / "ucf101.txt")
    others = sorted({*found} - {*official})
    if others:
        raise ValueError(
            f"a list without numbers does not say which label a class has, and {shown(others[:3])} "
            "are no classes of UCF-101; give --classes classInd.txt"
        )
    return official


def label_entries(entries: Sequence[Entry], classes: Sequence[str]) -> list[int]:
    """Return the label of each entry.

    Raises:
        ValueError: A class is not among the names, or has another number in the annotation file.
    """
    place = {name: label for label, name in enumerate(classes)}
    unknown = sorted({entry.class_name for entry in entries} - set(place))
    if unknown:
        raise ValueError(f"classes that the class file does not name: {shown(unknown[:5])}")
    for entry in entries:
        if entry.number not in (-1, place[entry.class_name]):
            raise ValueError(
                f"{entry.stems[0][:MAX_SHOWN]} is of class number {entry.number + 1}, but the "
                f"classes number {shown(entry.class_name)} {place[entry.class_name] + 1}; give "
                "--classes classInd.txt"
            )
    return [place[entry.class_name] for entry in entries]


def check_names(entries: Sequence[Entry]) -> None:
    """Reject what no line of a list can say.

    Raises:
        ValueError: A name is empty, too long or no UTF-8, holds a line break, or leaves the root.
    """
    for text in {text for entry in entries for text in (entry.class_name, *entry.stems)}:
        fault = ""
        if not text.strip():
            fault = "is empty"
        elif len(text) > MAX_TEXT:
            fault = f"has {len(text)} letters, a path has at most {MAX_TEXT}"
        elif any(ord(letter) < 32 or letter == "\x7f" for letter in text):
            fault = "holds a line break or another control character"
        elif any("\ud800" <= letter <= "\udfff" for letter in text):
            fault = "is not UTF-8 text"
        elif text.startswith("/") or ".." in text.split("/"):
            fault = "leads out of the root"
        if fault:
            raise ValueError(f"the name {shown(text)} {fault}; rename it and make the list again")


def _seconds(text: str, what: str) -> int:
    if not re.fullmatch(r"[0-9]{1,9}(\.[0-9]*)?", text.strip()):
        raise ValueError(f"{what} {shown(text)} is no number of seconds")
    return int(float(text))


def _is_number(value: Any) -> bool:
    return bool(re.fullmatch(r"[0-9]{1,9}", str(value))) and not isinstance(value, bool)


def _read_json(path: Path) -> Any:
    try:
        return json.loads(_read_text(path))
    except ValueError as error:  # an integer of thousands of digits too
        raise ValueError(f"{path} is not JSON: {error}") from error
    except RecursionError as error:
        raise ValueError(f"{path} is not JSON of a data set: it is nested too deep") from error


def _read_text(path: Path) -> str:
    return read_text(path, "the annotation file")


def _lines(path: Path) -> list[str]:
    return [line.strip() for line in _read_text(path).split("\n") if line.strip()]
