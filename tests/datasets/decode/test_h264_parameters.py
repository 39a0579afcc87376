import re
from collections.abc import Callable
from pathlib import Path

import pytest

from datasets.decode.h264_parameters import Bits, nal_units, read_reordering

av = pytest.importorskip("av")


def unsigned(number: int) -> str:
    """Write an Exp-Golomb code."""
    digits = f"{number + 1:b}"
    return "0" * (len(digits) - 1) + digits


def sequence_parameters(
    order_type: int = 0, is_progressive: bool = True, depth: int | None = 2, rest: str = ""
) -> bytes:
    """Write an SPS of the main profile, with timing and one schedule in its VUI."""
    text = f"{77:08b}{0:08b}{30:08b}" + unsigned(0)  # profile, constraints, level, its own number
    text += unsigned(0) + unsigned(order_type)
    text += unsigned(2) if order_type == 0 else ""
    text += unsigned(4) + "0" + unsigned(19) + unsigned(14)
    text += "11" if is_progressive else "001"
    text += "0"  # no cropping
    if depth is None:
        text += "0"
    else:
        schedule = "1" + unsigned(0) + "0" * 8 + unsigned(5) + unsigned(6) + "0" + "0" * 20
        text += "1" + "1" + f"{255:08b}" + "0" * 32 + "0" + "1" + "0" * 4 + "1" + "0" * 24
        text += "0" + "1" + "0" * 65 + schedule + "0" + "0" + "0"
        text += "1" + "1" + unsigned(0) + unsigned(0) + unsigned(10) + unsigned(10)
        text += unsigned(depth) + unsigned(4)
    text += rest + "1"
    text += "0" * (-len(text) % 8)
    body = bytes(int(text[at : at + 8], 2) for at in range(0, len(text), 8))
    return b"\x67" + re.sub(b"\0\0(?=[\0-\3])", b"\0\0\3", body)  # emulation prevention


def in_avcc(parameters: bytes) -> bytes:
    size = len(parameters).to_bytes(2, "big")
    return b"\1\x4d\0\x1e\xff\xe1" + size + parameters + b"\1\0\4\x68\xee\x3c\x80"


@pytest.mark.parametrize("depth", [0, 1, 2, 5])
def test_declared_depth_is_read_behind_everything_that_may_stand_before(depth: int) -> None:
    parameters = sequence_parameters(depth=depth)
    assert read_reordering(in_avcc(parameters), length_size=4) == (depth, True)
    in_stream = b"\0\0\0\1" + parameters + b"\0\0\1\x68\xee\x3c\x80"
    assert read_reordering(in_stream, length_size=0) == (depth, True)


def test_stream_that_declares_nothing_or_has_fields_is_told() -> None:
    read = lambda parameters: read_reordering(in_avcc(parameters), length_size=4)  # noqa: E731
    assert read(sequence_parameters(depth=None)) == (None, True)
    assert read(sequence_parameters(order_type=2, depth=None)) == (0, True)
    assert read(sequence_parameters(is_progressive=False)) == (None, False)
    assert read(sequence_parameters(order_type=1)) == (None, False)
    for cut in range(4, 20):
        assert read(sequence_parameters()[:cut]) == (None, False)
    assert read_reordering(b"", length_size=0) == (None, False)
    assert read_reordering(b"\1\0\0", length_size=4) == (None, False)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("x264.mp4", (2, True)),
        ("x264_plain.avi", (0, True)),
        ("x264_10bit.mp4", (2, True)),
        ("x264_odd.mp4", (2, True)),
        ("x264_fields.mp4", (None, False)),
    ],
)
def test_what_x264_declares_is_read(
    name: str, expected: tuple[int | None, bool], make_clip: Callable[..., Path]
) -> None:
    with av.open(str(make_clip(name))) as container:
        extradata = container.streams.video[0].codec_context.extradata
    assert read_reordering(extradata, 4 if extradata[0] == 1 else 0) == expected


def test_units_are_split_by_length_or_start_code() -> None:
    assert list(nal_units(b"\0\0\1\x67ab\0\0\1\x68c", 0)) == [b"\x67ab", b"\x68c"]
    assert list(nal_units(b"\0\3\x67ab\0\2\x68c", 2)) == [b"\x67ab", b"\x68c"]
    for data in (b"\0\4\x67ab", b"\0\0\x67"):
        with pytest.raises(ValueError, match="length does not fit"):
            list(nal_units(data, 2))


def test_bits_are_read_from_the_left() -> None:
    bits = Bits(bytes([0b1_011_0010, 0b1_0000000]))
    assert [bits.read(1), bits.read(3), bits.unsigned()] == [1, 0b011, 4]
    with pytest.raises(ValueError, match="the data end early"):
        bits.skip(99)
