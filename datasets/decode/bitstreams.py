"""What the packets of a video stream say about themselves, without decoding a picture.

It is asked for two things: whether the packet is one shown picture, no more and no less, and
whether decoding may begin at it. Codecs of which that cannot be said for certain are not here.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum

from datasets.decode.h264_parameters import Bits, nal_units, read_reordering

MAX_DEPTH = 16  # of reordering, by the standards


class Kind(Enum):
    """What a packet is.

    Attributes:
        START: One shown picture; neither it nor any picture shown after it needs earlier packets.
        PICTURE: One shown picture.
        ODD: Anything else, or what cannot be told.
    """

    START = 1
    PICTURE = 2
    ODD = 3


@dataclass(frozen=True)
class Bitstream:
    """What is known of a stream before its packets.

    Attributes:
        kind_of: Function from the bytes of a packet, and whether its container calls it a keyframe.
        max_depth: Number of packets that may precede one that is shown before them, so that the
            decoder still gives every picture; None: the stream does not say.
    """

    kind_of: Callable[[bytes, bool], Kind]
    max_depth: int | None


def describe_bitstream(codec: str, extradata: bytes) -> Bitstream | None:
    """Return what is known of a stream; None where packets and pictures may not go one by one.

    Args:
        codec: Name that FFmpeg has for the coding, ``h264``.
        extradata: Parameters that the container holds.
    """
    if codec == "h264":
        length_size = (extradata[4] & 3) + 1 if extradata[:1] == b"\1" and extradata[4:] else 0
        depth, is_progressive = read_reordering(extradata, length_size)
        reader = Bitstream(lambda data, _: _h264_kind(data, length_size), depth)
        return reader if is_progressive else None
    if codec == "hevc":
        length_size = (extradata[21] & 3) + 1 if extradata[:1] == b"\1" and extradata[21:] else 0
        return Bitstream(lambda data, _: _hevc_kind(data, length_size), MAX_DEPTH)
    in_order = {"vp8": _vp8_kind, "vp9": _vp9_kind, "av1": _av1_kind, "mjpeg": _mjpeg_kind}
    return Bitstream(in_order[codec], max_depth=0) if codec in in_order else None


def _h264_kind(data: bytes, length_size: int) -> Kind:
    try:
        units = [unit for unit in nal_units(data, length_size) if len(unit) > 1]
    except ValueError:
        return Kind.ODD
    types = {unit[0] & 31 for unit in units}
    # first_mb_in_slice is 0, one set bit, in the first slice of a picture or of a field
    num_pictures = sum(unit[0] & 31 in (1, 5) and unit[1] >= 128 for unit in units)
    if num_pictures != 1 or types & {2, 3, 4} or types >= {1, 5}:
        return Kind.ODD
    if 5 in types:
        return Kind.START  # IDR
    return Kind.ODD if types & {7, 8} else Kind.PICTURE  # parameters that a jump would miss


def _hevc_kind(data: bytes, length_size: int) -> Kind:
    try:
        units = [unit for unit in nal_units(data, length_size) if len(unit) > 2]
    except ValueError:
        return Kind.ODD
    if any(unit[0] & 1 or unit[1] & 0xF8 for unit in units):
        return Kind.ODD  # more than one layer
    types = {unit[0] >> 1 for unit in units}
    num_pictures = sum(unit[0] >> 1 < 32 and unit[2] >= 128 for unit in units)
    if num_pictures != 1:
        return Kind.ODD
    if any(16 <= kind <= 21 for kind in types):
        return Kind.START  # what is shown before a CRA picture may need more, what is after not
    return Kind.ODD if types & {32, 33, 34} else Kind.PICTURE


def _vp8_kind(data: bytes, is_keyframe: bool) -> Kind:
    if not data or not data[0] & 16:  # not shown
        return Kind.ODD
    return Kind.PICTURE if data[0] & 1 else Kind.START


def _vp9_kind(data: bytes, is_keyframe: bool) -> Kind:
    headers = [_vp9_header(frame) for frame in _vp9_frames(data)]
    if not headers or None in headers or sum(header[1] for header in headers if header) != 1:
        return Kind.ODD
    return Kind.START if headers[0] and headers[0][0] else Kind.PICTURE


def _vp9_frames(data: bytes) -> list[bytes]:
    """Split a superframe; see annex B of the VP9 specification."""
    marker = data[-1] if data else 0
    num_frames, size = (marker & 7) + 1, (marker >> 3 & 3) + 1
    index = data[-2 - num_frames * size : -1]
    if marker & 0xE0 != 0xC0 or len(index) != 1 + num_frames * size or index[0] != marker:
        return [data]
    frames, position = [], 0
    for start in range(1, len(index), size):
        length = int.from_bytes(index[start : start + size], "little")
        frames.append(data[position : position + length])
        position += length
    return frames


def _vp9_header(frame: bytes) -> tuple[bool, bool] | None:
    """Return whether a frame is a key frame, and whether it is shown; None if it is neither."""
    if len(frame) < 1 or frame[0] >> 6 != 2:
        return None
    bits = Bits(frame[:2])
    bits.skip(2)
    profile = bits.read(1) + 2 * bits.read(1)
    bits.skip(1 if profile == 3 else 0)
    if bits.read(1):
        return False, True  # show_existing_frame
    is_inter = bits.read(1)
    return not is_inter, bool(bits.read(1))


def _av1_kind(data: bytes, is_keyframe: bool) -> Kind:
    # a temporal unit shows one picture, and one that its container may call a keyframe begins
    # with its parameters and a shown key frame
    has_parameters = 1 in {data[at] >> 3 & 15 for at in _obu_starts(data)}
    if is_keyframe:
        return Kind.START if has_parameters else Kind.ODD
    return Kind.PICTURE


def _obu_starts(data: bytes) -> Iterator[int]:
    position = 0
    while position < len(data):
        yield position
        header = data[position]
        position += 2 if header & 4 else 1
        if not header & 2:  # no length: it is the last
            return
        length = shift = 0
        while position < len(data):
            byte = data[position]
            length |= (byte & 127) << shift
            position, shift = position + 1, shift + 7
            if byte < 128:
                break
        position += length


def _mjpeg_kind(data: bytes, is_keyframe: bool) -> Kind:
    # without its own tables it would be read by those of a picture before it
    is_whole = data[:2] == b"\xff\xd8" and b"\xff\xdb" in data and b"\xff\xc4" in data
    return Kind.START if is_whole else Kind.ODD
