import io
import os
import struct
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from datasets.annotations import read_list
from datasets.decode.images import (
    FORMATS,
    IMAGE_ERRORS,
    MAX_FRAME_PIXELS,
    ORIENTATION,
    decode_image,
)
from datasets.growing_folder import read_whole_image
from datasets.readers import FrameFolder, UnreadableVideoError, open_reader

EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n"


def png_of(width: int, height: int) -> bytes:
    """A PNG of one colour: its rows are made as they are read, none of it lies in memory."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        checked = kind + data
        return struct.pack(">I", len(data)) + checked + struct.pack(">I", zlib.crc32(checked))

    packer, row = zlib.compressobj(), bytes(1 + 3 * width)
    rows = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("suffix", sorted(FORMATS))
def test_formats_of_the_suffixes_are_decoded_as_rgb(suffix: str) -> None:
    data = io.BytesIO()
    Image.new("L", (5, 3), 40).save(data, FORMATS[suffix])
    picture = decode_image(data)
    assert (picture.shape, picture.dtype) == ((3, 5, 3), np.uint8)
    assert abs(picture.astype(int) - 40).max() <= 1  # JPEG and WEBP round


def opened(image: Image.Image, name: str = "PNG", **options: Any) -> np.ndarray:
    data = io.BytesIO()
    image.save(data, name, **options)
    return decode_image(data)


def png_of_16_bits(colour_type: int, values: np.ndarray, transparent: bytes = b"") -> np.ndarray:
    """Decode a PNG of one row of values (W, channels), which Pillow itself cannot write."""
    row = b"\0" + values.astype(">u2").tobytes()
    header = struct.pack(">IIBBBBB", len(values), 1, 16, colour_type, 0, 0, 0)
    parts = [(b"IHDR", header), (b"tRNS", transparent), (b"IDAT", zlib.compress(row))]
    chunks = [
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in [*parts, (b"IEND", b"")]
        if body or kind != b"tRNS"
    ]
    return decode_image(io.BytesIO(b"\x89PNG\r\n\x1a\n" + b"".join(chunks)))


@pytest.mark.parametrize(("colour_type", "channels"), [(0, 1), (2, 3), (4, 2), (6, 4)])
def test_16_bits_show_the_picture_that_8_show(colour_type: int, channels: int) -> None:
    eight = np.arange(0, 256, 5, dtype=np.uint16)
    values = np.repeat(257 * eight[:, None], channels, axis=1)
    if channels in (2, 4):
        values[:, -1] = 65535  # opaque
    shown = png_of_16_bits(colour_type, values)
    assert (shown[0] == eight[:, None]).all()


def test_transparent_colour_of_16_bits_is_white_or_refused() -> None:
    values = np.array([[0], [1000], [1001], [65535]])
    shown = png_of_16_bits(0, values, struct.pack(">H", 1000))
    assert shown[0, :, 0].tolist() == [0, 255, 3, 255]
    with pytest.raises(IMAGE_ERRORS, match=r"the transparent colour .* of 16 bits"):
        png_of_16_bits(2, np.repeat(values, 3, axis=1), struct.pack(">HHH", 1000, 1000, 1000))


@pytest.mark.parametrize(
    ("pixels", "reason"),
    [
        (np.array([[0, 0.5, 1]], np.float32), "pixels are fractions"),
        (np.array([[0, -1]], np.int32), "pixels from -1 to 0; use 8 or 16 bits"),
        (np.array([[0, 65536]], np.int32), "pixels from 0 to 65536; use 8 or 16 bits"),
    ],
    ids=["fractions", "below", "above"],
)
def test_tiff_whose_scale_is_not_known_is_refused(pixels: np.ndarray, reason: str) -> None:
    with pytest.raises(IMAGE_ERRORS, match=reason):
        opened(Image.fromarray(pixels), "TIFF")


@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_turns_a_picture_upright(orientation: int, name: str) -> None:
    rng = np.random.default_rng(0)
    noise = Image.fromarray(rng.integers(0, 256, (3, 4, 3), dtype=np.uint8))
    stored = noise.resize((48, 32))
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    plain = opened(stored, name)
    turned = {  # where the first row and the first column of what is stored are seen (EXIF 2.3)
        1: plain,
        2: plain[:, ::-1],
        3: plain[::-1, ::-1],
        4: plain[::-1],
        5: plain.swapaxes(0, 1),
        6: plain.swapaxes(0, 1)[:, ::-1],
        7: plain.swapaxes(0, 1)[::-1, ::-1],
        8: plain.swapaxes(0, 1)[::-1],
    }[orientation]
    np.testing.assert_array_equal(opened(stored, name, exif=exif), turned)


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_exif_that_names_no_orientation_turns_nothing(orientation: int) -> None:
    picture = Image.fromarray(np.arange(36, dtype=np.uint8).reshape(3, 4, 3))
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    np.testing.assert_array_equal(opened(picture, exif=exif), np.asarray(picture))
    no_exif = opened(picture, exif=b"Exif\0\0not a header")
    np.testing.assert_array_equal(no_exif, np.asarray(picture))


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_what_is_transparent_shows_white(mode: str) -> None:
    grey = Image.new("L", (4, 1), 100)
    grey.putalpha(Image.fromarray(np.array([[0, 51, 204, 255]], np.uint8)))
    shown = opened(grey.convert(mode))[0, :, 0].astype(int)
    assert abs(shown - [255, 224, 131, 100]).max() <= 1


@pytest.mark.parametrize("mode", ["P", "L", "RGB", "1"])
def test_transparent_colour_shows_white(mode: str) -> None:
    image = Image.fromarray(np.array([[0, 255, 0]], np.uint8)).convert(mode)
    colour: Any = (0, 0, 0) if mode == "RGB" else image.getpixel((0, 0))
    assert opened(image, transparency=colour)[0, :, 0].tolist() == [255, 255, 255]
    assert opened(image)[0, :, 0].tolist() == [0, 255, 0]


@pytest.mark.parametrize("name", ["GIF", "PPM", "ICO", "EPS"])
def test_other_formats_are_refused_whatever_their_suffix(name: str, tmp_path: Path) -> None:
    file = tmp_path / "img_00001.jpg"
    if name == "EPS":
        file.write_bytes(EPS)
    else:
        Image.new("RGB", (16, 16)).save(file, name)
    reason = r"no image of the formats BMP, JPEG, PNG, TIFF, WEBP"
    with pytest.raises(UnreadableVideoError, match=f"img_00001.jpg: Pillow: .*{reason}$"):
        FrameFolder(tmp_path).read([0])
    with pytest.raises(UnreadableVideoError, match=reason):
        read_whole_image(file)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_picture_of_too_many_pixels_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    data = png_of(12_000, 12_000)  # 432 MB of 0.4
    (tmp_path / "img_00001.png").write_bytes(data)
    assert len(data) < 0.5e6
    tracemalloc.start()
    try:
        with pytest.raises(UnreadableVideoError, match=r"12000 x 12000 .*MAX_FRAME_PIXELS allows"):
            FrameFolder(tmp_path).read([0] * 8)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 5e6


def test_limit_of_pixels_is_the_users(tmp_path: Path) -> None:
    data = io.BytesIO(png_of(30, 20))
    assert decode_image(data, max_pixels=600).shape == (20, 30, 3)
    with pytest.raises(IMAGE_ERRORS, match=r"30 x 20 pixels; DATA\.MAX_FRAME_PIXELS allows 599"):
        decode_image(data, max_pixels=599)
    (tmp_path / "img_00001.png").write_bytes(data.getvalue())
    with pytest.raises(UnreadableVideoError, match="allows 599"):
        open_reader(tmp_path, max_pixels=599).read([0])
    assert MAX_FRAME_PIXELS >= 7680 * 4320


def test_picture_that_is_a_mere_line_is_refused() -> None:
    assert decode_image(io.BytesIO(png_of(1000, 10))).shape == (10, 1000, 3)
    with pytest.raises(IMAGE_ERRORS, match="20000 x 1 pixels; one side may be 100 times"):
        decode_image(io.BytesIO(png_of(20_000, 1)))


@pytest.mark.parametrize("name", ["img_00001.jpg", "00001.jpg"])
def test_pipe_under_the_name_of_a_frame_is_an_error(name: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / name)
    with pytest.raises(UnreadableVideoError, match=f"{name}: Pillow: .*it is a FIFO, not a file"):
        FrameFolder(tmp_path).read([0])
    with pytest.raises(UnreadableVideoError, match=f"{name}: .*it is a FIFO, not a file"):
        read_whole_image(tmp_path / name)


def test_pipe_under_the_name_of_a_video_or_a_list_is_an_error(tmp_path: Path) -> None:
    pytest.importorskip("av")
    os.mkfifo(tmp_path / "v.mp4")
    for use in (len, lambda reader: reader.read([0])):
        with pytest.raises(UnreadableVideoError, match=r"v\.mp4: .*it is a FIFO, not a file"):
            use(open_reader(tmp_path / "v.mp4"))
    with pytest.raises(ValueError, match=r"the list file .*v\.mp4': it is a FIFO, not a file"):
        read_list(tmp_path / "v.mp4", 3)
