"""Pictures by matplotlib: figures without a window, and pixels out of them.

It is imported when a picture is drawn, never before: that takes half a second, and can be done
without. Nothing goes through pyplot, whose figures and settings are the caller's.
"""

import logging
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.fonts import font_path

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 100
INK, PALE = "#202020", "#dddddd"
# Okabe and Ito's colours, which also the colour-blind tell apart.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")

_log = logging.getLogger(__name__)


@cache
def can_draw() -> bool:
    """Return whether matplotlib is installed; where it is not, say so, once."""
    try:
        import matplotlib.figure  # noqa: F401 - whether it can be
    except ImportError as error:
        _log.warning(
            "pictures are left out, their tables are written: matplotlib cannot be imported (%s); "
            "python -m pip install matplotlib",
            error,
        )
        return False
    return True


def new_figure(width: float, height: float) -> "Figure":
    """Return an empty figure of a size in inches; only where `can_draw`."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=DPI, facecolor="white", layout="constrained")


def pixels_of(figure: "Figure") -> np.ndarray:
    """Draw a figure, uint8 (H, W, 3)."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    with matplotlib.rc_context({"text.usetex": False}):  # names are no TeX, whatever the user's own
        canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def text_style(text: str) -> dict[str, Any]:
    """Return how matplotlib is to write a name: by a font with its letters, and not as maths."""
    path = font_path(text)
    return {"parse_math": False} | ({"font": Path(path)} if path else {})


def shortened(text: str, length: int) -> str:
    """Cut a text off with dots where it has more letters."""
    return text if len(text) <= length else f"{text[: length - 3]}..."
