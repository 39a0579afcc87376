"""Archives of numpy arrays, ``.npz``, read within the bounds of the file."""

import math
import re
import zipfile
from pathlib import Path
from typing import BinaryIO

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
_HEADER = re.compile(  # as numpy writes it; Python 2 has an L behind a number
    r"\{'descr': '([<>|=])([a-zA-Z])(\d{1,6})', 'fortran_order': (True|False), "
    r"'shape': \(((?:\d{1,18}L?(?:, ?|(?=\))))*)\), \}\s*"
)


def read_arrays(path: str | Path, kinds: str = NUMBERS) -> dict[str, np.ndarray]:
    """Return the arrays of a ``.npz`` file by name.

    Args:
        path: The file.
        kinds: What the arrays may hold: `NUMBERS`, or these and `TEXTS`.

    Raises:
        ValueError: There is no such file, it is damaged or of another kind, or holds something
            else than arrays of these.
    """
    if not Path(path).is_file():
        raise ValueError(f"{path} is not a readable .npz file: there is no such file")
    try:
        with open_regular(path) as file, open_archive(file) as archive:
            members = check_archive(archive, file, takes_compressed=True)
            return {
                member.filename.removesuffix(_SUFFIX): _read(archive, member, kinds)
                for member in members
            }
    except (OSError, zipfile.BadZipFile, ValueError) as error:
        raise ValueError(f"{path} is not a readable .npz file: {error}") from error


def _read(archive: zipfile.ZipFile, member: zipfile.ZipInfo, kinds: str) -> np.ndarray:
    """Return the array of a member; room is made for no more than its bytes."""
    with archive.open(member) as content:
        dtype, shape, order = _read_header(content, member.filename)
        if dtype.kind not in kinds or (dtype.kind in NUMBERS and dtype.itemsize > _MAX_ITEM):
            raise ValueError(f"{member.filename} holds values of the type {dtype}")
        num_bytes = member.file_size - content.tell()
        if math.prod(shape) * dtype.itemsize != num_bytes:
            raise ValueError(
                f"{member.filename} says that it is {shape} values of {dtype.itemsize} bytes, and "
                f"has {num_bytes} bytes"
            )
        array = np.frombuffer(bytearray(content.read()), dtype)
    return array.reshape(shape, order=order).astype(dtype.newbyteorder("="), copy=False)


def _read_header(content: BinaryIO, name: str) -> tuple[np.dtype, tuple[int, ...], str]:
    """Return type, shape and order, C or F, of the array that follows."""
    magic, version = content.read(len(_MAGIC)), content.read(2)
    if magic != _MAGIC or version not in _LENGTH_BYTES:
        raise ValueError(f"{name} is no array of numpy")
    length = int.from_bytes(content.read(_LENGTH_BYTES[version]), "little")
    text = content.read(min(length, _MAX_HEADER)).decode("latin1")
    match = _HEADER.fullmatch(text)
    if not match:
        raise ValueError(f"{name} does not begin as a plain array of numpy: {text[:60]!r}")
    byte_order, kind, size, is_column_major, dimensions = match.groups()
    shape = tuple(int(number) for number in re.findall(r"\d+", dimensions))
    try:
        dtype = np.dtype(f"{byte_order}{kind}{size}")
    except TypeError as error:
        raise ValueError(f"{name} holds values of an unknown type: {error}") from error
    return dtype, shape, "F" if is_column_major == "True" else "C"
