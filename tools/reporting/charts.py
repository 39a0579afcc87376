"""Curves as SVG in a page, without any library."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from engine.curves import Curve
from tools.reporting.markup import text

NUM_COLOURS = 6  # that the style sheet has
_WIDTH, _HEIGHT = 420, 250  # of the drawing's own units, about a phone's pixels
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 12, 12, 34
_NUM_TICKS = 5
_MOST_MARKED = 50  # values of a curve that are marked one by one


@dataclass(frozen=True)
class Line:
    """A curve in a chart.

    Attributes:
        name: Name in the legend; empty: it has no entry of its own.
        curve: Curve that is drawn.
        colour: Number of its colour.
        is_dashed: Whether it is drawn as dashes.
    """

    name: str
    curve: Curve
    colour: int
    is_dashed: bool = False


def chart(title: str, lines: Sequence[Line], note: str = "") -> str:
    """Return a figure of lines over the epochs, with its title and legend; HTML.

    Args:
        title: Title with the unit.
        lines: Lines, at least one with a value.
        note: Text behind the legend.
    """
    xs = [x for line in lines for x in line.curve.epochs]
    ys = [y for line in lines for y in line.curve.values]
    y_ticks = _ticks(_floor(ys), max(ys))
    x_ticks = [tick for tick in _ticks(0.0, max(xs)) if tick <= max(xs)] or [0.0]
    across = _scale(0.0, max(xs), _LEFT, _WIDTH - _RIGHT)
    up = _scale(y_ticks[0], y_ticks[-1], _HEIGHT - _BOTTOM, _TOP)
    parts = [
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{text(title)}">',
        *(_y_tick(tick, up(tick), y_ticks) for tick in y_ticks),
        *(_x_tick(tick, across(tick), x_ticks) for tick in x_ticks),
        f'<text class="tick" x="{_WIDTH - _RIGHT}" y="{_HEIGHT - 4}" text-anchor="end">epochs'
        "</text>",
    ]
    for line in lines:
        points = [
            (across(x), up(y)) for x, y in zip(line.curve.epochs, line.curve.values, strict=True)
        ]
        parts += [_path(line, points), *_marks(line, points)]
    entries = "".join(
        f'<span class="key c{line.colour % NUM_COLOURS}">{text(line.name)}</span>'
        for line in lines
        if line.name
    )
    return (
        f"<figure><h3>{text(title)}</h3>{''.join(parts)}</svg>"
        f"<figcaption>{entries} {text(note)}</figcaption></figure>"
    )


def _path(line: Line, points: Sequence[tuple[float, float]]) -> str:
    dashed = " dashed" if line.is_dashed else ""
    route = "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
    return f'<path class="line c{line.colour % NUM_COLOURS}{dashed}" d="M{route}"/>'


def _marks(line: Line, points: Sequence[tuple[float, float]]) -> list[str]:
    """Return a dot for each value that is of an epoch, which says itself under the pointer."""
    curve = line.curve
    if len(points) > 1 and not (curve.is_of_epochs and len(points) <= _MOST_MARKED):
        return []
    return [
        f'<circle class="c{line.colour % NUM_COLOURS}" cx="{x:.1f}" cy="{y:.1f}" r="3">'
        f"<title>{text(curve.name)} after epoch {epoch:g}: {value:.4g}</title></circle>"
        for (x, y), epoch, value in zip(points, curve.epochs, curve.values, strict=True)
    ]


def _y_tick(tick: float, y: float, ticks: Sequence[float]) -> str:
    return (
        f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        f'<text class="tick" x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">'
        f"{_label(tick, ticks)}</text>"
    )


def _x_tick(tick: float, x: float, ticks: Sequence[float]) -> str:
    y = _HEIGHT - _BOTTOM
    return (
        f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{y}"/>'
        f'<text class="tick" x="{x:.1f}" y="{y + 15}" text-anchor="middle">'
        f"{_label(tick, ticks)}</text>"
    )


def _label(tick: float, ticks: Sequence[float]) -> str:
    largest = max(map(abs, ticks))
    if largest and not 1e-3 <= largest < 1e5:
        return f"{tick:.1e}".replace("e-0", "e-").replace("e+0", "e") if tick else "0"
    return f"{tick:.6g}"


def _scale(low: float, high: float, start: float, end: float) -> "_Scale":
    return _Scale(low, high - low or 1.0, start, end - start)


@dataclass(frozen=True)
class _Scale:
    """From values to places in the drawing."""

    low: float
    span: float
    start: float
    length: float

    def __call__(self, value: float) -> float:
        return self.start + (value - self.low) / self.span * self.length


def _floor(values: Sequence[float]) -> float:
    """Return where the axis begins: at 0, unless that would flatten the curves."""
    low, high = min(values), max(values)
    return 0.0 if 0 <= low < high / 2 else low


def _ticks(low: float, high: float) -> list[float]:
    """Return round values that begin at or below the lowest and end at or above the highest."""
    span = high - low or abs(high) or 1.0
    rough = span / _NUM_TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * n for n in (1, 2, 5, 10) if power * n >= rough * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(step * n, 12) for n in range(first, max(last, first + 1) + 1)]
