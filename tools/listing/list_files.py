"""Lists, and files of class names, as they are written; and a list of ours read to be divided."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from config.text_files import read_text
from datasets.list_lines import Disk, as_integer, is_comment, split_line
from engine.whole_file import whole_file
from tools.listing.official_annotations import read_class_file
from tools.listing.splitting import PARTS, count_table, divide, read_shares, recordings


class Row(NamedTuple):
    """A line of a list; the path as it is written, 0 frames for those not counted."""

    path: str
    num_frames: int
    label: int

    def line(self) -> str:
        """Return the line."""
        count = [str(self.num_frames)] if self.num_frames else []
        return " ".join([self.path, *count, str(self.label)])


class ListFiles:
    """Writes lists and says so.

    Args:
        folder: Folder of the parts of a list.
        tell: Function that takes a line for the user.
        overwrites: Whether parts of other content that are there already are replaced.
    """

    def __init__(self, folder: Path, tell: Callable[[str], None], overwrites: bool = False) -> None:
        self.folder = folder
        self.tell = tell
        self.overwrites = overwrites

    def write(self, path: Path, rows: Sequence[Row]) -> None:
        """Write one list."""
        self.write_lines(path, [row.line() for row in rows])

    def write_parts(
        self, rows: Sequence[Row], classes: Sequence[str], shares: str, pattern: str, seed: int
    ) -> None:
        """Write train.txt, val.txt and, of three shares, test.txt; show the videos of each class.

        Args:
            rows: Rows of the whole list.
            classes: Names of the classes by label.
            shares: Shares of the parts; see `splitting.read_shares`.
            pattern: Regular expression of a recording; see `splitting.recordings`.
            seed: Seed of the division; see `splitting.divide`.

        Raises:
            ValueError: A part would be empty, or a list of other content is there already.
        """
        numbers = read_shares(shares)
        parts = self._divide(rows, numbers, pattern, seed)
        names = PARTS[: len(numbers)]
        self._write_all(rows, parts, {f"{name}.txt": [n] for n, name in enumerate(names)})
        self._tell_table(rows, parts, classes, names)

    def write_folds(
        self, rows: Sequence[Row], classes: Sequence[str], num_folds: int, pattern: str, seed: int
    ) -> None:
        """Write train_foldN.txt and val_foldN.txt for N from 1; each video is in one val list.

        Args and Raises: as of `write_parts`.
        """
        parts = self._divide(rows, [1 / num_folds] * num_folds, pattern, seed)
        files: dict[str, list[int]] = {}
        for fold in range(num_folds):
            others = [part for part in range(num_folds) if part != fold]
            files |= {f"train_fold{fold + 1}.txt": others, f"val_fold{fold + 1}.txt": [fold]}
        self._write_all(rows, parts, files)
        self._tell_table(rows, parts, classes, [f"val {n + 1}" for n in range(num_folds)])

    def write_classes(self, path: Path, classes: Sequence[str]) -> None:
        """Write class names, a line each."""
        if self.folder in path.parents:
            self._check_free(path, classes)
        self.write_lines(path, classes)
        self.tell(f"{path}: {len(classes)} class names")

    def write_lines(self, path: Path, lines: Sequence[str]) -> None:
        """Write a text file; names that are not UTF-8 keep their bytes."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as file:
            file.write(_content(lines))

    def _divide(
        self, rows: Sequence[Row], shares: Sequence[float], pattern: str, seed: int
    ) -> list[int]:
        groups = recordings([row.path for row in rows], pattern)
        parts = divide([row.label for row in rows], groups, shares, seed)
        if len(set(parts)) < len(shares):
            raise ValueError(
                f"{len(rows)} videos in {len(set(groups))} recordings are too few for "
                f"{len(shares)} lists"
            )
        return parts

    def _write_all(
        self, rows: Sequence[Row], parts: Sequence[int], files: dict[str, list[int]]
    ) -> None:
        lines = {
            self.folder / name: [r.line() for r, p in zip(rows, parts, strict=True) if p in members]
            for name, members in files.items()
        }
        for path, content in lines.items():
            self._check_free(path, content)
        for path, content in lines.items():
            self.write_lines(path, content)
            self.tell(f"{path}: {len(content)} videos")

    def _check_free(self, path: Path, lines: Sequence[str]) -> None:
        if not self.overwrites and path.exists() and path.read_bytes() != _content(lines):
            raise ValueError(
                f"{path} is there already, with other lines; --overwrite replaces it, --output DIR "
                "writes elsewhere"
            )

    def _tell_table(
        self, rows: Sequence[Row], parts: list[int], classes: Sequence[str], names: Sequence[str]
    ) -> None:
        labels = [row.label for row in rows]
        for line in count_table(labels, parts, classes, names):
            self.tell(line)
        for part, name in enumerate(names):
            here = {label for label, p in zip(labels, parts, strict=True) if p == part}
            lacking = [classes[label] for label in sorted({*labels} - here)]
            if lacking:
                self.tell(f"{name} has no video of {len(lacking)} classes: {lacking[:5]}")


def read_rows(path: Path, classes: Path | None, root: Path | None) -> tuple[list[Row], list[str]]:
    """Read a list of ours, however many classes it has.

    Args:
        path: Path of the list.
        classes: Path of a file of their names; None: they go by number.
        root: Folder that the paths start from, which decides what a line means; None: not known.

    Raises:
        ValueError: It cannot be read, a line is malformed, or the names are too few.
    """
    disk, rows = None if root is None else Disk(root), []
    text = read_text(path, "the list file", of_any_encoding=True)
    for number, line in enumerate(text.split("\n"), start=1):
        if is_comment(line, disk):
            continue
        try:
            fields = split_line(line.strip(), disk)
            label = as_integer(fields.label, "the label")
            if label < 0:
                raise ValueError(f"the label {label} is below 0")
            rows.append(Row(fields.path, as_integer(fields.num_frames or "0", "frames"), label))
        except ValueError as error:
            raise ValueError(f"{path}, line {number}: {error}") from error
    if not rows:
        raise ValueError(f"{path}: the list names no video")
    num_classes = max(row.label for row in rows) + 1
    names = read_class_file(classes) if classes else [str(label) for label in range(num_classes)]
    if len(names) < num_classes:
        raise ValueError(f"{classes}: {len(names)} names, the labels go up to {num_classes - 1}")
    return rows, names


def _content(lines: Sequence[str]) -> bytes:
    one_a_line = (line.replace("\r", "\\r").replace("\n", "\\n") for line in lines)
    return "".join(f"{line}\n" for line in one_a_line).encode(errors="surrogateescape")
