"""How a training went, as curves over its epochs, and curves.png where matplotlib is."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from engine.canvas import COLOURS, can_draw, new_figure, pixels_of
from engine.log_lines import epochs_at, number_in, read_log
from engine.whole_file import whole_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FILE = "curves.png"
MOST_POINTS = 400  # of a curve that is drawn: more cannot be told apart
_NO_ACCURACY = ("time", "epoch", "loss_single_views", "num_videos", "num_listed")
_NAMES = {"map": "mAP", "top1": "top-1", "top5": "top-5"}
_COLUMNS = 3


@dataclass(frozen=True)
class Curve:
    """Values over the epochs.

    Attributes:
        name: Name of what is drawn, as ``validation top-1``.
        epochs: Number of epochs done at each value, with fraction.
        values: Values, as many as `epochs` has.
        is_of_epochs: Whether there is a value after each epoch; False: at each training report.
    """

    name: str
    epochs: list[float]
    values: list[float]
    is_of_epochs: bool


@dataclass(frozen=True)
class Panel:
    """Curves that share their axes.

    Attributes:
        title: Title of them all, with the unit.
        curves: Curves, at least one; the first of those of epochs is the one to compare runs by.
    """

    title: str
    curves: list[Curve]


def write_curves(folder: Path) -> None:
    """Draw the curves of a run folder's log.jsonl into its curves.png, where there are any.

    Raises:
        UnwritableError: The file cannot be written.
    """
    panels = panels_of(read_log(folder))
    if not panels or not can_draw():
        return
    pixels = draw_curves(panels)
    with whole_file(folder / FILE) as file:
        Image.fromarray(pixels).save(file, "PNG")


def panels_of(lines: Sequence[dict[str, Any]]) -> list[Panel]:
    """Return loss, accuracies, rate, throughput and data wait of the lines of a log.jsonl."""
    places = epochs_at(lines)
    told = [(place, line) for place, line in zip(places, lines, strict=True) if place is not None]
    train = [(place, line) for place, line in told if line["kind"] == "train"]
    val = [(place, line) for place, line in told if line["kind"] == "val"]
    swa = [(place, line) for place, line in told if line["kind"] == "swa"]
    panels = [
        Panel(
            "loss",
            [
                _curve("training", train, "loss"),
                _curve("validation", val, "loss_single_views"),
                _curve("averaged weights", swa, "loss_single_views"),
            ],
        ),
        Panel("accuracy, %", [_curve("training top-1", train, "top1"), *_accuracies(val, swa)]),
        Panel("learning rate", [_curve("learning rate", train, "lr")]),
        Panel("throughput, clips a second", [_curve("throughput", train, "clips_per_s")]),
        Panel("wait for data, % of the time", [_curve("wait", train, "data_wait", 100)]),
    ]
    filled = [Panel(p.title, [curve for curve in p.curves if curve.values]) for p in panels]
    return [panel for panel in filled if panel.curves]


def draw_curves(panels: Sequence[Panel]) -> np.ndarray:
    """Draw panels side by side, uint8 (H, W, 3); matplotlib must be there."""
    rows = -(-len(panels) // _COLUMNS)
    figure = new_figure(4.0 * _COLUMNS, 3.0 * rows)
    figure.set_layout_engine(None)  # the places are known; to look for them doubles the time
    figure.subplots_adjust(0.05, 0.16 / rows, 0.985, 1 - 0.1 / rows, wspace=0.2, hspace=0.42)
    for place, panel in enumerate(panels, start=1):
        _draw_panel(figure.add_subplot(rows, _COLUMNS, place), panel)
    return pixels_of(figure)


def _draw_panel(axes: "Axes", panel: Panel) -> None:
    for curve, colour in zip(panel.curves, COLOURS, strict=False):
        marker = "o" if curve.is_of_epochs and len(curve.values) <= 50 else None
        axes.plot(
            curve.epochs,
            curve.values,
            color=colour,
            label=curve.name,
            marker=marker,
            markersize=3,
            linewidth=1.2,
        )
    axes.set_title(panel.title, fontsize=10)
    axes.set_xlabel("epochs", fontsize=8)
    axes.tick_params(labelsize=8)
    axes.grid(alpha=0.3)
    if len(panel.curves) > 1:
        axes.legend(fontsize=7)


Places = Sequence[tuple[float, dict[str, Any]]]


def _accuracies(val: Places, swa: Places) -> Iterator[Curve]:
    """Yield a curve for each figure of the validations, whatever their names."""
    names = dict.fromkeys(name for _, line in (*val, *swa) for name in line)
    for name in names:
        if name not in _NO_ACCURACY:
            yield _curve(f"validation {_shown(name)}", val, name)
    if swa:
        yield _curve("averaged weights top-1", swa, "top1")


def _curve(name: str, places: Places, key: str, factor: float = 1.0) -> Curve:
    points = [(at, number_in(line, key)) for at, line in places]
    known = [(at, factor * value) for at, value in points if value is not None]
    epochs, values = [at for at, _ in known], [value for _, value in known]
    is_of_epochs = bool(places) and places[0][1]["kind"] != "train"
    return Curve(name, _thinned(epochs), _thinned(values), is_of_epochs)


def _thinned(values: list[float]) -> list[float]:
    """Return the means of equal parts of a series that has more values than can be seen."""
    if len(values) <= MOST_POINTS:
        return values
    return [float(part.mean()) for part in np.array_split(np.asarray(values), MOST_POINTS)]


def _shown(name: str) -> str:
    return _NAMES.get(name, name.replace("_", " "))
