from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from datasets.decode import packet_index
from datasets.decode.packet_index import PacketIndex, Start, count_in_header, read_packet_index
from datasets.decode.pyav_frames import decode_frames, open_video
from datasets.readers import VideoFile

av = pytest.importorskip("av")

Make = Callable[..., Path]


def index_of(path: Path) -> PacketIndex | None:
    with open_video(path) as (container, stream):
        return read_packet_index(container, stream)


def header_count(path: Path) -> int:
    with open_video(path) as (container, stream):
        return count_in_header(container, stream, path.stat().st_size)


def test_last_start_is_the_one_at_or_before_a_frame() -> None:
    starts = [Start(0, 0, 9), Start(12, 120, 8), Start(24, 240, 9)]
    index = PacketIndex(list(range(0, 300, 10)), starts)
    assert [index.last_start(frame).frame for frame in (0, 11, 12, 23, 29)] == [0, 0, 12, 12, 24]


def test_index_has_the_times_of_a_decode_wherever_there_is_one(
    clip_kind: Any, make_clip: Make
) -> None:
    path = make_clip(clip_kind)
    index = index_of(path)
    if index is None:
        assert not clip_kind.is_sought
        return
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    if clip_kind.name != "x264.avi":  # its times are those of decoding: noticed when it is read
        assert index.pts == [frame.pts for frame in frames]
    for start in index.starts:
        assert index.pts[start.frame] == start.pts
    assert len(index.pts) == len(frames)


def test_starts_are_as_far_apart_as_the_encoder_was_told(make_clip: Make) -> None:
    for name, frames in (
        ("x264.mp4", [0, 12, 24, 36, 48, 60]),
        ("x264_long.mp4", [0]),
        ("x264_open.mp4", [0]),  # later groups lean on the one before
        ("x264_refresh.mp4", [0]),
        ("mjpeg.avi", list(range(61))),
    ):
        index = index_of(make_clip(name))
        assert index is not None
        assert [start.frame for start in index.starts] == frames


@pytest.mark.parametrize("name", ["x264.mp4", "x264_variable.mp4", "x265.mp4", "av1.mp4"])
def test_header_of_mp4_gives_the_count(name: str, make_clip: Make) -> None:
    assert header_count(make_clip(name)) == 61


@pytest.mark.parametrize(
    "name", ["x264.mkv", "x264_fragments.mp4", "mpeg4.mp4", "x264_fields.mp4", "moving.gif"]
)
def test_header_is_not_trusted_where_it_may_be_wrong(name: str, make_clip: Make) -> None:
    assert header_count(make_clip(name)) == 0
    assert len(VideoFile(make_clip(name))) == 61


def copy_packets(
    source: Path, target: Path, options: dict[str, str], num_hidden: int = 0, num_dropped: int = 0
) -> None:
    """Copy a stream; put its first frames before time 0, or leave out its first packets."""
    with av.open(str(source)) as old, av.open(str(target), "w", options=options) as new:
        template = old.streams.video[0]
        stream = new.add_stream_from_template(template)
        shift = round(num_hidden / 25 / template.time_base)
        for number, packet in enumerate(old.demux(template)):
            if packet.dts is not None and number >= num_dropped:
                packet.pts -= shift
                packet.dts -= shift
                packet.stream = stream
                new.mux(packet)


def test_header_of_a_cut_file_is_not_trusted(make_clip: Make, tmp_path: Path) -> None:
    path = tmp_path / "faststart.mp4"
    copy_packets(make_clip("x264.mp4"), path, {"movflags": "faststart"})
    assert header_count(path) == 61
    path.write_bytes(path.read_bytes()[:-100])
    assert header_count(path) == 0
    assert index_of(path) is None


def test_frames_that_an_edit_list_hides_are_not_counted(make_clip: Make, tmp_path: Path) -> None:
    path = tmp_path / "part.mp4"
    copy_packets(make_clip("x264.mp4"), path, {"avoid_negative_ts": "disabled"}, num_hidden=7)
    with av.open(str(path)) as container:
        num_frames = sum(1 for _ in container.decode(video=0))
    index = index_of(path)
    assert index is not None
    assert num_frames == 54
    assert header_count(path) == len(index.pts) == len(VideoFile(path)) == num_frames
    frames = list(decode_frames(path))
    for number in (0, 4, 5, 30, 53):
        (frame,) = VideoFile(path).read([number])
        np.testing.assert_array_equal(frame, np.asarray(frames[number]))


def test_stream_that_begins_in_the_middle_is_not_indexed(make_clip: Make, tmp_path: Path) -> None:
    path = tmp_path / "part.mkv"
    copy_packets(make_clip("x264.mkv"), path, {}, num_dropped=5)
    assert index_of(path) is None
    with av.open(str(path)) as container:
        assert len(VideoFile(path)) == sum(1 for _ in container.decode(video=0)) < 56


class _Packet:
    """What the index looks at of a packet."""

    is_discard = is_corrupt = False
    is_keyframe = True
    size = 3

    def __init__(self, pts: int | None, data: bytes = b"\x10\0\0") -> None:
        self.pts = pts
        self.data = data

    def __bytes__(self) -> bytes:
        return self.data

    def has_sidedata(self, name: str) -> bool:
        return False


@contextmanager
def _stream_of(packets: list[_Packet], monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(packet_index, "num_frames_in_header", lambda stream: 0)
    codec = type("Codec", (), {"canonical_name": "vp8"})
    context = type("Context", (), {"extradata": None})
    stream = type("Stream", (), {"codec": codec, "codec_context": context})
    members = {
        "demux": lambda self, stream: iter(packets),
        "format": type("Format", (), {"name": "matroska,webm"}),
    }
    yield type("Container", (), members)(), stream


@pytest.mark.parametrize(
    ("times", "is_indexed"),
    [
        ([0, 1, 2], True),
        ([0, 5, 9, 12], True),
        ([0, 5, 10, 20], False),  # one may be lost
        ([0, 1, 1], False),  # twice
        ([0, None, 2], False),
        ([0, 2, 1], False),  # VP8 is shown in the order of decoding
        ([1, 0, 2], False),  # shown before the first
    ],
)
def test_odd_times_are_not_indexed(
    times: list[int | None], is_indexed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    with _stream_of([_Packet(pts) for pts in times], monkeypatch) as (container, stream):
        index = read_packet_index(container, stream)
    assert (index is not None) == is_indexed


def test_damaged_packet_is_not_indexed(monkeypatch: pytest.MonkeyPatch) -> None:
    packets = [_Packet(0), _Packet(1), _Packet(2)]
    packets[1].is_corrupt = True
    with _stream_of(packets, monkeypatch) as (container, stream):
        assert read_packet_index(container, stream) is None
