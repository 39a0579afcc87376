from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from datasets.decode.bitstreams import Kind, describe_bitstream

av = pytest.importorskip("av")

START, PICTURE, ODD = Kind.START, Kind.PICTURE, Kind.ODD


def kind_of(codec: str, data: bytes, is_keyframe: bool = False, extradata: bytes = b"") -> Kind:
    bitstream = describe_bitstream(codec, extradata)
    assert bitstream is not None
    return bitstream.kind_of(data, is_keyframe)


def annex_b(*units: bytes) -> bytes:
    return b"".join(b"\0\0\1" + unit for unit in units)


@pytest.fixture(scope="module")
def parameters(make_clip: Callable[..., Path]) -> bytes:
    """Those of an H.264 stream with start codes."""
    with av.open(str(make_clip("x264_plain.avi"))) as container:
        return container.streams.video[0].codec_context.extradata


@pytest.mark.parametrize(
    ("units", "expected"),
    [
        ([b"\x65\x88"], START),  # IDR
        ([b"\x67ab", b"\x68c", b"\x65\x88", b"\x65\x20"], START),  # its second slice
        ([b"\x41\x9a"], PICTURE),
        ([b"\x06abc", b"\x41\x9a", b"\x41\x20"], PICTURE),
        ([b"\x68c", b"\x41\x9a"], ODD),  # parameters that a jump would miss
        ([b"\x41\x9a", b"\x41\x9b"], ODD),  # two pictures, or fields
        ([b"\x65\x88", b"\x41\x20"], ODD),
        ([b"\x42\x9a"], ODD),  # data partitioning
        ([b"\x06abc"], ODD),  # no picture
        ([], ODD),
    ],
)
def test_h264_packets(units: list[bytes], expected: Kind, parameters: bytes) -> None:
    assert kind_of("h264", annex_b(*units), extradata=parameters) is expected


@pytest.mark.parametrize(
    ("units", "expected"),
    [
        ([b"\x26\x01\xaf"], START),  # IDR_W_RADL
        ([b"\x2a\x01\xaf", b"\x2a\x01\x20"], START),  # CRA
        ([b"\x40\x01a", b"\x42\x01a", b"\x44\x01a", b"\x28\x01\xaf"], START),
        ([b"\x02\x01\xd0"], PICTURE),
        ([b"\x44\x01a", b"\x02\x01\xd0"], ODD),
        ([b"\x02\x01\xd0", b"\x02\x01\xd0"], ODD),
        ([b"\x02\x09\xd0"], ODD),  # a second layer
        ([b"\x4e\x01a"], ODD),
    ],
)
def test_hevc_packets(units: list[bytes], expected: Kind) -> None:
    assert kind_of("hevc", annex_b(*units)) is expected


def test_length_before_a_unit_that_does_not_fit_is_odd() -> None:
    assert kind_of("hevc", b"\0\0\0\x09\x26\x01\xaf", extradata=b"\1" + b"\xff" * 22) is ODD


def test_vp8_packets() -> None:
    assert kind_of("vp8", b"\x10\0\0") is START
    assert kind_of("vp8", b"\x11\0\0") is PICTURE
    assert kind_of("vp8", b"\x01\0\0") is ODD  # not shown
    assert kind_of("vp8", b"") is ODD


def superframe(*frames: bytes) -> bytes:
    marker = bytes([0xC0 | len(frames) - 1])
    return b"".join(frames) + marker + bytes(len(frame) for frame in frames) + marker


def test_vp9_packets() -> None:
    key, shown, hidden, again = b"\x82I\x83", b"\x86\0", b"\x84\0", b"\x88"
    assert kind_of("vp9", key) is START
    assert kind_of("vp9", shown) is PICTURE
    assert kind_of("vp9", again) is PICTURE
    assert kind_of("vp9", hidden) is ODD
    assert kind_of("vp9", superframe(hidden, shown)) is PICTURE
    assert kind_of("vp9", superframe(key, hidden)) is START
    assert kind_of("vp9", superframe(shown, shown)) is ODD
    assert kind_of("vp9", b"\x12") is ODD
    assert kind_of("vp9", b"") is ODD


def test_av1_packets() -> None:
    delimiter, parameters, frame = b"\x12\0", b"\x0a\2ab", b"\x32\3abc"
    assert kind_of("av1", delimiter + parameters + frame, is_keyframe=True) is START
    assert kind_of("av1", delimiter + frame, is_keyframe=True) is ODD
    assert kind_of("av1", delimiter + frame) is PICTURE
    assert kind_of("av1", b"\x30abc", is_keyframe=True) is ODD  # without a length


def test_mjpeg_packets() -> None:
    assert kind_of("mjpeg", b"\xff\xd8..\xff\xdb..\xff\xc4..") is START
    assert kind_of("mjpeg", b"\xff\xd8..\xff\xdb..") is ODD  # tables of an earlier picture
    assert kind_of("mjpeg", b"") is ODD


@pytest.mark.parametrize("codec", ["mpeg4", "mpeg1video", "mpeg2video", "gif", "wmv2", "ffv1"])
def test_codec_whose_packets_need_not_be_pictures_is_not_described(codec: str) -> None:
    assert describe_bitstream(codec, b"") is None


def test_h264_with_fields_or_unread_parameters_is_not_described(
    make_clip: Callable[..., Path],
) -> None:
    with av.open(str(make_clip("x264_fields.mp4"))) as container:
        extradata = container.streams.video[0].codec_context.extradata
    assert describe_bitstream("h264", extradata) is None
    assert describe_bitstream("h264", b"") is None


def test_starts_of_every_codec_are_its_keyframes_and_closed(
    clip_kind: Any, make_clip: Callable[..., Path]
) -> None:
    with av.open(str(make_clip(clip_kind))) as container:
        stream = container.streams.video[0]
        extradata = stream.codec_context.extradata or b""
        bitstream = describe_bitstream(stream.codec.canonical_name, extradata)
        packets = [packet for packet in container.demux(stream) if packet.size]
    if bitstream is None:
        assert not clip_kind.is_sought
        return
    kinds = [bitstream.kind_of(bytes(packet), packet.is_keyframe) for packet in packets]
    starts = {place for place, kind in enumerate(kinds) if kind is START}
    keyframes = {place for place, packet in enumerate(packets) if packet.is_keyframe}
    assert starts <= keyframes
    if clip_kind.is_sought:
        assert ODD not in kinds
        assert 0 in starts
