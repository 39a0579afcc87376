"""A plot of lines over time, drawn with Pillow."""

from collections.abc import Iterator, Mapping, Sequence

from PIL import Image, ImageDraw, ImageFont

from engine.fonts import font_for

SIZE = (1200, 600)
LEFT, TOP, BOTTOM = 80, 50, 70  # margins, pixels; the legend stands on the right
LEGEND_WIDTH = 300
INK, GRID, PAPER = "#202020", "#dddddd", "white"
# Okabe and Ito's colours, which also the colour-blind tell apart.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
TEXT_SIZE = 16
NUM_TICKS = 8


def plot_lines(
    times: Sequence[float],
    lines: Mapping[str, Sequence[float]],
    title: str,
    x_label: str,
    y_label: str,
) -> Image.Image:
    """Draw lines, with axes and a legend.

    Args:
        times: Along x, ascending, (N,).
        lines: By name, values in 0..1 along y, (N,) each.
        title: Above.
        x_label: Below.
        y_label: Above the y axis.
    """
    image = Image.new("RGB", SIZE, PAPER)
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(TEXT_SIZE)
    right, bottom = SIZE[0] - LEGEND_WIDTH, SIZE[1] - BOTTOM
    start, end = times[0], times[-1] if times[-1] > times[0] else times[0] + 1.0

    def place(time: float, value: float) -> tuple[float, float]:
        x = LEFT + (time - start) / (end - start) * (right - LEFT)
        return x, bottom - value * (bottom - TOP)

    for tick in (0.0, 0.2, 0.4, 0.6, 0.8, 1.0):
        draw.line([place(start, tick), place(end, tick)], GRID)
        draw.text((LEFT - 10, place(start, tick)[1]), f"{tick:.1f}", INK, font, anchor="rm")
    for time, text in ticks(start, end):
        draw.line([place(time, 0.0), place(time, 1.0)], GRID)
        draw.text((place(time, 0.0)[0], bottom + 10), text, INK, font, anchor="mt")
    draw.line([place(start, 1.0), place(start, 0.0), place(end, 0.0)], INK, width=2)
    draw.text(((LEFT + right) / 2, TOP / 2), title, INK, font_for(title, TEXT_SIZE), anchor="mm")
    draw.text(((LEFT + right) / 2, SIZE[1] - 20), x_label, INK, font, anchor="mm")
    draw.text((LEFT, TOP - 8), y_label, INK, font, anchor="mb")
    for number, (name, values) in enumerate(lines.items()):
        colour = COLOURS[number % len(COLOURS)]
        points = [place(time, value) for time, value in zip(times, values, strict=True)]
        draw.line(points, colour, width=3, joint="curve")
        for x, y in points if len(points) < 50 else []:
            draw.ellipse([x - 4, y - 4, x + 4, y + 4], colour)
        y = TOP + 10 + 28 * number
        draw.line([(right + 20, y), (right + 50, y)], colour, width=4)
        own = font_for(name, TEXT_SIZE)
        draw.text((right + 60, y), fitted(name, own), INK, own, anchor="lm")
    return image


def ticks(start: float, end: float) -> Iterator[tuple[float, str]]:
    """Yield round numbers between two, at most NUM_TICKS, with their texts."""
    step = 1e-3
    factors = (2.0, 2.5, 2.0)  # 1, 2, 5, 10, ...
    number = 0
    while (end - start) / step > NUM_TICKS - 1:
        step *= factors[number % 3]
        number += 1
    tick = -(-start // step)  # rounded up
    while tick * step <= end + 1e-9:
        yield tick * step, f"{tick * step:g}"
        tick += 1


def fitted(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    """Shorten a text until it fits into the legend."""
    width = LEGEND_WIDTH - 70
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(f"{text}...") > width:
        text = text[:-1]
    return f"{text}..."
