"""Image files to pictures as a viewer shows them: of the formats of frames, of a bounded size."""

import struct
from typing import BinaryIO

import numpy as np
from PIL import Image, UnidentifiedImageError

from datasets.decode.jpeg import decode_fast

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

ORIENTATION = 0x0112  # EXIF's tag
# Its values from 2 on, to what shows the stored picture upright; any other says nothing.
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,  # PIL counts counter-clockwise
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

# What Pillow raises on a broken image file: damaged PNG chunks are a SyntaxError.
IMAGE_ERRORS = (OSError, EOFError, SyntaxError, ValueError, Image.DecompressionBombError)


def decode_image(file: BinaryIO, max_pixels: int = MAX_FRAME_PIXELS) -> np.ndarray:
    """Decode an image as RGB, uint8 (H, W, 3), as a viewer shows it.

    It is turned upright as its EXIF says; of 16 bits the upper 8 count; what is transparent shows
    white. Colour profiles are not applied.

    Args:
        file: Image file; its suffix does not count, but its format is one of `FORMATS`.
        max_pixels: Largest number of pixels that it may have, by its header.

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
        turn = UPRIGHT.get(_orientation(image))
        if image.format == "JPEG" and image.mode == "RGB" and turn is None:
            pixels = decode_fast(file, *image.size)
            if pixels is not None:
                return pixels
        shown = image if _is_plain(image) else _to_rgb(image)
        return np.asarray(shown if turn is None else shown.transpose(turn))


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


def _is_plain(image: Image.Image) -> bool:
    return image.mode == "RGB" and "transparency" not in image.info


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("F"):
        raise ValueError("pixels are fractions, of which no scale is known; use 8 or 16 bits")
    if image.mode.startswith("I"):  # a grey PNG of 16 bits: Pillow would cut at 255
        return _from_grey16(image)
    if "A" not in image.mode and "transparency" not in image.info:
        return image.convert("RGB")
    colour = image.info.get("transparency")
    if isinstance(colour, tuple) and max(colour) > 255:
        raise ValueError(f"the transparent colour {colour} of 16 bits, which Pillow does not find")
    with_alpha = image.convert("RGBA")
    if with_alpha.getchannel("A").getextrema() == (255, 255):
        return with_alpha.convert("RGB")
    paper = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(paper, with_alpha).convert("RGB")


def _from_grey16(image: Image.Image) -> Image.Image:
    values = np.asarray(image)
    if values.min() < 0 or values.max() >= 2**16:
        raise ValueError(f"pixels from {values.min()} to {values.max()}; use 8 or 16 bits")
    grey = (values >> 8).astype(np.uint8)  # as Pillow does with 16 bits of each colour
    if "transparency" in image.info:
        grey[values == image.info["transparency"]] = 255
    return Image.fromarray(grey).convert("RGB")


def _orientation(image: Image.Image) -> int:
    """Return what EXIF says of how a picture lies; 0 where it says nothing that can be read."""
    try:
        return image.getexif().get(ORIENTATION, 0)
    except (SyntaxError, ValueError, struct.error):  # it is no part of the picture
        return 0
