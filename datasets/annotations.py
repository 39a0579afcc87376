"""List files to records: every line is checked, nothing is skipped in silence."""

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from config.class_names import read_class_names
from config.text_files import read_text
from config.values import shown
from datasets.list_lines import Disk, as_integer, as_labels, is_comment, split_line

__all__ = [
    "NUM_FAULTS_SHOWN",
    "VideoRecord",
    "label_array",
    "list_digest",
    "read_class_names",
    "read_list",
]

NUM_FAULTS_SHOWN = 10
MAX_FRAMES = 2**31 - 1
SUBSET_STEP = 10  # the release's USE_SUBSET keeps rows 0, 10, 20, ...


class VideoRecord(NamedTuple):
    """One line of a list file.

    Attributes:
        path: Path of the frames' folder, relative to the data set's root.
        num_frames: Number of frames in it; 0 = to be counted on disk.
        label: Index of the class, 0-based.
        line: 1-based line number in the list.
        labels: All its classes, in the order of the line, where a video may have several; `label`
            is then the first of them. Empty where it has one.
    """

    path: str
    num_frames: int
    label: int
    line: int
    labels: tuple[int, ...] = ()

    @property
    def classes(self) -> tuple[int, ...]:
        """Its classes, of whatever list: one, or several."""
        return self.labels or (self.label,)


def read_list(
    path: str | Path,
    num_classes: int,
    use_subset: bool = False,
    disk: Disk | None = None,
    takes_several: bool = False,
) -> list[VideoRecord]:
    """Read a list file of lines ``path num_frames label`` or ``path label``.

    Fields are split from the right, so a path may hold spaces. Blank lines and lines that start
    with ``#`` are skipped.

    Args:
        path: The list file, UTF-8; bytes of another encoding are kept as those of file names.
        num_classes: Number of classes, K; labels lie in 0..K-1.
        use_subset: True keeps every 10th record, the first included.
        disk: Files below the root. They decide what a line means that can be read in two ways:
            a name that ends in a number, or begins with ``#``.
        takes_several: Whether a video may have several labels, joined by commas.

    Raises:
        ValueError: The file cannot be read, holds no video, or has malformed lines: the first ten
            are shown, each with its number.
    """
    lines = read_text(path, "the list file", of_any_encoding=True).split("\n")
    records, faults, num_faults = [], [], 0
    for number, line in enumerate(lines, start=1):
        if is_comment(line, disk):
            continue
        try:
            records.append(_parse_line(line.strip(), number, num_classes, disk, takes_several))
        except ValueError as error:
            num_faults += 1
            if num_faults <= NUM_FAULTS_SHOWN:
                faults.append(f"line {number}: {error}: {shown(line.strip())}")
    if faults:
        if num_faults > len(faults):
            faults.append(f"... and {num_faults - len(faults)} more")
        raise ValueError(
            f"{path}: {num_faults} malformed lines; a line is `path num_frames label` or "
            f"`path label`, labels 0..{num_classes - 1}"
            + (", several as `3,7`" if takes_several else "")
            + "\n  "
            + "\n  ".join(faults)
        )
    if not records:
        raise ValueError(f"{path}: the list names no video")
    return records[::SUBSET_STEP] if use_subset else records


def list_digest(records: Iterable[VideoRecord]) -> str:
    """Return a SHA-256 of what a list says: paths and labels in their order, 64 hex digits.

    Frame counts stay out, since those that the list leaves open come from the disk.
    """
    digest = hashlib.sha256()
    for record in records:
        labels = ",".join(map(str, record.classes))
        digest.update(f"{record.path}\0{labels}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()


def label_array(records: Sequence[VideoRecord], num_classes: int = 0) -> np.ndarray:
    """Return the class of each video, (N,), int64; with num_classes multi-hot, (N, K), uint8."""
    if not num_classes:
        return np.array([record.label for record in records], np.int64)
    labels = np.zeros((len(records), num_classes), np.uint8)
    for row, record in zip(labels, records, strict=True):
        row[list(record.classes)] = 1
    return labels


def _parse_line(
    line: str, number: int, num_classes: int, disk: Disk | None, takes_several: bool
) -> VideoRecord:
    if "\0" in line and len(line.split()) > 1:
        raise ValueError("a NUL byte, which no path holds")
    path, count, text = split_line(line, disk, takes_several)
    labels = as_labels(text) if takes_several else (as_integer(text, "the label"),)
    for label in labels:
        if not 0 <= label < num_classes:
            hint = ", labels are 0-based" if label == num_classes else ""
            allowed = f"0..{num_classes - 1} (MODEL.NUM_CLASSES){hint}"
            raise ValueError(f"label {label} is not in {allowed}")
    num_frames = as_integer(count, "the number of frames") if count else 0
    if count and num_frames < 1:
        raise ValueError(f"{num_frames} frames, at least 1 is needed")
    if num_frames > MAX_FRAMES:
        raise ValueError(f"{num_frames} frames, at most {MAX_FRAMES} can be")
    return VideoRecord(path, num_frames, labels[0], number, labels if takes_several else ())
