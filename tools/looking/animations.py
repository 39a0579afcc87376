"""Pictures in a row as a GIF or an mp4."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
from PIL import Image

CODECS = ("libx264", "mpeg4")  # the first that this FFmpeg can write


def write_gif(path: Path, pictures: Sequence[Image.Image], fps: float) -> None:
    """Write pictures as a GIF that goes on for ever; its times are whole hundredths of a second."""
    first, *others = pictures
    first.save(path, save_all=True, append_images=others, duration=round(1000 / fps), loop=0)


def write_mp4(path: Path, pictures: Sequence[Image.Image], fps: float) -> None:
    """Write pictures of one size as an mp4; sides are made even, which the pixel format needs.

    Raises:
        ImportError: PyAV is not installed.
    """
    import av

    codec = next(name for name in CODECS if name in av.codecs_available)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=Fraction(fps).limit_denominator(1000))
        stream.width, stream.height = (side + side % 2 for side in pictures[0].size)
        stream.pix_fmt = "yuv420p"
        for picture in pictures:
            rows, columns = picture.height % 2, picture.width % 2
            pixels = np.pad(np.asarray(picture), ((0, rows), (0, columns), (0, 0)), mode="edge")
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
