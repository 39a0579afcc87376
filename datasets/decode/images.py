"""Image files to pictures: of the formats that a frame may have, and of a bounded size."""

from typing import BinaryIO

import numpy as np
from PIL import Image, UnidentifiedImageError

# What a frame's suffix says that it is. Pillow goes by the content and would take any of its
# formats, of which EPS starts Ghostscript.
FORMATS = {
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".png": "PNG",
    ".bmp": "BMP",
    ".webp": "WEBP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
}
MAX_FRAME_PIXELS = 2**25  # a frame of 8K has 33.2 million, and takes 100 MB as RGB
MAX_ASPECT = 100  # resized to a short side of 224 pixels, a line one pixel high would fill a disk

# What Pillow raises on a broken image file: damaged PNG chunks are a SyntaxError.
IMAGE_ERRORS = (OSError, EOFError, SyntaxError, ValueError, Image.DecompressionBombError)


def decode_image(file: BinaryIO, max_pixels: int = MAX_FRAME_PIXELS) -> np.ndarray:
    """Decode an image as RGB, uint8 (H, W, 3).

    Args:
        file: The image; its suffix does not count, but its format is one of `FORMATS`.
        max_pixels: The most pixels that it may have, by its header.

    Raises:
        Exception: One of `IMAGE_ERRORS`: it is broken, too large, or of another format.
    """
    formats = sorted({*FORMATS.values()})
    try:
        image = Image.open(file, formats=formats)
    except UnidentifiedImageError as error:
        raise UnidentifiedImageError(f"no image of the formats {', '.join(formats)}") from error
    with image:
        check_num_pixels(*image.size, max_pixels)
        return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))


def check_num_pixels(width: int, height: int, max_pixels: int) -> None:
    """Raise ValueError for a picture of more pixels than are decoded, or a mere line of them."""
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise ValueError(
            f"a frame of {width} x {height} pixels; one side may be {MAX_ASPECT} times the other"
        )
    if width * height > max_pixels:
        raise ValueError(
            f"a frame of {width} x {height} pixels; DATA.MAX_FRAME_PIXELS allows {max_pixels}"
        )
