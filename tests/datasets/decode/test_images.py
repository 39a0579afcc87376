import io
import os
import struct
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datasets.annotations import read_list
from datasets.decode.images import FORMATS, IMAGE_ERRORS, MAX_FRAME_PIXELS, decode_image
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


@pytest.mark.parametrize("name", ["GIF", "TIFF", "PPM", "ICO", "EPS"])
def test_other_formats_are_refused_whatever_their_suffix(name: str, tmp_path: Path) -> None:
    file = tmp_path / "img_00001.jpg"
    if name == "EPS":
        file.write_bytes(EPS)
    else:
        Image.new("RGB", (16, 16)).save(file, name)
    reason = r"no image of the formats BMP, JPEG, PNG, WEBP"
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
