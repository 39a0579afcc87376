"""Packs: the frames of a video in one file, a zip archive whose members are stored as they are.

A clip opens one file instead of eight, and a data set has one file a video instead of hundreds.
Python's `zipfile` makes an object for each member: 4.4 ms for 300 frames, where a clip of eight
takes some 20 to decode. The directory of a pack as we write it is read as one array: 0.4 ms.
"""

import io
import struct
import zlib
from collections.abc import Container, Iterable
from pathlib import Path
from typing import BinaryIO

import numpy as np

from datasets.decode.pyav_frames import UnreadableVideoError

MAX_FRAME_BYTES = 2**28  # of one image; 16 bits of RGBA take as much in 33 million pixels
MAX_DIRECTORY_BYTES = 2**27  # of about two million frames

_LOCAL = struct.Struct("<IHHHHHIIIHH")
# magic, flags, method, sum, packed and plain size, lengths of name, extra and comment, offset
_ENTRY = struct.Struct("<I4x2H4x3I3H8xI")
_END, _LOCATOR, _END64 = (
    struct.Struct("<I4H2IH"),
    struct.Struct("<IIQI"),
    struct.Struct("<IQ2H2I4Q"),
)
_LOCAL_MAGIC, _ENTRY_MAGIC = 0x04034B50, 0x02014B50
_END_MAGIC, _LOCATOR_MAGIC, _END64_MAGIC = 0x06054B50, 0x07064B50, 0x06064B50
_IS_ENCRYPTED, _IS_UTF8, _IN_EXTRA, _EXTRA64 = 0x1, 0x800, 0xFFFFFFFF, 1


# Where an image lies: offset of its header, bytes, CRC-32, its name as the archive has it.
Member = tuple[int, int, int, bytes]


class FramePack:
    """The images of a pack, by name; see `datasets.frame_files.FrameFiles`.

    Args:
        path: Path of the pack, for errors.
        file: The pack, opened for reading.

    Raises:
        UnreadableVideoError: It is no zip archive of images that are stored as they are.
    """

    kind = "pack"

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self.path = path
        self._file = file
        try:
            end, directory, number = _find_directory(file)
            self._members = _read_even_directory(directory, number, end)
            if not self._members:
                self._members = _read_directory(directory, number, end)
        except (ValueError, struct.error, OSError) as error:
            reason = "it is no whole zip archive" if isinstance(error, struct.error) else error
            raise UnreadableVideoError(f"{path}: {reason}") from error

    def names(self) -> Iterable[str]:
        """Return the names of all members."""
        return self._members

    def holds(self, name: str) -> bool:
        """Tell whether there is a member of a name."""
        return name in self._members

    def open(self, name: str) -> BinaryIO:
        """Return an image as a file in memory.

        Raises:
            FileNotFoundError: There is no such member.
            UnreadableVideoError: Its bytes are not those that were written.
        """
        if name not in self._members:
            raise FileNotFoundError(name)
        offset, size, check_sum, raw_name = self._members[name]
        data = self._data_at(offset, size, raw_name)
        if len(data) < size or zlib.crc32(data) != check_sum:
            raise UnreadableVideoError(
                f"{self.path / name}: its bytes are not those that were written"
            )
        return io.BytesIO(data)

    def _data_at(self, offset: int, size: int, raw_name: bytes) -> memoryview:
        """Return the bytes of a member; fewer than it has where its header is not what it was."""
        self._file.seek(offset)
        before = _LOCAL.size + len(raw_name)
        block = self._file.read(before + size)
        if len(block) < before or block[_LOCAL.size : before] != raw_name:
            return memoryview(b"")
        magic, *_, name_length, extra_length = _LOCAL.unpack_from(block)
        if magic != _LOCAL_MAGIC or name_length != len(raw_name):
            return memoryview(b"")
        if extra_length:
            block += self._file.read(extra_length)
        return memoryview(block)[before + extra_length :]


def _find_directory(file: BinaryIO) -> tuple[int, bytes, int]:
    """Return where the directory begins, its bytes, and how many members it is to have."""
    size = file.seek(0, io.SEEK_END)
    tail_size = min(size, _END64.size + _LOCATOR.size + _END.size)
    file.seek(size - tail_size)
    tail = file.read(tail_size)
    magic, *_, number, length, start, _ = _END.unpack(tail[-_END.size :])
    if magic != _END_MAGIC:
        raise ValueError("it is no whole zip archive")
    end = size - _END.size
    locator = tail[-_END.size - _LOCATOR.size : -_END.size]
    if len(locator) == _LOCATOR.size and locator.startswith(_LOCATOR_MAGIC.to_bytes(4, "little")):
        magic, *_, number, length, start = _END64.unpack(tail[: _END64.size])
        end -= _LOCATOR.size + _END64.size
        if magic != _END64_MAGIC:
            raise ValueError("it is no whole zip archive")
    if start + length != end:
        raise ValueError("the directory of its zip archive is not where it is said to be")
    if length > MAX_DIRECTORY_BYTES:
        raise ValueError(f"a directory of {length} bytes; {MAX_DIRECTORY_BYTES} are allowed")
    file.seek(start)
    return start, file.read(length), number


def _read_even_directory(directory: bytes, number: int, end: int) -> dict[str, Member]:
    """Return the members by name where all entries are faultless, ASCII and of one length.

    Any other directory gives none, and is left to `_read_directory`.
    """
    if len(directory) < _ENTRY.size:
        return {}
    name_length = int.from_bytes(directory[28:30], "little")
    if not name_length or len(directory) != number * (_ENTRY.size + name_length):
        return {}
    names = ("magic", "flags", "method", "sum", "packed", "size", "lengths", "offset", "name")
    formats = ("<u4", "<u2", "<u2", "<u4", "<u4", "<u4", "S6", "<u4", f"S{name_length}")
    places = (0, 8, 10, 16, 20, 24, 28, 42, _ENTRY.size)
    entries = np.frombuffer(
        directory, np.dtype({"names": names, "formats": formats, "offsets": places})
    )
    letters = np.frombuffer(directory, np.uint8).reshape(number, -1)[:, _ENTRY.size :]
    is_even = (
        (entries["magic"] == _ENTRY_MAGIC).all()
        and (entries["lengths"] == name_length.to_bytes(2, "little")).all()  # no extra, no comment
        and not (entries["method"].any() or (entries["flags"] & _IS_ENCRYPTED).any())
        and (entries["packed"] == entries["size"]).all()
        and entries["size"].max() <= MAX_FRAME_BYTES
        and (entries["offset"].astype(np.int64) + entries["size"]).max() <= end
        and ((letters > 0) & (letters < 128) & (letters != ord("/"))).all()
    )
    if not is_even:
        return {}
    raws = entries["name"].tolist()
    columns = (entries[key].tolist() for key in ("offset", "size", "sum"))
    members = dict(zip(map(bytes.decode, raws), zip(*columns, raws, strict=True), strict=True))
    return members if len(members) == number else {}  # one is there twice


def _read_directory(directory: bytes, number: int, end: int) -> dict[str, Member]:
    """Return the members by name: stored, not encrypted, and before the directory."""
    members: dict[str, Member] = {}
    at, num_found = 0, 0
    while at < len(directory):
        entry = _ENTRY.unpack_from(directory, at)
        magic, flags, method, check_sum, packed, size, name_length, extra, comment, offset = entry
        name_at = at + _ENTRY.size
        extra_at = name_at + name_length
        at = extra_at + extra + comment
        if magic != _ENTRY_MAGIC or at > len(directory):
            raise ValueError("the directory of its zip archive is damaged")
        raw = directory[name_at:extra_at]
        name = raw.decode("utf-8" if flags & _IS_UTF8 else "cp437")
        if _IN_EXTRA in (packed, size, offset):
            large = _large_numbers(directory[extra_at : extra_at + extra], size, packed, offset)
            size, packed, offset = large
        is_odd = method or flags & _IS_ENCRYPTED or size != packed or size > MAX_FRAME_BYTES
        if is_odd or "/" in name or offset + size > end or name in members:
            raise ValueError(
                f"its member {name[:100]!r} {_fault(name, method, flags, size, members)}"
            )
        members[name] = (offset, size, check_sum, raw)
        num_found += 1
    if num_found != number:
        raise ValueError(f"its directory has {num_found} members, not {number}")
    return members


def _fault(name: str, method: int, flags: int, size: int, members: Container[str]) -> str:
    """Say why a member can be no frame of a pack."""
    if "/" in name:
        return "lies in a folder; pack the images alone, as zip -0 -j does"
    if flags & _IS_ENCRYPTED:
        return "is encrypted"
    if method:
        return "is compressed; store the images as they are, as zip -0 does"
    if size > MAX_FRAME_BYTES:
        return f"has {size} bytes; an image may have {MAX_FRAME_BYTES}"
    return "is there twice" if name in members else "does not lie where it is said to"


def _large_numbers(extra: bytes, *numbers: int) -> list[int]:
    """Return numbers of an entry, from its extra field those that it leaves to that field."""
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<HH", extra, at)
        if kind == _EXTRA64:
            values = iter(
                struct.unpack(f"<{length // 8}Q", extra[at + 4 : at + 4 + length // 8 * 8])
            )
            return [next(values, n) if n == _IN_EXTRA else n for n in numbers]
        at += 4 + length
    return list(numbers)
