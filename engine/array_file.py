"""The arrays of an .npz file as `numpy.savez` writes it, read without trust in what it says."""

import re
import struct
import zipfile
from collections.abc import Sequence
from math import prod
from pathlib import Path

import numpy as np

# All that a damaged or crafted archive raises. RuntimeError: a member is encrypted.
_UNREADABLE = (
    OSError,
    EOFError,
    KeyError,
    zipfile.BadZipFile,
    struct.error,
    RuntimeError,
    OverflowError,
)
_HEADER = re.compile(
    rb"\{'descr': '([<|][fiU][0-9]{1,6})', 'fortran_order': False, "
    rb"'shape': \(((?:[0-9]{1,12},? ?)*)\), \} *\n"
)


def read_arrays(path: str | Path, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Return arrays of numbers or texts by name; nothing is allocated beyond the file's size.

    Args:
        path: The file; its arrays are not compressed.
        names: Of the arrays that are read.

    Raises:
        ValueError: The file is missing, damaged or no such file.
    """
    try:
        if Path(path).exists() and not Path(path).is_file():
            raise ValueError("it is no file")
        with zipfile.ZipFile(path) as archive:
            return {name: _array(_member(archive, f"{name}.npy"), name) for name in names}
    except _UNREADABLE as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ValueError(f"{reason or type(error).__name__}") from error


def _member(archive: zipfile.ZipFile, name: str) -> bytes:
    """Return the bytes of a stored member, its checksum compared."""
    info = archive.getinfo(name)
    if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
        raise ValueError(f"{name!r} in it is compressed")
    return archive.read(info)


def _array(content: bytes, name: str) -> np.ndarray:
    length, start = (struct.unpack("<H", content[8:10])[0], 10) if content[6:7] == b"\1" else (0, 0)
    header = _HEADER.fullmatch(content[start : start + length])
    if content[:6] != b"\x93NUMPY" or not header:
        raise ValueError(f"{name!r} in it is no array of numbers or texts")
    shape = tuple(int(size) for size in re.findall(rb"[0-9]+", header[2]))
    data = content[start + length :]
    try:
        dtype = np.dtype(header[1].decode())
    except TypeError as error:
        raise ValueError(f"{name!r} in it is of no known type, {header[1].decode()}") from error
    if dtype.itemsize * prod(shape) != len(data):
        raise ValueError(f"{name!r} in it has {len(data)} bytes, its header says otherwise")
    if dtype.kind == "U" and data and np.frombuffer(data, "<u4").max() > 0x10FFFF:
        raise ValueError(f"{name!r} in it holds no text")
    return np.frombuffer(data, dtype).reshape(shape).copy()
