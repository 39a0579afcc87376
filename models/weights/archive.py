"""Zip archives, checked to the last byte before a library reads them.

A library believes what an archive says of itself: a bit of a directory entry makes torch hand out
memory that nobody wrote to, and a few bytes can stand for gigabytes.
"""

import io
import struct
import zipfile
import zlib
from collections.abc import Sequence
from typing import BinaryIO

MAGIC = b"PK\3\4"
# What a file unfolds to in memory, members or tensors that share bytes: more than so many times its
# size, and some, is an attack on the memory and no weights.
MAX_RATIO, SPARE_BYTES = 8, 2**24

# What zipfile raises on bytes that are no archive; a RuntimeError asks for a password.
_UNREADABLE = (
    *(zipfile.BadZipFile, zlib.error, struct.error, OSError, EOFError, ValueError),
    *(NotImplementedError, RuntimeError, OverflowError, IndexError),
)
_LOCAL = struct.Struct("<IHHHHHIIIHH")
_END, _END64, _LOCATOR = struct.Struct("<IHHHHIIH"), struct.Struct("<IQHHIIQQQQ"), "<IIQI"
_END_MAGIC, _END64_MAGIC, _LOCATOR_MAGIC = 0x06054B50, 0x06064B50, 0x07064B50
_HAS_DESCRIPTOR, _IS_UTF8, _DEFLATE_LEVEL = 0x8, 0x800, 0x6
_MS_DOS_DIRECTORY = 0x10
_UNKNOWN = 0xFFFFFFFF  # a size that another field holds
_CHUNK = 2**20  # bytes read at once


class DamagedError(ValueError):
    """An archive is not as it was written; the text says where."""


def open_archive(file: BinaryIO) -> zipfile.ZipFile:
    """Open a zip archive.

    Raises:
        zipfile.BadZipFile: It is none, or cut short.
    """
    try:
        return zipfile.ZipFile(file)
    except _UNREADABLE as error:
        raise zipfile.BadZipFile(str(error)) from error


def check_archive(
    archive: zipfile.ZipFile, file: BinaryIO, takes_compressed: bool = False
) -> list[zipfile.ZipInfo]:
    """Check that every reader of an archive finds the same members, and the bytes as written.

    Args:
        archive: Opened by `open_archive`.
        file: File that holds the archive.
        takes_compressed: Members may be compressed, within bounds; torch's are not.

    Returns:
        The members.

    Raises:
        DamagedError: Something is not as it should be; says what.
    """
    members = archive.infolist()
    try:
        start = _check_end(archive, file, len(members))
        _check_names(members)
        _check_members(members, file, start, takes_compressed)
        for member in members:
            _check_sum(archive, member)
    except struct.error as error:
        raise DamagedError("a member is said to lie where there is nothing") from error
    except _UNREADABLE as error:
        raise DamagedError(str(error)) from error
    return members


def size_of(file: BinaryIO) -> int:
    """Return how many bytes a file has."""
    return file.seek(0, io.SEEK_END)


def largest_content(size: int) -> int:
    """Return how many bytes the content of a file of a size may have in memory."""
    return MAX_RATIO * size + SPARE_BYTES


def _check_end(archive: zipfile.ZipFile, file: BinaryIO, num_members: int) -> int:
    """Check the directory's place and length where they are stated; return where it begins."""
    size = size_of(file)
    file.seek(size - _END.size)
    magic, _, _, _, count, length, start, comment = _END.unpack(file.read(_END.size))
    end = size - _END.size
    if magic != _END_MAGIC or comment:
        raise ValueError("bytes follow its end")
    file.seek(max(0, end - struct.calcsize(_LOCATOR) - _END64.size))
    tail = file.read(end - file.tell())
    at = len(tail) - struct.calcsize(_LOCATOR)
    if at >= 0 and struct.unpack(_LOCATOR, tail[at:])[0] == _LOCATOR_MAGIC:
        end -= len(tail)
        magic64, _, _, _, _, _, _, count, length, start = _END64.unpack(tail[:at])
        if magic64 != _END64_MAGIC:
            raise ValueError("its directory's end is not where it is said to be")
    if (count, start, start + length) != (num_members, archive.start_dir, end):
        raise ValueError("its directory is not where, or not what, it is said to be")
    return start


def _check_names(members: Sequence[zipfile.ZipInfo]) -> None:
    names = [member.filename for member in members]
    if len({*names}) < len(names):
        raise ValueError("two of its members have one name")
    for member in members:
        if member.is_dir() or member.external_attr & _MS_DOS_DIRECTORY:
            raise ValueError(f"its member {member.filename} is called a folder")


def _check_members(
    members: Sequence[zipfile.ZipInfo], file: BinaryIO, start: int, takes_compressed: bool
) -> None:
    """Check that each member lies where and as both of its headers say, and none in another."""
    size, end = size_of(file), 0
    for member in sorted(members, key=lambda member: member.header_offset):
        methods = (zipfile.ZIP_STORED, *([zipfile.ZIP_DEFLATED] if takes_compressed else []))
        if member.compress_type not in methods:
            raise ValueError(f"its member {member.filename} is compressed")
        if member.compress_type == zipfile.ZIP_STORED and member.compress_size != member.file_size:
            raise ValueError(f"its member {member.filename} has two sizes")
        if member.header_offset < end:
            raise ValueError(f"its member {member.filename} lies in another")
        end = _end_of(member, file)
    if end > start:
        raise ValueError("a member lies in its directory")
    if sum(member.file_size for member in members) > largest_content(size):
        raise ValueError("its members are far larger than the file")


def _end_of(member: zipfile.ZipInfo, file: BinaryIO) -> int:
    """Compare a member's own header with the directory; return where its bytes end."""
    file.seek(member.header_offset)
    magic, _, flags, method, _, _, crc, packed, size, name_length, extra_length = _LOCAL.unpack(
        file.read(_LOCAL.size)
    )
    name = file.read(name_length)
    own = member.orig_filename.encode("utf-8" if flags & _IS_UTF8 else "cp437")
    said = (magic.to_bytes(4, "little"), flags, method, name)
    if said != (MAGIC, member.flag_bits, member.compress_type, own):
        raise ValueError(f"the two headers of {member.filename} differ")
    if flags & ~(_HAS_DESCRIPTOR | _IS_UTF8 | _DEFLATE_LEVEL):
        raise ValueError(f"its member {member.filename} is encrypted or patched")
    pairs = ((crc, member.CRC), (packed, member.compress_size), (size, member.file_size))
    if not flags & _HAS_DESCRIPTOR and any(ours not in (due, _UNKNOWN) for ours, due in pairs):
        raise ValueError(f"the two headers of {member.filename} differ")
    return file.tell() + extra_length + member.compress_size


def _check_sum(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> None:
    try:
        with archive.open(member) as content:
            while content.read(_CHUNK):
                pass
    except (zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(
            f"the bytes of {member.filename} are not those that were written"
        ) from error
