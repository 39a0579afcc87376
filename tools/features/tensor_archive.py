"""Many arrays in one ``.safetensors`` file, written and read one by one: a set may exceed memory.

The format is eight bytes with the length of a header, the header, JSON, and the arrays behind it.
"""

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from config.json_files import parse_json
from config.regular_file import check_regular
from engine.whole_file import whole_file

_METADATA = "__metadata__"
_LENGTH_BYTES = 8
_TYPES: dict[str, np.dtype] = {
    "F32": np.dtype("<f4"),
    "F64": np.dtype("<f8"),
    "I64": np.dtype("<i8"),
}
_NAMES = {dtype: name for name, dtype in _TYPES.items()}

Form = tuple[np.dtype, tuple[int, ...]]  # type and shape of an array


class TensorArchive:
    """The arrays in a file.

    Args:
        path: Path of the file.

    Attributes:
        forms: Type and shape of each by its name.

    Raises:
        ValueError: There is no such file, or it is not whole.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            check_regular(path)
            size = path.stat().st_size
            with path.open("rb") as file:
                length = int.from_bytes(file.read(_LENGTH_BYTES), "little")
                header = file.read(min(length, size))
        except OSError as error:
            raise ValueError(f"cannot read {str(path)!r}: {error.strerror}") from error
        entries = parse_json(header.decode(errors="replace"), f"the header of {str(path)!r}")
        start = _LENGTH_BYTES + length
        self.forms: dict[str, Form] = {}
        self._starts: dict[str, int] = {}
        end = 0
        try:
            entries.pop(_METADATA, None)
            for name, entry in entries.items():
                self.forms[name] = _TYPES[entry["dtype"]], tuple(entry["shape"])
                first, last = entry["data_offsets"]
                self._starts[name], end = start + first, max(end, last)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{str(path)!r} is no .safetensors file of features") from error
        if start + end != size:
            raise ValueError(f"{str(path)!r} has {size} bytes, its header says {start + end}")

    def read(self, name: str) -> np.ndarray:
        """Return an array by its name."""
        dtype, shape = self.forms[name]
        with self.path.open("rb") as file:
            file.seek(self._starts[name])
            return np.fromfile(file, dtype, math.prod(shape)).reshape(shape)


def write_archive(
    path: Path,
    forms: Mapping[str, Form],
    read: Callable[[str], np.ndarray],
    metadata: Mapping[str, str],
) -> None:
    """Write arrays, which are asked for one by one; the file is there whole or not at all.

    Args:
        path: Path of the file.
        forms: Type and shape of each by its name.
        read: Function from a name to the array.
        metadata: Texts for the header.

    Raises:
        UnwritableError: It cannot be written.
    """
    header: dict[str, Any] = {_METADATA: dict(metadata)}
    end = 0
    for name, (dtype, shape) in forms.items():
        start, end = end, end + dtype.itemsize * math.prod(shape)
        header[name] = {"dtype": _NAMES[dtype], "shape": shape, "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % _LENGTH_BYTES)  # the arrays are aligned
    with whole_file(path) as file:
        file.write(len(text).to_bytes(_LENGTH_BYTES, "little"))
        file.write(text)
        for name, (dtype, shape) in forms.items():
            array = read(name)
            assert array.dtype == dtype, name
            assert array.shape == shape, name
            file.write(np.ascontiguousarray(array).tobytes())
