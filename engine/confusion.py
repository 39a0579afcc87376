"""Which classes are taken for which: confusion.csv, and confusion.png where matplotlib is."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from engine.canvas import INK, can_draw, new_figure, pixels_of, shortened, text_style
from engine.fonts import drawn_names
from engine.whole_file import errors_told, whole_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FILES = ("confusion.csv", "confusion.png")
MOST_COUNTED = 30  # classes whose cells have room for a number
MOST_NAMED = 120  # classes whose names have room at the sides
_LONGEST_NAME = 28  # letters
_SIDE = 9.0  # of a matrix of many classes, inches
_MOST_CONFUSED = 25  # pairs of classes that stand beside such a matrix


def write_confusion(
    folder: Path, matrix: np.ndarray, names: Sequence[str], title: str
) -> np.ndarray | None:
    """Write a confusion matrix as a table and as a picture.

    Args:
        folder: Folder of the files.
        matrix: Number of videos by true (row) and predicted class, (K, K).
        names: Names by label, as they are; the picture has those that can be drawn.
        title: Title of the picture.

    Returns:
        The picture, uint8 (H, W, 3); None where matplotlib is missing, which is said.

    Raises:
        UnwritableError: A file cannot be written.
    """
    table, picture = (folder / name for name in FILES)
    text = io.StringIO()
    rows = [["true \\ predicted", *names]]
    rows += [[name, *counts] for name, counts in zip(names, matrix.tolist(), strict=True)]
    csv.writer(text, lineterminator="\n").writerows(rows)
    with whole_file(table) as file:
        file.write(text.getvalue().encode(errors="surrogateescape"))
    if not can_draw():
        picture.unlink(missing_ok=True)  # that of an earlier table
        return None
    pixels = draw_confusion(matrix, names, title)
    with whole_file(picture) as file:
        Image.fromarray(pixels).save(file, "PNG")
    return pixels


def remove_confusion(folder: Path) -> None:
    """Remove what an earlier test left of the kind, where this one has none.

    Raises:
        UnwritableError: A file cannot be removed.
    """
    for path in (folder / name for name in FILES):
        with errors_told(path):
            path.unlink(missing_ok=True)


def draw_confusion(matrix: np.ndarray, names: Sequence[str], title: str) -> np.ndarray:
    """Draw a confusion matrix, uint8 (H, W, 3): shares of each true class as colours.

    The counts stand in the cells, and the names at the sides, as far as there is room for them.

    Args:
        matrix: Confusion matrix as of `write_confusion`; matplotlib must be there.
        names: Names by label.
        title: Title above the picture.
    """
    K = len(matrix)
    cell = 1.0 if K <= 4 else 0.6 if K <= 12 else 0.36 if K <= MOST_COUNTED else 0.12
    side = cell * K if K <= MOST_NAMED else _SIDE
    letters = min(max(map(len, names)), _LONGEST_NAME) if K <= MOST_NAMED else 4
    margin = 1.2 + 0.09 * letters  # of names, axes' labels and colour bar
    columns = 1 if K <= MOST_NAMED else 2
    width = side + margin + (0.8 if columns == 1 else 0.5 * side)
    figure = new_figure(max(width, 5.0), max(side + margin, 3.6))
    axes, *others = figure.subplots(1, columns, width_ratios=[2, 1][:columns], squeeze=False)[0]
    shares = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    _colour_cells(axes, shares)
    axes.set_title(title, fontsize=11, parse_math=False)
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class, its videos in brackets" if K <= MOST_NAMED else "true class")
    if K <= MOST_NAMED:
        _name_classes(axes, matrix, names)
    for beside in others:
        _list_confused(beside, matrix, names)
    if K <= MOST_COUNTED:
        _write_counts(axes, matrix, shares, cell)
    return pixels_of(figure)


def _colour_cells(axes: "Axes", shares: np.ndarray) -> None:
    from matplotlib.colors import PowerNorm

    K = len(shares)
    # among many classes a confusion is a small share of one, and must be seen all the same
    norm = PowerNorm(1.0 if K <= MOST_COUNTED else 0.5, vmin=0, vmax=1)
    image = axes.imshow(shares, cmap="Blues", norm=norm, interpolation="nearest")
    figure = axes.get_figure()
    assert figure is not None
    bar = figure.colorbar(image, ax=axes, shrink=0.4 if K > 12 else 0.9, pad=0.02)
    bar.set_label("share of the true class")


def _list_confused(beside: "Axes", matrix: np.ndarray, names: Sequence[str]) -> None:
    """Write, in axes of their own, which classes are taken for which others most often."""
    wrong = matrix - np.diag(matrix.diagonal())
    drawn, lines = drawn_names(names), []
    for place in np.argsort(-wrong, axis=None, kind="stable")[:_MOST_CONFUSED]:
        row, column = np.unravel_index(place, wrong.shape)
        if wrong[row, column]:
            pair = (shortened(drawn[label], _LONGEST_NAME) for label in (row, column))
            lines.append(f"{' as '.join(pair)}: {wrong[row, column]} of {matrix[row].sum()}")
    beside.axis("off")
    beside.set_title("taken most often: one class as another", fontsize=11, loc="left")
    for number, line in enumerate(lines):
        place = (0.0, 0.98 - number / _MOST_CONFUSED)
        beside.text(*place, line, va="top", fontsize=9, **text_style(line))


def _name_classes(axes: "Axes", matrix: np.ndarray, names: Sequence[str]) -> None:
    size = 9 if len(names) <= MOST_COUNTED else 6
    shown = [shortened(name, _LONGEST_NAME) for name in drawn_names(names)]
    rows = [f"{name} ({count})" for name, count in zip(shown, matrix.sum(1), strict=True)]
    axes.set_xticks(range(len(names)), shown, rotation=90 if len(names) > 4 else 30)
    axes.set_yticks(range(len(names)), rows)
    axes.tick_params(length=2)
    for label in (*axes.get_xticklabels(), *axes.get_yticklabels()):
        label.set(**text_style(label.get_text()))
        label.set_fontsize(size)
        if label.get_rotation() == 30:
            label.set(ha="right", rotation_mode="anchor")


def _write_counts(axes: "Axes", matrix: np.ndarray, shares: np.ndarray, cell: float) -> None:
    digits = len(str(matrix.max()))
    size = min(11.0, 0.9 * cell * 72 / (0.65 * digits))  # 72 points an inch
    for (row, column), count in np.ndenumerate(matrix):
        if count:
            ink = "white" if shares[row, column] > 0.5 else INK
            axes.text(column, row, str(count), ha="center", va="center", color=ink, fontsize=size)
