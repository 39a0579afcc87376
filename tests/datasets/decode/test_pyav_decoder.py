from types import SimpleNamespace
from typing import Any

import pytest

from datasets.decode import pyav_decoder
from datasets.decode.packet_index import PacketIndex, Start

INDEX = PacketIndex([0, 10, 20, 30, 40, 50], [Start(0, 0, 9), Start(3, 30, 8)])


def frame(pts: int | None, is_corrupt: bool = False) -> Any:
    return SimpleNamespace(pts=pts, is_corrupt=is_corrupt)


def packet(pts: int, size: int, *frames: Any) -> Any:
    return SimpleNamespace(pts=pts, size=size, decode=lambda: list(frames))


def numbers_from(start: Start, packets: list[Any]) -> list[int]:
    """The numbers of the frames that a container of these packets gives after a seek."""
    container = SimpleNamespace(seek=lambda *_, **__: None, demux=lambda stream: iter(packets))
    source = pyav_decoder._decoded_from(container, None, INDEX, start)
    return [number for number, _ in source]


def test_frames_are_numbered_from_where_the_seek_landed() -> None:
    first, second = INDEX.starts
    landed = packet(30, 8, frame(30))
    rest = [packet(50, 2), packet(40, 2, frame(40), frame(50))]
    assert numbers_from(second, [landed, *rest]) == [3, 4, 5]
    early = [packet(0, 9, frame(0)), packet(10, 1, frame(10), frame(20)), landed]
    assert numbers_from(second, early) == [0, 1, 2, 3]
    assert numbers_from(first, early) == [0, 1, 2, 3]


def test_frames_shown_before_an_open_start_are_passed_over() -> None:
    packets = [packet(30, 8), packet(20, 1, frame(20)), packet(40, 1, frame(30), frame(40))]
    assert numbers_from(INDEX.starts[1], packets) == [3, 4]


@pytest.mark.parametrize(
    "packets",
    [
        [packet(10, 1, frame(10))],  # no start
        [packet(30, 7, frame(30))],  # another packet of the same time
        [packet(30, 8, frame(40))],  # a frame is missing
        [packet(30, 8, frame(30), frame(30))],  # twice
        [packet(30, 8, frame(None))],
        [packet(30, 8, frame(30, is_corrupt=True))],  # concealed with other neighbours
        [packet(30, 8, frame(30), frame(40), frame(50), frame(60))],  # one too many
    ],
)
def test_anything_else_is_unexpected(packets: list[Any]) -> None:
    with pytest.raises(pyav_decoder._UnexpectedError):
        numbers_from(INDEX.starts[1], packets)


def test_start_after_the_one_asked_for_is_unexpected() -> None:
    with pytest.raises(pyav_decoder._UnexpectedError):
        numbers_from(INDEX.starts[0], [packet(30, 8, frame(30))])
