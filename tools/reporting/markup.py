"""Texts, tables and pictures as HTML; whatever a name holds is shown, never read as markup."""

import base64
import html
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image

_CONTROLS = {code: f"\\x{code:02x}" for code in (*range(9), 11, 12, *range(14, 32), 127)}


@dataclass(frozen=True)
class Cell:
    """A cell of a table.

    Attributes:
        markup: HTML that it shows.
        order: Number that a column sorts by; None: it sorts by the text.
        style: Name of a CSS class; empty for none.
    """

    markup: str
    order: float | None = None
    style: str = ""


def text(value: object) -> str:
    """Return a value as HTML that shows it: bytes that are not UTF-8 and controls as escapes."""
    shown = str(value).encode(errors="backslashreplace").decode()
    return html.escape(shown.translate(_CONTROLS), quote=True)


def number(value: float | None, digits: int = 2, suffix: str = "") -> Cell:
    """Return the cell of a number; a dash where there is none."""
    if value is None:
        return Cell("-", None, "number")
    return Cell(f"{value:.{digits}f}{suffix}", float(value), "number")


def named(value: object) -> Cell:
    """Return the cell of a text."""
    return Cell(text(value))


def data_uri(image: Image.Image, kind: str, **options: Any) -> str:
    """Return an image as an address that holds it.

    Args:
        image: Image to hold.
        kind: Format, ``PNG`` or ``JPEG``.
        options: Options of Pillow's writer.
    """
    file = io.BytesIO()
    image.save(file, kind, **options)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(file.getvalue()).decode()}"


def table(
    headings: Sequence[str],
    rows: Iterable[Sequence[Cell]],
    is_sortable: bool = False,
) -> str:
    """Return a table that scrolls in its own box; the first cell of a row names it.

    Args:
        headings: Texts of the columns' headings.
        rows: Cells.
        is_sortable: Whether its headings are buttons that sort it; then a long one scrolls.
    """
    named_columns = (
        f'<th scope="col"><button type="button">{text(heading)}</button></th>'
        if is_sortable
        else f'<th scope="col">{text(heading)}</th>'
        for heading in headings
    )
    body = "\n".join(f"<tr>{_row(row)}</tr>" for row in rows)
    head = f"<thead><tr>{''.join(named_columns)}</tr></thead>"
    box = "box short" if is_sortable else "box"
    return f'<div class="{box}"><table>{head}<tbody>\n{body}\n</tbody></table></div>'


def _row(cells: Sequence[Cell]) -> str:
    return "".join(_cell(cell, "td" if place else "th") for place, cell in enumerate(cells))


def _cell(cell: Cell, tag: str) -> str:
    order = "" if cell.order is None else f' data-order="{cell.order:.10g}"'
    style = f' class="{cell.style}"' if cell.style else ""
    scope = ' scope="row"' if tag == "th" else ""
    return f"<{tag}{scope}{style}{order}>{cell.markup}</{tag}>"
