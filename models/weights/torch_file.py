"""Files of torch are searched for what they call and claim, before torch reads them.

torch believes the sizes that a file states: a storage that is said to be larger than its bytes is
read beyond them, and one of a file of the time before archives is made room for at once.
"""

import io
import math
from typing import Any, BinaryIO

from models.weights.archive import check_archive, largest_content, open_archive, size_of
from models.weights.plain_pickle import Global, PickleReader

_ITEM_SIZES = {
    **dict.fromkeys(("ByteStorage", "CharStorage", "BoolStorage", "UntypedStorage"), 1),
    **dict.fromkeys(("HalfStorage", "BFloat16Storage", "ShortStorage"), 2),
    **dict.fromkeys(("FloatStorage", "IntStorage"), 4),
    **dict.fromkeys(("DoubleStorage", "LongStorage", "ComplexFloatStorage"), 8),
    "ComplexDoubleStorage": 16,
}
_STORAGE_MODULES = ("torch", "torch.cuda", "torch.storage")
_TENSORS = ("_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_tensor_v3")  # torch._utils
_OTHER_TORCH = (  # what else of torch is a plain value, or wraps a tensor
    Global("torch._utils", "_rebuild_parameter"),
    Global("torch._utils", "_rebuild_parameter_with_state"),
    Global("torch._tensor", "_rebuild_from_type_v2"),
    Global("torch", "Size"),
    Global("torch", "device"),
    Global("torch.serialization", "_get_layout"),
)


class _Storage:
    """The bytes of tensors."""

    def __init__(self, key: str, num_items: int, item_size: int) -> None:
        self.key = key
        self.item_size = item_size
        self.num_bytes = num_items * item_size


class _Opaque:
    """A value that was not looked into."""


def check_torch_archive(file: BinaryIO) -> set[Global]:
    """Check an archive as `check_archive`, and that its pickle asks for the bytes that it has.

    Returns:
        The names that the pickle calls.

    Raises:
        zipfile.BadZipFile: It is no archive, or cut short.
        DamagedError: The file is not as it was written.
        ValueError: The tensors are not as torch stores them.
    """
    with open_archive(file) as archive:
        members = {member.filename: member for member in check_archive(archive, file)}
        root = next(iter(members), "").partition("/")[0]
        if any(not name.startswith(f"{root}/") for name in members):
            raise ValueError("its members lie in several folders")
        if f"{root}/data.pkl" not in members:
            return set()  # of another kind, which torch refuses
        pickle = io.BytesIO(archive.read(f"{root}/data.pkl"))
        storages, called = read_storages(pickle, size_of(file))
    for storage in storages:
        member = members.get(f"{root}/data/{storage.key}")
        if member is None or member.file_size != storage.num_bytes:
            found = "no such member" if member is None else f"{member.file_size}"
            raise ValueError(
                f"a tensor asks for {storage.num_bytes} bytes of {root}/data/{storage.key}, which "
                f"has {found}"
            )
    return called


def check_old_torch_file(file: BinaryIO) -> None:
    """Check that the tensors of a file of the time before archives have room in it.

    Raises:
        ValueError: They have not, or it is no such file.
    """
    data, size = io.BytesIO(file.read()), size_of(file)
    storages: dict[str, int] = {}
    for _ in range(4):  # a magic number, a version, facts of the system, the content
        for storage in read_storages(data, size)[0]:
            storages[storage.key] = max(storage.num_bytes, storages.get(storage.key, 0))
    if sum(storages.values()) > size:
        raise ValueError(f"its tensors ask for {sum(storages.values())} of its {size} bytes")


def read_storages(file: BinaryIO, size: int) -> tuple[list[_Storage], set[Global]]:
    """Return the storages that a pickle of torch asks for, and the names that it calls.

    Args:
        file: File of bytes in memory, at the position where the pickle begins.
        size: Size of the whole file in bytes; the tensors may not be much larger.

    Raises:
        ValueError: The file is no such pickle, or has objects other than plain values and tensors.
    """
    scan = _TensorScan(size)
    PickleReader(scan.call, lambda built, state: built, scan.persistent).read(file)
    return scan.storages, scan.called


class _TensorScan:
    """Notes the storages of a pickle and what it calls, and adds up its tensors' bytes."""

    def __init__(self, size: int) -> None:
        self.storages: list[_Storage] = []
        self.called: set[Global] = set()
        self._bytes_left = largest_content(size)

    def persistent(self, name: Any) -> _Storage:
        is_named = type(name) is tuple and len(name) in (5, 6) and name[0] == "storage"
        if is_named and isinstance(name[1], Global) and name[1].module in _STORAGE_MODULES:
            key, num_items, item_size = name[2], name[4], _ITEM_SIZES.get(name[1].name)
            is_sized = type(num_items) is int and num_items >= 0
            if isinstance(key, str) and is_sized and item_size is not None:
                self.storages.append(_Storage(key, num_items, item_size))
                return self.storages[-1]
        raise ValueError("it refers to something else than the bytes of a tensor")

    def call(self, called: Global, arguments: tuple[Any, ...]) -> Any:
        self.called.add(called)
        if called.module == "torch._utils" and called.name in _TENSORS:
            self._count(arguments)
        elif called.module.split(".")[0] == "torch" and called not in _OTHER_TORCH:
            raise ValueError(f"it holds a Python object, {called}")
        elif called == Global("builtins", "bytearray") and type(arguments[0]) is int:
            raise ValueError("it asks for memory without content")
        elif called == Global("collections", "OrderedDict"):
            return {}
        return _Opaque()

    def _count(self, arguments: tuple[Any, ...]) -> None:
        storage, shape = (*arguments, None, None, None)[0:3:2]
        if not isinstance(storage, _Storage) or type(shape) is not tuple:
            raise ValueError("it holds a tensor that is not as torch stores them")
        if not all(type(n) is int and n >= 0 for n in shape):
            raise ValueError(f"it holds a tensor of the shape {shape}")
        self._bytes_left -= math.prod(shape) * storage.item_size
        if self._bytes_left < 0:
            raise ValueError("its tensors are far larger than the file")
