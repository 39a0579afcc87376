"""Files of ``torch.export``, ``.pt2``, gone through before torch loads them.

``torch.export.load`` runs code that a file brings, in five ways: it unpickles sample inputs and
some weights, it calls whatever of torch's modules a node of the graph names, it evaluates sizes and
guards as Python, and names become the text of a function. So what may be in a file is listed here;
that is what our models are exported to, and nothing that is not listed is loaded.
"""

import io
import json
import keyword
import math
import re
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from config.regular_file import open_regular
from models.weights.archive import (
    MAGIC,
    DamagedError,
    check_archive,
    largest_content,
    open_archive,
)
from models.weights.torch_file import check_torch_archive

GRAPH, SAMPLES = "models/model.json", "data/sample_inputs/model.pt"
_WEIGHTS, _CONSTANTS = "data/weights/", "data/constants/"
_TABLES = {
    _WEIGHTS: f"{_WEIGHTS}model_weights_config.json",
    _CONSTANTS: f"{_CONSTANTS}model_constants_config.json",
}
_ENTRY = re.compile(
    rf"{_WEIGHTS}weight_\d+|{_CONSTANTS}tensor_\d+|{GRAPH}|{SAMPLES}|extra/\w+|archive_format|"
    r"archive_version|byteorder|\.data/(version|serialization_id)|\.format_version|"
    r"\.storage_alignment|version|" + "|".join(_TABLES.values())
)
# To export a network with other operations, add them: they must compute on tensors alone, and make
# none larger than their inputs call for.
_OPERATIONS = (
    "_assert_tensor_metadata|_to_copy|adaptive_avg_pool2d|add_?|addmm|alias|amax|avg_pool[23]d|"
    "baddbmm|batch_norm|bmm|cat|chunk|clamp|clone|constant_pad_nd|contiguous|conv[123]d|detach_?|"
    "div_?|dropout|exp|expand|flatten|flip|gelu|group_norm|hardswish|index_select|layer_norm|"
    "lift_fresh(_copy)?|linear|log_softmax|matmul|max_pool[23]d|maximum|mean|minimum|mm|movedim|"
    "mul_?|narrow|neg|pad|permute|pow|relu_?|reshape|roll|rsqrt|scaled_dot_product_attention|"
    "select|sigmoid|silu|slice|softmax|split|split_with_sizes|sqrt|squeeze|stack|sub_?|sum|"
    "sym_size|t|tanh|tensor_split|to|transpose|unbind|unflatten|unsqueeze|view|zeros_like"
)
_TARGET = re.compile(
    rf"torch\.ops\.aten\.({_OPERATIONS})\.[A-Za-z]\w*|_operator\.(add|sub|mul|floordiv|mod|getitem)"
)
_SIZE_PART = re.compile(r"'s\d{1,6}'|[A-Za-z]+|\d+|[(),= -]")
_SIZE_WORD = re.compile("Symbol|Integer|Mul|Add|FloorDiv|positive|nonnegative|integer|True")
_MAX_SIZE_TEXT, _MAX_DIGITS = 1000, 9
_DOTTED = re.compile(r"[A-Za-z0-9_]*(\.[A-Za-z0-9_]+)*")
_VERSION = re.compile(r"[\w.+-]*")
_MARKS = ("stack_trace", "nn_module_stack", "torch_fn")  # of nodes; for people to read
_CONTAINERS = (None, "builtins.tuple", "builtins.list", "builtins.dict")


def check_pt2(path: str | Path) -> None:
    """Refuse a file that ``torch.export.load`` could run code from.

    Raises:
        ValueError: It is no such file, is damaged, or has an entry that is not listed here; the
            text names the entry.
    """
    try:
        with open_regular(path) as file:
            if file.read(len(MAGIC)) != MAGIC:
                raise zipfile.BadZipFile("it is no archive")
            with open_archive(file) as archive:
                members = check_archive(archive, file)
                size = file.seek(0, io.SEEK_END)
                _check_entries(_Entries(archive, members), size)
    except (zipfile.BadZipFile, OSError, RecursionError) as error:
        raise ValueError(f"{path} is not a readable .pt2 file of torch.export: {error}") from error
    except DamagedError as error:
        raise ValueError(f"{path} is damaged: {error}; copy it again") from error
    except ValueError as error:
        raise ValueError(f"{path} is not loaded: {error}") from error


class _Entries:
    """The entries of an archive by their names below its one folder."""

    def __init__(self, archive: zipfile.ZipFile, members: list[zipfile.ZipInfo]) -> None:
        self._archive = archive
        self._root = members[0].filename.partition("/")[0] + "/" if members else ""
        self.sizes = {}
        for member in members:
            name = member.filename.removeprefix(self._root)
            if not member.filename.startswith(self._root) or not _ENTRY.fullmatch(name):
                raise ValueError(
                    f"its entry {member.filename!r} is none that tools/export.py writes, and such "
                    "entries can run code"
                )
            self.sizes[name] = member.file_size

    def read(self, name: str) -> bytes:
        """Return the bytes of an entry."""
        if name not in self.sizes:
            raise ValueError(f"it has no entry {name}")
        return self._archive.read(self._root + name)

    def json(self, name: str) -> Any:
        """Return the content of an entry that is JSON."""
        try:
            return json.loads(self.read(name))
        except UnicodeDecodeError as error:
            raise ValueError(f"its entry {name} is no UTF-8 text") from error
        except json.JSONDecodeError as error:
            raise ValueError(f"its entry {name} is no JSON: {error}") from error


def _check_entries(entries: _Entries, size: int) -> None:
    for folder, table in _TABLES.items():
        _check_table(entries.json(table), folder, entries.sizes, size)
    _check_samples(entries.read(SAMPLES))
    for key, text in _texts(entries.json(GRAPH)):
        _check_text(key, text)


def _check_table(table: Any, folder: str, sizes: Mapping[str, int], size: int) -> None:
    """Check that the tensors of a table lie in the file as plain numbers."""
    rows = table.get("config") if isinstance(table, dict) else None
    if not isinstance(rows, dict):
        raise ValueError(f"its entry {_TABLES[folder]} is no table of tensors")
    values_left = largest_content(size)
    for name, row in rows.items():
        entry = folder + str(row.get("path_name")) if isinstance(row, dict) else ""
        if not entry or row.get("use_pickle") is not False or not row.get("tensor_meta"):
            raise ValueError(f"its entry {entry!r}, of {name!r}, needs pickle, which can run code")
        if entry not in sizes:
            raise ValueError(f"it has no entry {entry!r}, of {name!r}")
        count = _num_values(row["tensor_meta"], name)
        values_left -= count
        if values_left < 0 or (count and not sizes[entry]):
            raise ValueError(f"its tensor {name!r} is larger than the file")


def _num_values(meta: Any, name: str) -> int:
    """Return how many values a tensor has, as it is described."""
    lengths = meta.get("sizes") if isinstance(meta, dict) else None
    if not isinstance(lengths, list) or not all(isinstance(length, dict) for length in lengths):
        raise ValueError(f"its tensor {name!r} is described without sizes")
    sizes = [length.get("as_int") for length in lengths]
    if not all(type(size) is int and size >= 0 for size in sizes):
        raise ValueError(f"its tensor {name!r} has the sizes {str(sizes)[:80]}")
    return math.prod(sizes)


def _check_samples(data: bytes) -> None:
    """Check that the sample inputs are plain tensors: torch, too, tries them as such first."""
    if not data:
        return
    try:
        check_torch_archive(io.BytesIO(data))
        torch.load(io.BytesIO(data), weights_only=True)
    except Exception as error:  # whatever the unpickler meets, it is no plain tensor
        raise ValueError(
            f"its entry {SAMPLES} needs pickle, which can run code; only plain tensors are loaded"
        ) from error


def _texts(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every text of a JSON value with the key that it stands under, and the keys.

    What stands under a key that has a rule is yielded even if it is no text: torch would look for
    texts in a mapping, too, and by other rules than those of its keys.
    """
    if isinstance(value, list):
        for part in value:
            yield from _texts(part, key)
    elif isinstance(value, str) or (key in _RULES and value is not None):
        yield key, value
    elif isinstance(value, dict):
        for name, part in value.items():
            yield "name", name
            yield from _texts(part, name)


def _check_text(key: str, text: Any) -> None:
    """Check a text by the rule of its key; what has no rule of its own is a dotted name."""
    is_text = isinstance(text, str) or key == "metadata"
    if not is_text or not _RULES.get(key, _is_dotted)(text):
        raise ValueError(
            f"its entry {GRAPH} has {key} {str(text)[:80]!r}, which our models do not export to; "
            "other values can run code"
        )


def _is_name(text: str) -> bool:
    return text.isascii() and text.isidentifier() and not keyword.iskeyword(text)


def _is_dotted(text: str) -> bool:
    return bool(_DOTTED.fullmatch(text))


def _is_size(text: str) -> bool:
    """Tell whether a size is arithmetic on symbols and numbers, as ``Mul(Integer(4), ...)``."""
    parts = _SIZE_PART.findall(text)
    words = [part for part in parts if part.isalpha()]
    are_small = len(text) <= _MAX_SIZE_TEXT and all(
        len(part) <= _MAX_DIGITS for part in parts if part.isdecimal()
    )
    return are_small and "".join(parts) == text and all(map(_SIZE_WORD.fullmatch, words))


def _are_marks(value: Any) -> bool:
    return isinstance(value, dict) and all(
        mark in _MARKS and isinstance(text, str) for mark, text in value.items()
    )


def _is_container(text: str) -> bool:
    """Tell whether a description of nested arguments knows Python's own containers alone."""
    try:
        version, spec = json.loads(text)
    except (ValueError, TypeError):
        return False
    specs = [spec]
    for part in specs:
        if not isinstance(part, dict) or part.keys() != {"type", "context", "children_spec"}:
            return False
        if part["type"] not in _CONTAINERS or part["context"] not in (None, "null", "[]"):
            return False
        if not isinstance(part["children_spec"], list):
            return False
        specs += part["children_spec"]
    return version == 1


_RULES = {
    "name": _is_name,
    "as_name": _is_name,
    "forward_arg_names": _is_name,
    "as_operator": lambda text: False,
    "target": lambda text: bool(_TARGET.fullmatch(text)),
    "expr_str": _is_size,
    "in_spec": _is_container,
    "out_spec": _is_container,
    "metadata": _are_marks,
    "guards_code": lambda value: False,  # but for none at all
    "torch_version": lambda text: bool(_VERSION.fullmatch(text)),
}
