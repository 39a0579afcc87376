"""Fonts for texts of any script: the one that comes with Pillow, else what this system has."""

import logging
from collections.abc import Iterator, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from PIL import ImageFont

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

OWN = ""  # stands for Pillow's font, of the letters of English alone
# Files that Pillow looks for where Linux, macOS and Windows keep fonts.
FILES = (
    *("DejaVuSans.ttf", "NotoSans-Regular.ttf", "NotoSansCJK-Regular.ttc", "wqy-microhei.ttc"),
    *("Arial Unicode.ttf", "PingFang.ttc", "AppleSDGothicNeo.ttc", "Arial.ttf"),
    *("segoeui.ttf", "msyh.ttc", "msgothic.ttc", "malgun.ttf", "Nirmala.ttc"),
)
_NO_LETTER = "\U0010ffff"  # no font has it: what is drawn for it stands for all that are missing
_SIZE = 20  # pixels, of letters that are compared

_log = logging.getLogger(__name__)


def font_for(text: str, size: float) -> Font:
    """Return the first font that has all letters of a text, else Pillow's.

    Args:
        text: Text of one line.
        size: Size of the letters, pixels.
    """
    return _open(_file_for(text) or OWN, size)


def font_path(text: str) -> str:
    """Return the file of the font that `font_for` takes; empty for Pillow's own."""
    file = _file_for(text)
    font = _open(file, _SIZE) if file else None
    return str(font.path) if isinstance(font, ImageFont.FreeTypeFont) else ""


def drawable(text: str) -> str:
    """Return a text as it can be drawn: ``?`` for letters that no font here has."""
    if _file_for(text) is not None:
        return text
    return "".join(letter if letter.isascii() else "?" for letter in text)


def drawn_names(names: Sequence[str]) -> list[str]:
    """Return names by label as they can be drawn: those of no font here as ``class 3``.

    The warning comes once for the same names.
    """
    return [*_drawn_names(tuple(names))]


@cache
def _drawn_names(names: tuple[str, ...]) -> tuple[str, ...]:
    drawn = [
        f"class {label}" if _file_for(name) is None else name for label, name in enumerate(names)
    ]
    missing = [name for name, other in zip(names, drawn, strict=True) if name != other]
    if missing:
        _log.warning(
            "no font here has all letters of %d class names, as %s: they are drawn as their "
            "numbers; a font of their script, as Noto Sans, mends that",
            *(len(missing), missing[0]),
        )
    return tuple(drawn)


def _file_for(text: str) -> str | None:
    letters = {letter for letter in text if not letter.isspace()}
    return next((f for f in _files() if all(_has(f, letter) for letter in letters)), None)


@cache
def _files() -> tuple[str, ...]:
    return tuple(file for file in _candidates() if _exists(file))


def _candidates() -> Iterator[str]:
    yield OWN
    yield from FILES
    matplotlib = find_spec("matplotlib")
    if matplotlib and matplotlib.origin:  # it brings a font of European scripts
        folder = Path(matplotlib.origin).parent / "mpl-data" / "fonts" / "ttf"
        yield str(folder / "DejaVuSans.ttf")


def _exists(file: str) -> bool:
    try:
        _open(file, _SIZE)
    except OSError:
        return False
    return True


@cache
def _open(file: str, size: float) -> Font:
    return ImageFont.truetype(file, size) if file else ImageFont.load_default(size)


@cache
def _has(file: str, letter: str) -> bool:
    if "\ud800" <= letter <= "\udfff":  # a byte of a name that is not UTF-8
        return False
    return _picture(file, letter) != _picture(file, _NO_LETTER)


@cache
def _picture(file: str, letter: str) -> tuple[tuple[int, int], bytes]:
    mask = _open(file, _SIZE).getmask(letter)
    return mask.size, bytes(mask)
