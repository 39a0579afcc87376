"""Pictures of what a model sees and looks at: overlays, strips, and panels side by side.

Pictures are RGB, uint8 (H, W, 3); maps are not negative, (T, rows, columns). Frames are shown
enlarged by a whole factor, so that each pixel that the model sees can be told.
"""

from collections.abc import Iterable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw
from torch import Tensor

from engine.fonts import font_for

LEAST_SIDE = 224  # of a drawn frame, pixels
LINE_HEIGHT = 24
FONT_SIZE = 17
SCALE_WIDTH = 160  # of the colours' scale, pixels
MARGIN = 4
CELL = 48  # of a map in time, pixels
GAP = 4  # between frames, pixels
OPACITY = 0.5  # of the colours over a frame
# dark blue, blue, green, yellow, red: the ends of each fifth
COLOURS = np.array([[20, 20, 90], [40, 90, 220], [60, 190, 120], [250, 220, 50], [220, 30, 30]])


def drawn_side(side: int, least: int = LEAST_SIDE) -> int:
    """Return the side of a drawn frame: a whole multiple, at least 224 pixels or as many."""
    return side * -(-least // side)


def enlarge_frames(frames: np.ndarray, least: int = LEAST_SIDE) -> np.ndarray:
    """Repeat the pixels of frames (T, S, S, 3) up to the drawn side."""
    factor = drawn_side(frames.shape[1], least) // frames.shape[1]
    return frames.repeat(factor, axis=1).repeat(factor, axis=2)


def to_unit_range(maps: Tensor) -> Tensor:
    """Stretch the maps of a clip to 0..1, by its least and its largest value; equal ones to 0."""
    low, high = maps.min(), maps.max()
    return (maps - low) / (high - low) if high > low else torch.zeros_like(maps)


def enlarge_maps(maps: Tensor, covered: int, side: int) -> Tensor:
    """Interpolate maps (T, rows, columns) to pixels, (T, side, side).

    Args:
        maps: Maps of the top left square of the frames.
        covered: Side of that square, pixels of the drawn frames.
        side: Side of the drawn frames, pixels; what the maps do not cover is 0.
    """
    size = (covered, covered)
    pixels = F.interpolate(maps[:, None], size, mode="bilinear", align_corners=False)[:, 0]
    return F.pad(pixels, (0, side - covered, 0, side - covered))


def colour(values: np.ndarray) -> np.ndarray:
    """Turn values of 0..1 into colours from dark blue to red, uint8 (..., 3)."""
    ends = np.linspace(0, 1, len(COLOURS))
    channels = [np.interp(values, ends, COLOURS[:, channel]) for channel in range(3)]
    return np.stack(channels, axis=-1).round().astype(np.uint8)


def overlay(frames: np.ndarray, maps: Tensor, covered_share: float = 1.0) -> np.ndarray:
    """Lay the colours of maps (T, rows, columns) over enlarged frames (T, S, S, 3).

    Args:
        frames: Enlarged frames, uint8.
        maps: Maps, stretched over the clip, so that its frames can be compared.
        covered_share: Share of the frames' side that the maps cover, from the top left.
    """
    side = frames.shape[1]
    values = enlarge_maps(to_unit_range(maps.cpu().float()), round(covered_share * side), side)
    mixed = OPACITY * colour(values.numpy()) + (1 - OPACITY) * frames
    return mixed.round().astype(np.uint8)


def strip(rows: Sequence[np.ndarray], names: Sequence[str], caption: Sequence[str]) -> Image.Image:
    """Draw rows of frames as `named_strip` does, with the scale of the colours below."""
    return with_scale(named_strip(rows, names, caption))


def named_strip(
    rows: Sequence[np.ndarray], names: Sequence[str], caption: Sequence[str] = ()
) -> Image.Image:
    """Draw rows of frames below each other, each (T, S, S, 3); a name below each column."""
    body = np.concatenate([beside(row) for row in rows])
    image = with_caption(body, caption, below=LINE_HEIGHT)
    draw, width = ImageDraw.Draw(image), rows[0].shape[2] + GAP
    for column, name in enumerate(names):
        _write(draw, name, column * width, image.height - LINE_HEIGHT, width)
    return image


def with_scale(image: Image.Image) -> Image.Image:
    """Put a line with the scale of the colours below a picture."""
    width, height = image.size
    tall = Image.new("RGB", (width, height + LINE_HEIGHT), "white")
    tall.paste(image, (0, 0))
    draw = ImageDraw.Draw(tall)
    length = min(SCALE_WIDTH, width // 3)
    left = width // 2 - length // 2
    bar = colour(np.linspace(0, 1, length))[None].repeat(LINE_HEIGHT - 8, axis=0)
    tall.paste(Image.fromarray(bar), (left, height + 4))
    font = font_for("least", FONT_SIZE)
    middle = height + LINE_HEIGHT // 2
    draw.text((left - 2 * MARGIN, middle), "least", "black", font, anchor="rm")
    draw.text((left + length + 2 * MARGIN, middle), "most of the clip", "black", font, anchor="lm")
    return tall


def beside(pictures: Iterable[np.ndarray]) -> np.ndarray:
    """Put pictures (H, W, 3) side by side, white between them and at the right."""
    gap = ((0, 0), (0, GAP), (0, 0))
    return np.concatenate([np.pad(p, gap, constant_values=255) for p in pictures], axis=1)


def with_caption(picture: np.ndarray, lines: Sequence[str], below: int = 0) -> Image.Image:
    """Put lines of text above a picture (H, W, 3), and a band of so many pixels below it."""
    height, width = picture.shape[:2]
    top = LINE_HEIGHT * len(lines)
    image = Image.new("RGB", (width, top + height + below), "white")
    image.paste(Image.fromarray(picture), (0, top))
    draw = ImageDraw.Draw(image)
    for number, line in enumerate(lines):
        _write(draw, line, 0, number * LINE_HEIGHT, width)
    return image


def time_map(shares: Tensor, names: Sequence[str], caption: Sequence[str]) -> Image.Image:
    """Draw which frame (row) has how much of which (column), (T, T), with the frames' names.

    The colours are those of what frames have of others; their own part, mostly more, is red.
    """
    cell, values = CELL, shares.cpu().float()
    others = values[~torch.eye(len(values), dtype=torch.bool)]
    scaled = (values - values.min()) / (others.max() - values.min() if len(others) else 1)
    squares = colour(scaled.nan_to_num().clamp(max=1).numpy())  # equal ones are 0 / 0
    body = squares.repeat(cell, axis=0).repeat(cell, axis=1)
    with_names = np.pad(body, ((0, 0), (cell, 0), (0, 0)), constant_values=255)
    image = with_caption(with_names, caption, below=LINE_HEIGHT)
    draw, top = ImageDraw.Draw(image), LINE_HEIGHT * len(caption)
    for number, name in enumerate(names):
        _write(draw, name, 0, top + number * cell, cell)
        _write(draw, name, (number + 1) * cell, image.height - LINE_HEIGHT, cell)
    return with_scale(image)


def _write(draw: ImageDraw.ImageDraw, text: str, x: int, y: int, width: int) -> None:
    """Write one line, cut off with dots where it is wider than its place."""
    font = font_for(text, FONT_SIZE)
    shown = text
    while len(shown) > 1 and draw.textlength(shown, font) > width - 2 * MARGIN:
        text = text[:-1]
        shown = f"{text}..."
    draw.text((x + MARGIN, y + 1), shown, "black", font)
