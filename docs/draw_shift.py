"""Draws docs/pictures/shift_light.svg and shift_dark.svg: what the token shift moves in time.

    python docs/draw_shift.py

Rows are frames, columns are the channels of the class token. One channel in FOLD_DIV comes from the
next frame, one from the frame before, the others stay (arXiv:2108.02432; `ops.token_shift`).
"""

from pathlib import Path

NUM_FRAMES, NUM_CHANNELS, FOLD_DIV = 4, 8, 4
CELL, GAP, LEFT, TOP, BETWEEN = 34, 14, 86, 66, 150
FRAMES = ("#4c78c8", "#3f9e6e", "#d2902f", "#b1579c")  # seen on white and on black
INKS = {"light": ("#1f2328", "#59636e"), "dark": ("#f0f6fc", "#9198a1")}  # text, arrows


def main() -> None:
    """Write both pictures."""
    folder = Path(__file__).parent / "pictures"
    for name, inks in INKS.items():
        (folder / f"shift_{name}.svg").write_text(drawing(*inks), encoding="utf-8")


def drawing(text: str, line: str) -> str:
    """Return the picture as SVG, with a colour for its words and one for its arrows."""
    width = 2 * LEFT + 2 * NUM_CHANNELS * CELL + BETWEEN - 60
    height = TOP + NUM_FRAMES * (CELL + GAP) + 44
    right = LEFT + NUM_CHANNELS * CELL + BETWEEN
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
        'font-family="Helvetica, Arial, sans-serif" font-size="15">',
        "<title>The token shift: channels of the class token move to the neighbouring frames"
        "</title>",
        _words(LEFT, 30, text, "class token of each frame, C channels"),
        _words(right, 30, text, "after the shift"),
        _words(LEFT, TOP - 12, line, f"C/{FOLD_DIV}"),
        _words(LEFT + NUM_CHANNELS // FOLD_DIV * CELL, TOP - 12, line, f"C/{FOLD_DIV}"),
    ]
    for frame in range(NUM_FRAMES):
        top = TOP + frame * (CELL + GAP)
        parts.append(_words(18, top + 22, text, f"frame {frame + 1}"))
        for channel in range(NUM_CHANNELS):
            parts.append(_cell(LEFT + channel * CELL, top, frame, line))
            parts.append(_cell(right + channel * CELL, top, source(frame, channel), line))
    middle = TOP + NUM_FRAMES * (CELL + GAP) / 2 - GAP / 2
    start, end = right - BETWEEN + 26, right - 30
    parts.append(
        f'<path d="M{start} {middle}H{end}m-9 -7l9 7l-9 7" fill="none" stroke="{line}" '
        'stroke-width="2"/>'
    )
    parts.append(_words(start, middle - 12, line, "no parameters"))
    bottom = TOP + NUM_FRAMES * (CELL + GAP) + 18
    parts.append(_words(right, bottom, line, "from the next frame | the one before | its own"))
    return "\n".join([*parts, "</svg>", ""])


def source(frame: int, channel: int) -> int:
    """Return the frame that a channel comes from after the shift; -1 where there is none."""
    fold = NUM_CHANNELS // FOLD_DIV
    moved = frame + 1 if channel < fold else frame - 1 if channel < 2 * fold else frame
    return moved if 0 <= moved < NUM_FRAMES else -1


def _cell(x: int, y: int, frame: int, line: str) -> str:
    fill = FRAMES[frame] if frame >= 0 else "none"
    return (
        f'<rect x="{x}" y="{y}" width="{CELL - 3}" height="{CELL}" rx="3" fill="{fill}" '
        f'stroke="{line}" stroke-width="1"/>'
    )


def _words(x: float, y: float, ink: str, words: str) -> str:
    return f'<text x="{x}" y="{y}" fill="{ink}">{words}</text>'


if __name__ == "__main__":
    main()
