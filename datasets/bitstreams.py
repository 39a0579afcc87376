"""What the packets of a video stream say about themselves, without decoding a picture.

It is asked for two things: whether the packet is one shown picture, no more and no less, and
whether decoding may begin at it. Codecs of which that cannot be said for certain are not here.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum

HIGH_PROFILES = frozenset({100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135})
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
        kind_of: From the bytes of a packet, and whether its container calls it a keyframe.
        max_depth: So many packets may precede one that is shown before them, and the decoder still
            gives every picture; None: the stream does not say.
    """

    kind_of: Callable[[bytes, bool], Kind]
    max_depth: int | None


def describe_bitstream(codec: str, extradata: bytes) -> Bitstream | None:
    """Return what is known of a stream; None where packets and pictures may not go one by one.

    Args:
        codec: FFmpeg's name of the coding, ``h264``.
        extradata: The parameters that the container holds.
    """
    if codec == "h264":
        length_size = (extradata[4] & 3) + 1 if extradata[:1] == b"\1" and extradata[4:] else 0
        depth, is_progressive = _h264_reordering(extradata, length_size)
        reader = Bitstream(lambda data, _: _h264_kind(data, length_size), depth)
        return reader if is_progressive else None
    if codec == "hevc":
        length_size = (extradata[21] & 3) + 1 if extradata[:1] == b"\1" and extradata[21:] else 0
        return Bitstream(lambda data, _: _hevc_kind(data, length_size), MAX_DEPTH)
    in_order = {"vp8": _vp8_kind, "vp9": _vp9_kind, "av1": _av1_kind, "mjpeg": _mjpeg_kind}
    return Bitstream(in_order[codec], max_depth=0) if codec in in_order else None


def nal_units(data: bytes, length_size: int) -> Iterator[bytes]:
    """Yield the NAL units of H.264 or H.265 data.

    Args:
        data: A packet, or parameters.
        length_size: Bytes of the length before each unit; 0: start codes stand before them.

    Raises:
        ValueError: The lengths do not fit.
    """
    position = 0
    while length_size and position < len(data):
        start = position + length_size
        position = start + int.from_bytes(data[position:start], "big")
        if position > len(data) or position == start:
            raise ValueError("a NAL unit's length does not fit")
        yield data[start:position]
    if not length_size:
        yield from (unit for unit in data.split(b"\0\0\1")[1:] if unit)


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
    bits = _Bits(frame[:2])
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


def _h264_reordering(extradata: bytes, length_size: int) -> tuple[int | None, bool]:
    """Return the reordering depth that the parameters declare, and that there are no fields."""
    try:
        if length_size:  # avcC: 5 bytes, number of SPS, then each with a length of 2 bytes
            end = 8 + int.from_bytes(extradata[6:8], "big")
            sets = [extradata[8:end]] if extradata[5] & 31 == 1 else []
        else:
            sets = [unit for unit in nal_units(extradata, 0) if unit[0] & 31 == 7]
        (parameters,) = sets
        return _read_sps(_Bits(parameters.replace(b"\0\0\3", b"\0\0")[1:]))
    except (ValueError, IndexError):
        return None, False


def _read_sps(bits: "_Bits") -> tuple[int | None, bool]:
    """Read a sequence parameter set as far as num_reorder_frames; H.264, 7.3.2.1.1 and E.1.1."""
    profile = bits.read(8)
    bits.skip(16)
    bits.unsigned()
    if profile in HIGH_PROFILES:
        _skip_high_profile(bits)
    bits.unsigned()  # log2_max_frame_num_minus4
    order_type = bits.unsigned()
    if order_type == 0:
        bits.unsigned()
    elif order_type == 1:
        return None, False
    bits.unsigned()  # max_num_ref_frames
    bits.skip(1)
    bits.unsigned()  # width and height in macroblocks
    bits.unsigned()
    is_progressive = bool(bits.read(1))
    if not is_progressive:
        return None, False
    bits.skip(1)
    if bits.read(1):  # cropping
        for _ in range(4):
            bits.unsigned()
    if order_type == 2:
        return 0, True
    return (_read_vui(bits) if bits.read(1) else None), True


def _skip_high_profile(bits: "_Bits") -> None:
    if bits.unsigned() == 3:  # chroma_format_idc
        bits.skip(1)
    bits.unsigned()
    bits.unsigned()
    bits.skip(1)
    if bits.read(1):
        raise ValueError("scaling matrices are not read")


def _read_vui(bits: "_Bits") -> int | None:
    if bits.read(1) and bits.read(8) == 255:  # aspect ratio
        bits.skip(32)
    if bits.read(1):  # overscan
        bits.skip(1)
    if bits.read(1):  # video signal
        bits.skip(4)
        if bits.read(1):
            bits.skip(24)
    if bits.read(1):  # chroma location
        bits.unsigned()
        bits.unsigned()
    if bits.read(1):  # timing
        bits.skip(65)
    num_hrd = 0
    for _ in range(2):
        if bits.read(1):
            num_hrd += 1
            _skip_hrd(bits)
    bits.skip(2 if num_hrd else 1)
    if not bits.read(1):  # bitstream_restriction_flag
        return None
    bits.skip(1)
    for _ in range(4):
        bits.unsigned()
    return bits.unsigned()


def _skip_hrd(bits: "_Bits") -> None:
    num_schedules = bits.unsigned() + 1
    bits.skip(8)
    for _ in range(num_schedules):
        bits.unsigned()
        bits.unsigned()
        bits.skip(1)
    bits.skip(20)


class _Bits:
    """Reads bits and Exp-Golomb codes, the first bit of a byte first."""

    def __init__(self, data: bytes) -> None:
        self._value = int.from_bytes(data, "big")
        self._left = 8 * len(data)

    def read(self, count: int) -> int:
        self._left -= count
        if self._left < 0:
            raise ValueError("the data end early")
        return self._value >> self._left & (1 << count) - 1

    def skip(self, count: int) -> None:
        self.read(count)

    def unsigned(self) -> int:
        zeros = 0
        while not self.read(1):
            zeros += 1
        return (1 << zeros) - 1 + self.read(zeros)
