"""Which frame of a video is where, from its packets alone: an exact count, and exact seeking."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from itertools import islice, pairwise
from typing import Any, NamedTuple

from datasets.decode.bitstreams import Bitstream, Kind, describe_bitstream
from datasets.decode.pyav_frames import MIN_SHARE_OF_HEADER, num_frames_in_header

MAX_STEP = 1.9  # from frame to frame, of the usual step
NUM_FIRST_PACKETS = 2 * 16 + 1  # more than can lie between the first one and one shown before it


class Start(NamedTuple):
    """A packet at which decoding may begin.

    Attributes:
        frame: Index of its picture.
        pts: Time of its presentation, in units of the stream.
        size: Number of bytes.
    """

    frame: int
    pts: int
    size: int


class PacketIndex:
    """The frames of a stream by time, and the packets at which decoding may begin.

    Args:
        pts: Time of presentation of every frame, ascending.
        starts: Starts in the order of their frames, that of frame 0 first.
    """

    def __init__(self, pts: list[int], starts: list[Start]) -> None:
        self.pts = pts
        self.starts = starts
        self._frames = [start.frame for start in starts]
        self._by_pts = {start.pts: start for start in starts}

    def last_start(self, frame: int) -> Start:
        """Return the last start that is not after a frame."""
        return self.starts[bisect_right(self._frames, frame) - 1]

    def find(self, packet: Any) -> Start | None:
        """Return the start that a packet of PyAV is; None if it is none."""
        start = self._by_pts.get(packet.pts)  # no two packets have the same
        return start if start and start.size == packet.size else None


def can_be_indexed(stream: Any) -> bool:
    """Say whether it is known, of the codec of a PyAV stream, which packets are pictures."""
    return _describe(stream) is not None


def read_packet_index(container: Any, stream: Any) -> PacketIndex | None:
    """Read all packets of a stream that was just opened, without decoding.

    Returns:
        The index; None unless it is certain that a decode from the start gives these frames.
    """
    bitstream = _describe(stream)
    if bitstream is None:
        return None
    order: list[int] = []  # times of presentation in the order of decoding
    hidden: set[int] = set()  # those that an edit list leaves out
    starts: list[Start] = []
    for packet in _packets(container, stream):
        kind = _kind(packet, bitstream)
        if kind is Kind.ODD:
            return None
        if kind is Kind.START:
            starts.append(Start(len(order), packet.pts, packet.size))
        if packet.is_discard:
            hidden.add(packet.pts)
        order.append(packet.pts)
    if not _begins_well(order, starts) or not _comes_in_order(order, bitstream.max_depth):
        return None
    shown = sorted(set(order) - hidden)
    if not shown or len(shown) < MIN_SHARE_OF_HEADER * num_frames_in_header(stream):
        return None
    if not _is_mp4(container) and _has_gap(shown):  # without a table, lost packets go unnoticed
        return None
    ranked = [start._replace(frame=bisect_left(shown, start.pts)) for start in starts]
    return PacketIndex(shown, ranked)


def count_in_header(container: Any, stream: Any, num_bytes: int) -> int:
    """Count the frames of an MP4 file by the table in its header and the first packets.

    Args:
        container: PyAV's, just opened; its first packets are read.
        stream: Video stream of the container.
        num_bytes: Size of the file.

    Returns:
        The count; 0 unless it is certain that a decode from the start gives as many frames, as long
        as the packets themselves are sound.
    """
    bitstream = _describe(stream)
    if bitstream is None or bitstream.max_depth is None or not _is_mp4(container):
        return 0
    entries = list(stream.index_entries)
    if not stream.frames or not entries:  # in fragments: the table is spread over the file
        return 0
    if any(entry.pos + entry.size > num_bytes for entry in entries):
        return 0
    first = list(islice(_packets(container, stream), NUM_FIRST_PACKETS))
    kinds = [_kind(packet, bitstream) for packet in first]
    order = [packet.pts for packet in first]
    if Kind.ODD in kinds or kinds[0] is not Kind.START or min(order) < order[0]:
        return 0
    return sum(not entry.is_discard for entry in entries)


def rate_of_packets(container: Any, stream: Any) -> float:
    """Return the frames a second by the times of the packets of a stream that was just opened.

    Returns:
        The rate from the first to the last frame; 0 where packets have no times, or there are fewer
        than two.
    """
    shown = {packet.pts for packet in _packets(container, stream) if not packet.is_discard}
    if len(shown) < 2 or None in shown:
        return 0.0
    return float((len(shown) - 1) / ((max(shown) - min(shown)) * stream.time_base))


def _describe(stream: Any) -> Bitstream | None:
    return describe_bitstream(stream.codec.canonical_name, stream.codec_context.extradata or b"")


def _is_mp4(container: Any) -> bool:
    return "mp4" in container.format.name


def _has_gap(pts: list[int]) -> bool:
    """Say whether two frames are so far apart that there may have been one between them."""
    steps = sorted(after - before for before, after in pairwise(pts))
    return bool(steps) and steps[-1] > MAX_STEP * steps[len(steps) // 2]


def _packets(container: Any, stream: Any) -> Iterator[Any]:
    return (packet for packet in container.demux(stream) if packet.size)  # the last only flushes


def _kind(packet: Any, bitstream: Bitstream) -> Kind:
    if packet.pts is None or packet.is_corrupt or packet.has_sidedata("new_extradata"):
        return Kind.ODD
    return bitstream.kind_of(bytes(packet), packet.is_keyframe)


def _begins_well(order: list[int], starts: list[Start]) -> bool:
    """Say whether the first packet is a start, and every one is shown at its own time after it."""
    is_started = bool(starts) and starts[0].frame == 0
    return is_started and min(order) == order[0] and len(set(order)) == len(order)


def _comes_in_order(order: list[int], max_depth: int | None) -> bool:
    """Say whether the decoder, which waits for so many packets, can put the frames in order."""
    earlier: list[int] = []
    for pts in order:
        place = bisect_left(earlier, pts)
        if len(earlier) - place > (max_depth or 0):
            return False
        earlier.insert(place, pts)
    return True
