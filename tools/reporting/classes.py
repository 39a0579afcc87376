"""What became of each class: the table of classes, and which is taken for which."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image

from engine.confusion import MOST_COUNTED
from engine.mean_scores import MeanScores
from ops.metrics import class_accuracy, confusion_matrix
from tools.reporting.markup import Cell, data_uri, named, number, table, text
from tools.reporting.run_records import RunRecords

MOST_CONFUSED = 25  # pairs of classes below the picture of many
_BLUE = (0, 114, 178)  # seen on white and on black
_PREFIX = "per_class_"  # of what results.json has by class
_ACCURACY = f"{_PREFIX}accuracy"  # which the confusion tells, too


@dataclass(frozen=True)
class Classes:
    """The classes of a test, or of a run's last validation.

    Attributes:
        names: Names by label.
        matrix: Number of videos by true (row) and predicted class.
        source: Source of the matrix, in words.
        others: Further figures by class name, by what they are.
    """

    names: list[str]
    matrix: np.ndarray
    source: str
    others: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def classes_of(run: RunRecords, mean: MeanScores | None) -> Classes | None:
    """Return the classes of a run's test, else of its last validation; None without either.

    Raises:
        ValueError: confusion.csv is damaged.
    """
    others = _figures_of_classes(run.results)
    others.pop(_ACCURACY, None)
    if mean is not None:
        K = mean.values.shape[1]
        matrix = confusion_matrix(mean.values.argmax(-1), mean.labels, K)
        return Classes(run.class_names(K), matrix, "the test", others)
    found = run.confusion()
    if found is None:
        return None
    source = "the test" if run.results else "the last validation"
    return Classes(*found, source, others)


def class_table(runs: Sequence[str], classes: Sequence[Classes]) -> str:
    """Return a sortable table of the classes of runs that have the same ones.

    Args:
        runs: Names of the runs, as short as the headings shall be.
        classes: Classes of each run.
    """
    first = classes[0]
    accuracies = [class_accuracy(own.matrix) for own in classes]
    several = len(runs) > 1
    headings = ["class", "label", "videos"]
    headings += [f"top-1 {run}".strip() for run in runs]
    headings += ["difference"] * (len(runs) == 2)
    others = [(own, name) for own in classes for name in own.others] if not several else []
    headings += [_heading(name) for _, name in others]
    headings += ["taken most often for", "times"] * (not several)
    rows = []
    for label, name in enumerate(first.names):
        tops = [_known(accuracy[label]) for accuracy in accuracies]
        row = [
            named(name),
            number(label, digits=0),
            number(int(first.matrix[label].sum()), digits=0),
        ]
        row += [number(top, digits=1) for top in tops]
        if len(runs) == 2:
            row.append(number(_gain(*tops), digits=1))
        row += [number(_known(own.others[kind].get(name)), digits=1) for own, kind in others]
        if not several:
            row += _worst(first, label)
        rows.append(row)
    return table(headings, rows, is_sortable=True)


def told_table(results: Mapping[str, Any]) -> str:
    """Return a sortable table of what results.json says of each class; empty where it says none.

    It is all that there is of videos of several classes.
    """
    told = _figures_of_classes(results)
    names = dict.fromkeys(name for values in told.values() for name in values)
    if not names:
        return ""
    headings = [*map(_heading, told)]
    rows = [
        [named(name), number(place, digits=0)]
        + [number(_known(values.get(name)), digits=1) for values in told.values()]
        for place, name in enumerate(names)
    ]
    return table(["class", "number", *headings], rows, is_sortable=True)


def confusion_picture(classes: Classes) -> str:
    """Return a confusion matrix, rows true: cells with counts, or a picture of many classes."""
    K = len(classes.names)
    shares = classes.matrix / np.maximum(classes.matrix.sum(1, keepdims=True), 1)
    if K > MOST_COUNTED:
        return f"{_pixels(shares)}{_confused_pairs(classes)}"
    rows = []
    for label, name in enumerate(classes.names):
        cells = [
            f'<td style="--share:{share:.3f}"{" class=strong" if share > 0.7 else ""}>'
            f"{count or ''}</td>"
            for count, share in zip(classes.matrix[label], shares[label], strict=True)
        ]
        rows.append(f'<tr><th scope="row">{text(name)}</th>{"".join(cells)}</tr>')
    heads = "".join(f'<th scope="col">{text(name)}</th>' for name in classes.names)
    return (
        '<div class="box"><table class="cells"><thead><tr><td>true \\ predicted</td>'
        f"{heads}</tr></thead><tbody>\n{chr(10).join(rows)}\n</tbody></table></div>"
    )


def _figures_of_classes(results: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Return what results.json has by class, by its name there."""
    return {
        name: values
        for name, values in results.items()
        if name.startswith(_PREFIX) and isinstance(values, dict)
    }


def _heading(name: str) -> str:
    return name.removeprefix(_PREFIX).replace("_", " ")


def _pixels(shares: np.ndarray) -> str:
    """Return a picture of a pixel a cell; among many classes small shares must be seen, too."""
    opacity = np.round(255 * np.sqrt(shares)).astype(np.uint8)
    pixels = np.concatenate([np.full((*shares.shape, 3), _BLUE, np.uint8), opacity[..., None]], -1)
    address = data_uri(Image.fromarray(pixels), "PNG", optimize=True)
    return (
        f'<img class="pixels" src="{address}" alt="confusion of {len(shares)} classes">'
        '<p class="faint">Rows are true classes and columns predicted ones, by label from the '
        "upper left; the darker, the larger the share of the true class (its root).</p>"
    )


def _confused_pairs(classes: Classes) -> str:
    wrong = classes.matrix - np.diag(classes.matrix.diagonal())
    rows = []
    for place in np.argsort(-wrong, axis=None, kind="stable")[:MOST_CONFUSED]:
        row, column = np.unravel_index(place, wrong.shape)
        if wrong[row, column]:
            counts = (int(wrong[row, column]), int(classes.matrix[row].sum()))
            names = (classes.names[row], classes.names[column])
            rows.append([*map(named, names), *(number(count, digits=0) for count in counts)])
    return table(["true class", "taken for", "times", "of"], rows, is_sortable=True)


def _worst(classes: Classes, label: int) -> list[Cell]:
    """Return the class that a class is taken for most often, and how often."""
    wrong = classes.matrix[label].copy()
    wrong[label] = 0
    if not wrong.any():
        return [named(""), number(None)]
    return [named(classes.names[wrong.argmax()]), number(int(wrong.max()), digits=0)]


def _gain(first: float | None, second: float | None) -> float | None:
    return None if first is None or second is None else second - first


def _known(value: Any) -> float | None:
    is_number = isinstance(value, int | float | np.floating) and not np.isnan(value)
    return float(value) if is_number else None
