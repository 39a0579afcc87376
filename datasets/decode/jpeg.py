"""JPEGs by a library that is faster than Pillow, where one is there that gives the same pixels.

All three call libjpeg-turbo, but Pillow copies the picture twice on the way: simplejpeg takes 0.52
of its time for a frame of 441 x 331, torchvision 0.86.
"""

import io
from collections.abc import Callable
from functools import cache
from typing import BinaryIO

import numpy as np
from PIL import Image

Decode = Callable[[bytes], np.ndarray]

_SPARE_BYTES = 2**20  # of a file, beyond the bytes of its picture, that may be no picture
_DECODING_ERRORS = (ValueError, RuntimeError)  # simplejpeg's, torchvision's


def decode_fast(file: BinaryIO, width: int, height: int) -> np.ndarray | None:
    """Decode a JPEG of three colours, uint8 (H, W, 3); None where Pillow has to say what it is.

    Args:
        file: Image file; its position is left as it is.
        width: Width in its header, pixels.
        height: Height in its header, pixels.
    """
    decode = fast_decoder()
    if decode is None:
        return None
    limit = 3 * width * height + _SPARE_BYTES
    position = file.tell()
    file.seek(0)
    data = file.read(limit + 1)
    file.seek(position)
    if len(data) > limit:
        return None
    try:
        pixels = decode(data)
    except _DECODING_ERRORS:  # Pillow's words for it are the ones that are known
        return None
    return pixels if pixels.shape == (height, width, 3) else None


@cache
def fast_decoder() -> Decode | None:
    """Return the fastest decoder that is installed and gives Pillow's pixels; None if none does."""
    for load in (_of_simplejpeg, _of_torchvision):
        try:
            decode = load()
            if all(_is_as_pillow(decode, progressive) for progressive in (False, True)):
                return decode
        except (ImportError, AttributeError, *_DECODING_ERRORS):  # not there, or built without it
            continue
    return None


def _of_simplejpeg() -> Decode:
    from simplejpeg import decode_jpeg

    return decode_jpeg


def _of_torchvision() -> Decode:
    import torch
    from torchvision.io import ImageReadMode, decode_jpeg

    def decode(data: bytes) -> np.ndarray:
        stored = torch.frombuffer(bytearray(data), dtype=torch.uint8)
        return decode_jpeg(stored, ImageReadMode.RGB).permute(1, 2, 0).numpy()

    return decode


def _is_as_pillow(decode: Decode, progressive: bool) -> bool:
    """Compare a picture of odd size and halved colours, where libraries differ if they do."""
    noise = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    file = io.BytesIO()
    picture = Image.fromarray(noise).resize((45, 37), Image.Resampling.BICUBIC)
    picture.save(file, "JPEG", progressive=progressive)
    with Image.open(file) as expected:
        return np.array_equal(decode(file.getvalue()), np.asarray(expected))
