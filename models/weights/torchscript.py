"""TorchScript archives, as OpenAI's CLIP comes in, read for their weights alone.

Nothing of their code is looked at: ``torch.jit.load`` would compile it. The pickle that holds the
tensors is gone through by `models.weights.plain_pickle`, and each tensor made from the bytes that
the archive has for it.
"""

import io
import math
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from config.regular_file import open_regular
from models.weights.archive import check_archive, largest_content, open_archive, size_of
from models.weights.plain_pickle import Global, PickleReader

_DTYPES = {
    "ByteStorage": torch.uint8,
    "CharStorage": torch.int8,
    "BoolStorage": torch.bool,
    "ShortStorage": torch.int16,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "IntStorage": torch.int32,
    "FloatStorage": torch.float32,
    "LongStorage": torch.int64,
    "DoubleStorage": torch.float64,
}
_STORAGE_MODULES = ("torch", "torch.storage")
_REBUILD = Global("torch._utils", "_rebuild_tensor_v2")
_MAX_OBJECTS, _MAX_NAME = 100_000, 1000  # modules may lie in several others, even in themselves


class _Module:
    """A module, or another object of the archive's own classes, by its attributes."""

    def __init__(self) -> None:
        self.attributes: dict[str, Any] = {}


def is_torchscript(names: list[str]) -> bool:
    """Tell whether the members of an archive are those of a TorchScript file."""
    return any(name.count("/") == 1 and name.endswith("/constants.pkl") for name in names)


def read_torchscript(path: str | Path) -> dict[str, Tensor]:
    """Return the tensors of a TorchScript archive by name, as its ``state_dict`` would.

    Raises:
        zipfile.BadZipFile: It is no archive, or cut short.
        DamagedError: The archive is not as it was written.
        ValueError: The archive holds something else than modules of tensors and plain values.
    """
    with open_regular(path) as file, open_archive(file) as archive:
        members = check_archive(archive, file, takes_compressed=True)  # its code is
        root = members[0].filename.partition("/")[0]
        if f"{root}/data.pkl" not in archive.namelist():
            raise ValueError("its members lie in several folders")
        tensors = _Tensors(archive, root, largest_content(size_of(file)))
        reader = PickleReader(tensors.call, tensors.build, tensors.storage)
        found = reader.read(io.BytesIO(archive.read(f"{root}/data.pkl")))
    return _named_tensors(found)


def _named_tensors(found: Any) -> dict[str, Tensor]:
    """Return the tensors of a module and of those below it by their names."""
    state: dict[str, Tensor] = {}
    waiting, num_seen = [("", found)], 0
    while waiting:
        prefix, value = waiting.pop(0)
        num_seen += 1
        if num_seen > _MAX_OBJECTS or len(prefix) > _MAX_NAME:
            raise ValueError("its modules lie in each other without end")
        if isinstance(value, Tensor):
            state[prefix.removesuffix(".")] = value
        elif isinstance(value, _Module):
            waiting += [(f"{prefix}{name}.", below) for name, below in value.attributes.items()]
    return state


class _Tensors:
    """Makes what the pickle of an archive calls for.

    Args:
        archive: Checked by `check_archive`.
        root: The folder that its members lie in.
        bytes_left: Most bytes that its tensors may have together.
    """

    def __init__(self, archive: zipfile.ZipFile, root: str, bytes_left: int) -> None:
        self._archive, self._root, self._bytes_left = archive, root, bytes_left
        self._storages: dict[tuple[str, str], Tensor] = {}

    def storage(self, name: Any) -> Tensor:
        """Return the values of a storage, flat, by what the pickle calls it."""
        is_named = type(name) is tuple and len(name) == 5 and name[0] == "storage"
        if not is_named or not isinstance(name[1], Global) or not isinstance(name[2], str):
            raise ValueError("it refers to something else than the bytes of a tensor")
        _, (module, kind), key, _, num_items = name
        if module not in _STORAGE_MODULES or kind not in _DTYPES:
            raise ValueError(f"it holds tensors of {module}.{kind}, which are not read")
        if (kind, key) not in self._storages:
            values = self._read(key, _DTYPES[kind])
            if values.numel() != num_items:
                raise ValueError(f"a tensor asks for {num_items} values; there are {len(values)}")
            self._storages[kind, key] = values
        return self._storages[kind, key]

    def call(self, called: Global, arguments: tuple[Any, ...]) -> Any:
        """Return a tensor, an empty module, or a value that is of no interest."""
        if called == _REBUILD:
            return self._tensor(*(*arguments, None, None, None, None)[:4])
        if called == Global("collections", "OrderedDict"):
            return {}
        if called.module.split(".")[0] != "__torch__" and called.module != "torch.jit._pickle":
            raise ValueError(f"it holds a Python object, {called}")
        return _Module()

    def build(self, built: Any, state: Any) -> Any:
        """Give a module its attributes."""
        if isinstance(built, _Module) and isinstance(state, dict):
            built.attributes = {str(name): value for name, value in state.items()}
        return built

    def _read(self, key: str, dtype: torch.dtype) -> Tensor:
        try:
            content = self._archive.read(f"{self._root}/data/{key}")
        except KeyError as error:
            raise ValueError(
                f"a tensor asks for {self._root}/data/{key}, which is not there"
            ) from error
        if len(content) % dtype.itemsize:
            raise ValueError(f"{self._root}/data/{key} is no whole number of values")
        self._bytes_left -= len(content)
        if self._bytes_left < 0:
            raise ValueError("its tensors are far larger than the file")
        return (
            torch.frombuffer(bytearray(content), dtype=dtype)
            if content
            else torch.empty(0, dtype=dtype)
        )

    def _tensor(self, storage: Any, offset: Any, shape: Any, strides: Any) -> Tensor:
        """Return a tensor of its own, after a look at whether it lies within its storage."""
        numbers = (offset, *shape, *strides) if type(shape) is type(strides) is tuple else ()
        is_sized = numbers and all(type(number) is int and number >= 0 for number in numbers)
        if not isinstance(storage, Tensor) or not is_sized or len(shape) != len(strides):
            raise ValueError("it holds a tensor that is not as torch stores them")
        last = offset + sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
        if math.prod(shape) and last >= storage.numel():
            raise ValueError(f"a tensor of the shape {shape} lies beyond its bytes")
        self._bytes_left -= math.prod(shape) * storage.itemsize
        if self._bytes_left < 0:
            raise ValueError("its tensors are far larger than the file")
        return storage.as_strided(shape, strides, offset).clone()
