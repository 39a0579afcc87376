"""What the parameters of an H.264 stream say of the order of its pictures (ITU-T H.264, 7.3.2)."""

from collections.abc import Iterator

HIGH_PROFILES = frozenset({100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135})


def nal_units(data: bytes, length_size: int) -> Iterator[bytes]:
    """Yield the NAL units of H.264 or H.265 data.

    Args:
        data: Bytes of a packet, or of parameters.
        length_size: Number of bytes of the length before each unit; 0: start codes before them.

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


def read_reordering(extradata: bytes, length_size: int) -> tuple[int | None, bool]:
    """Return how far pictures are reordered at most, and whether all are whole frames.

    Args:
        extradata: Parameters that the container holds.
        length_size: Number of bytes of the length before each NAL unit; 0: start codes.

    Returns:
        The depth, None where it is not declared; False where there may be fields, or that cannot
        be read.
    """
    try:
        if length_size:  # avcC: 5 bytes, number of SPS, then each with a length of 2 bytes
            end = 8 + int.from_bytes(extradata[6:8], "big")
            sets = [extradata[8:end]] if extradata[5] & 31 == 1 else []
        else:
            sets = [unit for unit in nal_units(extradata, 0) if unit[0] & 31 == 7]
        (parameters,) = sets
        return _read_sps(Bits(parameters.replace(b"\0\0\3", b"\0\0")[1:]))
    except (ValueError, IndexError):
        return None, False


def _read_sps(bits: "Bits") -> tuple[int | None, bool]:
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


def _skip_high_profile(bits: "Bits") -> None:
    if bits.unsigned() == 3:  # chroma_format_idc
        bits.skip(1)
    bits.unsigned()
    bits.unsigned()
    bits.skip(1)
    if bits.read(1):
        raise ValueError("scaling matrices are not read")


def _read_vui(bits: "Bits") -> int | None:
    """Read video usability information (E.1.1) up to num_reorder_frames; None without it."""
    if bits.read(1) and bits.read(8) == 255:  # aspect ratio
        bits.skip(32)
    if bits.read(1):  # overscan
        bits.skip(1)
    if bits.read(1):  # video signal
        bits.skip(4)
        bits.skip(24 * bits.read(1))
    if bits.read(1):  # chroma location
        bits.unsigned()
        bits.unsigned()
    bits.skip(65 * bits.read(1))  # timing
    has_schedules = [_skip_schedules(bits) for _ in range(2)]
    bits.skip(2 if any(has_schedules) else 1)
    if not bits.read(1):  # bitstream_restriction_flag
        return None
    bits.skip(1)
    for _ in range(4):
        bits.unsigned()
    return bits.unsigned()


def _skip_schedules(bits: "Bits") -> bool:
    """Pass over hrd_parameters (E.1.2), if there are any."""
    if not bits.read(1):
        return False
    num_schedules = bits.unsigned() + 1
    bits.skip(8)
    for _ in range(num_schedules):
        bits.unsigned()
        bits.unsigned()
        bits.skip(1)
    bits.skip(20)
    return True


class Bits:
    """Reads bits and Exp-Golomb codes, the first bit of a byte first."""

    def __init__(self, data: bytes) -> None:
        self._value = int.from_bytes(data, "big")
        self._left = 8 * len(data)

    def read(self, count: int) -> int:
        """Return the next bits as a number.

        Raises:
            ValueError: There are not so many.
        """
        self._left -= count
        if self._left < 0:
            raise ValueError("the data end early")
        return self._value >> self._left & (1 << count) - 1

    def skip(self, count: int) -> None:
        """Pass over bits."""
        self.read(count)

    def unsigned(self) -> int:
        """Return the next Exp-Golomb code, ue(v)."""
        zeros = 0
        while not self.read(1):
            zeros += 1
        return (1 << zeros) - 1 + self.read(zeros)
