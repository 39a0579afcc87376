"""The plot of a timeline: each class's probability in each window, over the time of the video."""

from collections.abc import Sequence

import numpy as np
from PIL import Image

from engine.canvas import COLOURS, PALE, new_figure, pixels_of, shortened, text_style
from engine.fonts import drawable

SIZE = (12.0, 6.0)  # inches
NUM_ROWS = len(COLOURS)
LONGEST_NAME = 32  # letters


def plot_timeline(
    spans: np.ndarray, end: float, rows: Sequence[tuple[str, np.ndarray]], title: str
) -> Image.Image:
    """Draw a row for each class, and in it a bar for each window, as high as its probability.

    Windows that overlap are drawn through each other. matplotlib must be there.

    Args:
        spans: Beginning and end of each window, seconds, (N, 2).
        end: End of the video, seconds.
        rows: Names that can be drawn, and the probabilities of each window, (N,).
        title: Title above the plot.
    """
    figure = new_figure(*SIZE)
    all_axes = figure.subplots(len(rows), 1, sharex=True, squeeze=False)[:, 0]
    shown = drawable(title)
    all_axes[0].set_title(shown, **text_style(shown))
    starts, widths = spans[:, 0], spans[:, 1] - spans[:, 0]
    opacity = 0.35 if len(spans) > 1 else 0.7
    for number, (axes, (name, values)) in enumerate(zip(all_axes, rows, strict=True)):
        colour = COLOURS[number % len(COLOURS)]
        axes.bar(starts, values, widths, align="edge", color=colour, alpha=opacity, linewidth=0)
        axes.step(*_upper_edge(spans, values), color=colour, where="post", linewidth=2)
        axes.set_ylim(0, 1.05)
        axes.set_yticks([0, 0.5, 1], ["0", "0.5", "1"], fontsize=8)
        axes.grid(axis="x", color=PALE)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_ylabel(
            shortened(name, LONGEST_NAME), rotation=0, ha="right", va="center", **text_style(name)
        )
    all_axes[-1].set_xlim(0, end)
    all_axes[-1].set_xlabel("seconds")
    return Image.fromarray(pixels_of(figure))


def _upper_edge(spans: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the highest probability of the windows at each time, as the corners of steps."""
    times = np.unique(spans)
    covers = (spans[:, :1] <= times[:-1]) & (times[:-1] < spans[:, 1:])  # (N, corners)
    highest = np.where(covers, values[:, None], 0).max(0)
    return times, np.append(highest, highest[-1:])
