"""Clips as a sheet, a PNG or a page of HTML that needs nothing but itself."""

from collections.abc import Sequence
from pathlib import Path
from textwrap import wrap

import numpy as np
from PIL import Image

from engine.fonts import drawable
from engine.whole_file import whole_file
from tools.looking.pictures import enlarge_frames, named_strip, with_caption
from tools.reporting.markup import data_uri, text
from tools.showing.fed_clips import FedClip

SUFFIXES = (".html", ".png")
_LEAST_SIDE = 112  # of a drawn frame, pixels
_MOST_EXACT = 112  # side of the model's frames up to which a page has them without loss, pixels
_GAP = 12  # between two clips of a sheet, pixels
_LETTER = 10  # width of one in the head of a sheet, pixels

_STYLE = """
:root { color-scheme: light dark; }
body { font: 15px/1.4 system-ui, sans-serif; margin: 1rem; }
h1 { font-size: 1.2rem; overflow-wrap: anywhere; }
figure { margin: 0 0 1.5rem; }
figcaption { overflow-wrap: anywhere; }
figcaption b { font-size: 1.05em; }
.strip { overflow-x: auto; }
.strip img { display: block; image-rendering: pixelated; background: white; }
.bad { border-left: 4px solid #d55e00; padding-left: 0.5rem; }
small { opacity: 0.75; }
"""


def write_sheet(path: Path, clips: Sequence[FedClip], title: str, facts: Sequence[str]) -> None:
    """Write clips into a file, as its suffix says.

    Args:
        path: Path of the file, with one of `SUFFIXES`.
        clips: Clips to show, in order.
        title: Title of the sheet.
        facts: Lines on what is the same for all clips.

    Raises:
        UnwritableError: The file cannot be written.
    """
    with whole_file(path) as file:
        if path.suffix.lower() == ".png":
            _picture(clips, [title, *facts]).save(file, "PNG")
        else:
            file.write(_page(clips, title, facts).encode())


def _strip(clip: FedClip, caption: Sequence[str] = ()) -> Image.Image:
    """Draw the frames of a clip beside each other, with their numbers in the video below them."""
    numbers = [f"frame {index}" for index in clip.indices]
    lines = [drawable(line) for line in caption]
    return named_strip([enlarge_frames(clip.frames, _LEAST_SIDE)], numbers, lines)


def _picture(clips: Sequence[FedClip], head: Sequence[str]) -> Image.Image:
    strips = [
        _strip(clip, [f"{clip.label}  |  {clip.video}", clip.what])
        for clip in clips
        if clip.is_readable
    ]
    width = max(strip.width for strip in strips)
    letters = width // _LETTER
    strips.insert(0, _text([part for line in head for part in wrap(line, letters)], width))
    height = sum(strip.height + _GAP for strip in strips)
    sheet, top = Image.new("RGB", (width, height), "white"), 0
    for strip in strips:
        sheet.paste(strip, (0, top))
        top += strip.height + _GAP
    return sheet


def _text(lines: Sequence[str], width: int) -> Image.Image:
    blank = np.empty((0, width, 3), np.uint8)
    return with_caption(blank, [drawable(line) for line in lines])


def _page(clips: Sequence[FedClip], title: str, facts: Sequence[str]) -> str:
    head = "".join(f"<p><small>{text(fact)}</small></p>\n" for fact in facts)
    figures = "".join(map(_figure, clips))
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{text(title)}</title>
<style>{_STYLE}</style>
</head>
<body>
<h1>{text(title)}</h1>
{head}{figures}</body>
</html>
"""


def _figure(clip: FedClip) -> str:
    caption = f"<b>{text(clip.label)}</b> {text(clip.video)}<br><small>{text(clip.what)}</small>"
    if not clip.is_readable:
        return f'<figure class="bad"><figcaption>{caption}</figcaption></figure>\n'
    source, name = _source(clip), text(f"{clip.label}: {clip.video}")
    image = f'<div class="strip"><img alt="{name}" src="{source}"></div>'
    return f"<figure><figcaption>{caption}</figcaption>{image}</figure>\n"


def _source(clip: FedClip) -> str:
    """Return the strip of a clip as a data URL."""
    kind = "PNG" if clip.frames.shape[1] <= _MOST_EXACT else "JPEG"
    return data_uri(_strip(clip), kind, quality=92, subsampling=0)
