import io
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from PIL import Image

from datasets.decode import images, jpeg
from datasets.decode.images import decode_image


def loaders() -> list[Callable[[], jpeg.Decode]]:
    return [jpeg._of_simplejpeg, jpeg._of_torchvision]


@pytest.fixture(params=loaders(), ids=["simplejpeg", "torchvision"])
def fast(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> jpeg.Decode:
    try:
        decode = request.param()
    except ImportError:
        pytest.skip("not installed")
    monkeypatch.setattr(jpeg, "fast_decoder", lambda: decode)
    return decode


@pytest.fixture
def afresh() -> Iterator[None]:
    jpeg.fast_decoder.cache_clear()
    yield
    jpeg.fast_decoder.cache_clear()


def encode(size: tuple[int, int] = (45, 37), mode: str = "RGB", **options: Any) -> bytes:
    noise = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    file = io.BytesIO()
    image = Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC)
    image.convert(mode).save(file, "JPEG", **options)
    return file.getvalue()


def by_pillow(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"))


@pytest.mark.parametrize("size", [(45, 37), (441, 331), (64, 64), (1, 1), (3, 200)])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"quality": 20},
        {"quality": 100},
        {"subsampling": "4:4:4"},
        {"subsampling": "4:2:2"},
        {"subsampling": "4:1:1"},
        {"progressive": True},
        {"optimize": True},
        {"keep_rgb": True},
        {"restart_marker_blocks": 3},
        {"mode": "L"},
        {"mode": "CMYK"},
    ],
    ids=str,
)
def test_pixels_are_pillow_s(
    fast: jpeg.Decode, size: tuple[int, int], options: dict[str, Any]
) -> None:
    data = encode(size, **options)
    np.testing.assert_array_equal(decode_image(io.BytesIO(data)), by_pillow(data))
    np.testing.assert_array_equal(decode_image(io.BytesIO(data + b"\0" * 999)), by_pillow(data))


def test_plain_frames_are_decoded_by_it(fast: jpeg.Decode, monkeypatch: pytest.MonkeyPatch) -> None:
    given = []
    monkeypatch.setattr(jpeg, "fast_decoder", lambda: lambda data: given.append(data) or fast(data))
    decode_image(io.BytesIO(encode()))
    assert given == [encode()]
    too_long = encode() + b"\0" * (2**20 + 3 * 45 * 37)
    np.testing.assert_array_equal(decode_image(io.BytesIO(too_long)), by_pillow(encode()))
    assert given == [encode()]


def test_damaged_files_end_as_with_pillow(fast: jpeg.Decode) -> None:
    def result(data: bytes) -> object:
        try:
            return decode_image(io.BytesIO(data)).tobytes()
        except images.IMAGE_ERRORS as error:
            return str(error).partition(" <_io")[0].partition(" (")[0]

    whole, rng = encode((60, 50), quality=60), np.random.default_rng(0)
    cut = [whole[: int(share * len(whole))] for share in np.linspace(0.02, 0.999, 30)]
    flipped = []
    for _ in range(150):
        data = bytearray(whole)
        data[rng.integers(len(whole))] ^= 1 << rng.integers(8)
        flipped.append(bytes(data))
    for data in cut + flipped:
        found = result(data)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(images, "decode_fast", lambda *_: None)
            assert found == result(data)


@pytest.mark.usefixtures("afresh")
def test_decoder_of_other_pixels_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    def of_other_pixels() -> jpeg.Decode:
        return lambda data: by_pillow(data) ^ 1

    def missing() -> jpeg.Decode:
        raise ImportError

    monkeypatch.setattr(jpeg, "_of_simplejpeg", of_other_pixels)
    monkeypatch.setattr(jpeg, "_of_torchvision", missing)
    assert jpeg.fast_decoder() is None
    np.testing.assert_array_equal(decode_image(io.BytesIO(encode())), by_pillow(encode()))
