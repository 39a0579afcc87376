"""Archives of numpy arrays, ``.npz``, are read without trust in their headers."""

import math
import re
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Literal

import numpy as np

from config.regular_file import open_regular
from models.weights.archive import check_archive, open_archive

NUMBERS = "fiub"  # numpy's letters of kinds of values
TEXTS = "U"
_SUFFIX = ".npy"
_MAGIC = b"\x93NUMPY"
_LENGTH_BYTES = {b"\1\0": 2, b"\2\0": 4}  # by version
_MAX_HEADER = 10_000
_MAX_ITEM = 8  # bytes of a number; torch knows no longer ones
_LAST_LETTER = 0x10FFFF
_HEADER = re.compile(  # as numpy writes it; Python 2 has an L behind a number
    r"\{'descr': '([<>|=])([a-zA-Z])(\d{1,6})', 'fortran_order': (True|False), "
    r"'shape': \(((?:\d{1,18}L?(?:, ?|(?=\))))*)\), \}\s*"
)


def read_arrays(
    path: str | Path, kinds: str = NUMBERS, names: Sequence[str] = ()
) -> dict[str, np.ndarray]:
    """Return the arrays of a ``.npz`` file by name; room is made for no more than it holds.

    Args:
        path: The file.
        kinds: Kinds of value that the arrays may hold: `NUMBERS`, or these and `TEXTS`.
        names: Names of the arrays to read; empty for all.

    Raises:
        ValueError: There is no such file, it is damaged or of another kind, lacks an array, or
            holds something else than these; says what, and leaves it to the caller to name the
            file.
    """
    try:
        with open_regular(path) as file, open_archive(file) as archive:
            members = {
                member.filename.removesuffix(_SUFFIX): member
                for member in check_archive(archive, file, takes_compressed=True)
            }
            missing = [name for name in names if name not in members]
            if missing:
                raise ValueError(f"it has no {', '.join(missing)}")
            return {name: _read(archive, members[name], kinds) for name in names or members}
    except OSError as error:
        raise ValueError(str(error.strerror or error)) from error
    except zipfile.BadZipFile as error:
        raise ValueError(str(error)) from error


def _read(archive: zipfile.ZipFile, member: zipfile.ZipInfo, kinds: str) -> np.ndarray:
    """Return the array of a member."""
    name = repr(member.filename.removesuffix(_SUFFIX))
    with archive.open(member) as content:
        header = _read_header(content)
        if header is None or header[0].kind not in kinds:
            what = "numbers or texts" if TEXTS in kinds else "numbers"
            raise ValueError(f"{name} in it is no array of {what}")
        dtype, shape, order = header
        num_bytes = member.file_size - content.tell()
        if math.prod(shape) * dtype.itemsize != num_bytes:
            raise ValueError(f"{name} in it has {num_bytes} bytes, its header says otherwise")
        values = np.frombuffer(bytearray(content.read()), dtype)
    if dtype.kind in TEXTS and num_bytes and values.view("u4").max() > _LAST_LETTER:
        raise ValueError(f"{name} in it holds no text")
    return values.reshape(shape, order=order).astype(dtype.newbyteorder("="), copy=False)


def _read_header(
    content: IO[bytes],
) -> tuple[np.dtype, tuple[int, ...], Literal["C", "F"]] | None:
    """Return type, shape and order of the array that follows; None where none does."""
    magic, version = content.read(len(_MAGIC)), content.read(2)
    if magic != _MAGIC or version not in _LENGTH_BYTES:
        return None
    length = int.from_bytes(content.read(_LENGTH_BYTES[version]), "little")
    match = _HEADER.fullmatch(content.read(min(length, _MAX_HEADER)).decode("latin1"))
    if not match:
        return None
    byte_order, kind, size, is_column_major, dimensions = match.groups()
    if kind in NUMBERS and int(size) > _MAX_ITEM:
        return None
    try:
        dtype = np.dtype(f"{byte_order}{kind}{size}")
    except TypeError:
        return None
    shape = tuple(int(number) for number in re.findall(r"\d+", dimensions))
    return dtype, shape, "F" if is_column_major == "True" else "C"
