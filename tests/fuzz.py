"""Files of weights, crafted by the thousand from good ones, and what comes of reading them.

Beside bytes, what the bytes mean is changed: operations of pickles, headers of arrays, entries of
archives, whose sums are made right again so that the reader goes on to what lies inside.
"""

import io
import json
import pickle
import pickletools
import random
import resource
import struct
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from models.pretrained import read_weights
from models.weights.checkpoint_file import read_checkpoint
from models.weights.pt2_file import check_pt2
from tests.damage import AS_BEFORE, AS_STORED, FOREIGN, REPORTED, WRONG

SPARE_MEMORY = 2**30  # bytes that reading a file of a few kB may take, with what torch keeps
NUMBERS = (0, 1, 2, 7, 255, 2**15, 2**31 - 1, 2**31, 2**32, 2**40, 2**62, 2**63 - 1)
WORDS = (
    *(
        "O",
        "O8",
        "V16",
        "U4",
        "S9",
        "M8",
        "f4",
        "i8",
        "f16",
        "c8",
        "(2,3)f4",
        "f4,O",
        "|",
        ">",
        "<",
    ),
    *("storage", "cpu", "cuda", "meta", "0", "1", "", "..", "data.pkl", "latin1", "rb"),
)
GLOBALS = (
    *("numpy dtype", "numpy ndarray", "numpy frombuffer", "numpy.core.multiarray _reconstruct"),
    *("numpy._core.multiarray _reconstruct", "numpy.core.multiarray scalar", "_codecs encode"),
    *(
        "torch FloatStorage",
        "torch LongStorage",
        "torch ByteStorage",
        "torch.storage UntypedStorage",
    ),
    *("torch._utils _rebuild_tensor_v2", "torch._utils _rebuild_parameter", "torch Size"),
    *("torch._utils _rebuild_sparse_tensor", "torch._utils _rebuild_qtensor", "torch Tensor"),
    *(
        "collections OrderedDict",
        "builtins bytearray",
        "builtins set",
        "os system",
        "builtins eval",
    ),
)


def limit_memory() -> None:
    """Let this process take little more than it has, so that a bomb is an error and no wait."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + SPARE_MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))


def judge_many(original: str, folder: str, first: int, count: int) -> str:
    """Read files that are crafted from one; return what came of them, or the first that is a fault.

    Args:
        original: The good file; its suffix says of what kind.
        folder: To write into.
        first: The seed of the first file.
        count: How many.
    """
    limit_memory()
    warnings.simplefilter("ignore")
    path = Path(original)
    data, outcomes = path.read_bytes(), Counter[str]()
    before = _read(path)
    for seed in range(first, first + count):
        rng = random.Random(seed)
        crafted, is_resealed = craft(path.suffix, data, rng)
        target = Path(folder) / f"crafted{path.suffix}"
        target.write_bytes(crafted)
        outcome = _judge(target, before, is_resealed)
        if outcome.startswith((FOREIGN, WRONG)):
            return f"{outcome} of seed {seed}"
        outcomes[outcome] += 1
    return json.dumps(outcomes)


def craft(suffix: str, data: bytes, rng: random.Random) -> tuple[bytes, bool]:
    """Return a changed file, and whether it has no sums or they were made right again."""
    crafters: dict[str, list[Callable[[bytes, random.Random], bytes]]] = {
        ".pth": [with_pickle_changed, with_entries_changed],
        ".npz": [with_header_changed, with_entries_changed],
        ".pt2": [with_json_changed, with_entries_changed],
        ".pdparams": [changed_pickle, crafted_pickle, changed_pickle, changed_bytes],
        ".safetensors": [with_json_header_changed, changed_bytes],
    }
    if suffix in (".pth", ".npz", ".pt2") and rng.random() < 0.4:
        return changed_bytes(data, rng), False
    return rng.choice(crafters[suffix])(data, rng), True


def changed_bytes(data: bytes, rng: random.Random) -> bytes:
    """Flip bits, overwrite, cut, insert or repeat bytes."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 5))):
        if not changed:
            break
        at, length = rng.randrange(len(changed)), rng.choice((1, 2, 4, 8))
        kind = rng.randrange(6)
        if kind <= 1:
            changed[at] ^= 1 << rng.randrange(8)
        elif kind == 2:
            number = rng.choice(NUMBERS) % 2 ** (8 * length)
            changed[at : at + length] = number.to_bytes(length, "little")
        elif kind == 3:
            del changed[at : at + rng.randrange(1, 64)]
        elif kind == 4:
            changed[at:at] = rng.randbytes(rng.randrange(1, 32))
        else:
            changed[at:at] = changed[at : at + rng.randrange(1, 256)]
    return bytes(changed)


def changed_pickle(data: bytes, rng: random.Random) -> bytes:
    """Change operations of a pickle and what they hold."""
    places = [place for *_, place in pickletools.genops(data)]
    parts = [data[a:b] for a, b in zip(places, [*places[1:], len(data)], strict=True)]
    for _ in range(rng.choice((1, 1, 2, 3, 6))):
        at = rng.randrange(len(parts))
        kind = rng.randrange(6)
        if kind == 0:
            del parts[at]
        elif kind == 1:
            parts.insert(at, rng.choice(parts))
        elif kind == 2:
            other = rng.randrange(len(parts))
            parts[at], parts[other] = parts[other], parts[at]
        else:
            parts[at] = operation(rng)
        if not parts:
            return b""
    return b"".join(parts)


def crafted_pickle(data: bytes, rng: random.Random) -> bytes:
    """Return an array by the hand of an attacker: its type and state are anything."""
    codes = [*WORDS, "f4", "f8", "i4"]
    dtype_state = (rng.choice((3, 4)), rng.choice("<>|=?"), None, None, None, -1, -1, value(rng))
    dtype = Called("numpy dtype", (rng.choice(codes), False, True), dtype_state)
    shape = tuple(rng.choice(NUMBERS) for _ in range(rng.randrange(4)))
    raw = rng.choice((rng.randbytes(rng.randrange(40)), [value(rng)], value(rng)))
    state = (1, shape, dtype, rng.random() < 0.5, raw)
    if rng.random() < 0.2:
        state = state[: rng.randrange(5)]
    array = Called(
        "numpy.core.multiarray _reconstruct", (Named("numpy ndarray"), (0,), b"b"), state
    )
    return b"\x80\x02" + dumped({"w": array, "v": rng.choice((array, value(rng)))}) + b"."


class Named:
    def __init__(self, name: str) -> None:
        self.name = name


class Called:
    def __init__(self, name: str, arguments: tuple[Any, ...], state: Any) -> None:
        self.name, self.arguments, self.state = name, arguments, state


def dumped(content: Any) -> bytes:
    """Return the operations that make a value, with calls of what Python would not let us call."""
    if isinstance(content, Named):
        module, _, name = content.name.partition(" ")
        return f"c{module}\n{name}\n".encode()
    if isinstance(content, Called):
        called = dumped(Named(content.name)) + dumped(content.arguments)
        return called + b"R" + dumped(content.state) + b"b"
    if isinstance(content, tuple):
        return b"(" + b"".join(map(dumped, content)) + b"t"
    if isinstance(content, list):
        return b"](" + b"".join(map(dumped, content)) + b"e"
    if isinstance(content, dict):
        items = [dumped(part) for item in content.items() for part in item]
        return b"}(" + b"".join(items) + b"u"
    return pickle.dumps(content, protocol=3)[2:-1]


def value(rng: random.Random) -> Any:
    """Return a plain value."""
    return rng.choice((None, True, rng.choice(NUMBERS), rng.choice(WORDS), (), b"abcd", 1.5, {}))


def operation(rng: random.Random) -> bytes:
    """Return an operation of a pickle."""
    kind = rng.randrange(6)
    if kind == 0:
        module, _, name = rng.choice(GLOBALS).partition(" ")
        return f"c{module}\n{name}\n".encode()
    if kind == 1:
        return b"J" + struct.pack("<i", rng.choice(NUMBERS) % 2**31)
    if kind == 2:
        return rng.choice((b"r", b"j")) + struct.pack("<I", rng.choice(NUMBERS) % 2**32)
    if kind == 3:
        word = rng.choice(WORDS).encode()
        return b"X" + struct.pack("<I", len(word)) + word
    if kind == 4:
        return b"\x8a" + bytes([9]) + rng.choice(NUMBERS).to_bytes(9, "little")
    return rng.choice(
        [b"(", b"0", b"1", b"2", b"t", b"R", b"b", b"Q", b"s", b"u", b"e", b"}", b"]"]
    )


def resealed(entries: dict[str, bytes], is_packed: bool = False) -> bytes:
    """Write an archive with right sums."""
    buffer = io.BytesIO()
    method = zipfile.ZIP_DEFLATED if is_packed else zipfile.ZIP_STORED
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def entries_of(data: bytes) -> dict[str, bytes]:
    """Return the entries of an archive."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def with_entries_changed(data: bytes, rng: random.Random) -> bytes:
    """Change, exchange, rename or remove entries of an archive."""
    entries = entries_of(data)
    names = list(entries)
    name, other = rng.choice(names), rng.choice(names)
    kind = rng.randrange(6)
    if kind == 0:
        del entries[name]
    elif kind == 1:
        entries[name], entries[other] = entries[other], entries[name]
    elif kind == 2:
        entries[name + rng.choice(("x", "/", "/../y", "\n"))] = entries.pop(name)
    elif kind == 3:
        entries[name] = bytes(rng.choice((0, 100, 10**7)))
    else:
        entries[name] = changed_bytes(entries[name], rng)
    return resealed(entries, is_packed=rng.random() < 0.2)


def with_pickle_changed(data: bytes, rng: random.Random) -> bytes:
    """Change the pickle of a torch archive."""
    entries = entries_of(data)
    name = next(name for name in entries if name.endswith("/data.pkl"))
    entries[name] = changed_pickle(entries[name], rng)
    return resealed(entries)


def with_header_changed(data: bytes, rng: random.Random) -> bytes:
    """Change the header of an array of numpy."""
    entries = entries_of(data)
    name = rng.choice(list(entries))
    array = np.load(io.BytesIO(entries[name]))
    shape = rng.choice((array.shape, tuple(rng.choice(NUMBERS) for _ in range(rng.randrange(5)))))
    descr = rng.choice((array.dtype.str, *(f"<{word}" for word in WORDS), *WORDS))
    order = rng.choice((True, False, 1))
    text = f"{{'descr': '{descr}', 'fortran_order': {order}, 'shape': {shape}, }}"
    if rng.random() < 0.3:
        text = changed_bytes(text.encode(), rng).decode("latin1")
    header = b"\x93NUMPY\1\0" + struct.pack("<H", len(text) + 1) + text.encode("latin1") + b"\n"
    entries[name] = header + array.tobytes()
    return resealed(entries, is_packed=rng.random() < 0.3)


def with_json_changed(data: bytes, rng: random.Random) -> bytes:
    """Change a value somewhere in an entry of JSON."""
    entries = entries_of(data)
    name = rng.choice([name for name in entries if name.endswith(".json")])
    content = json.loads(entries[name])
    for _ in range(rng.choice((1, 1, 2, 4))):
        _change_json(content, rng)
    entries[name] = json.dumps(content).encode()
    return resealed(entries)


def with_json_header_changed(data: bytes, rng: random.Random) -> bytes:
    """Change a value in the header of a ``.safetensors`` file."""
    (length,) = struct.unpack("<Q", data[:8])
    content = json.loads(data[8 : 8 + length])
    _change_json(content, rng)
    header = json.dumps(content).encode()
    return struct.pack("<Q", len(header)) + header + data[8 + length :]


def _change_json(content: Any, rng: random.Random) -> None:
    """Walk to somewhere in a value and put another one there."""
    while True:
        if not content:
            return
        key = (
            rng.choice(list(content)) if isinstance(content, dict) else rng.randrange(len(content))
        )
        if isinstance(content[key], dict | list) and rng.random() < 0.9:
            content = content[key]
            continue
        words = (*WORDS, "torch.os.system", "exec(chr(49))", "a b", "F8_E8M0", "I64", "F4", "BOOL")
        new = (None, -1, 1.5, [], {}, rng.choice(NUMBERS), rng.choice(words), [1], {"a": 1})
        content[key] = rng.choice(new)
        return


def _judge(path: Path, before: dict[str, Any], is_resealed: bool) -> str:
    try:
        after = _read(path)
    except ValueError as error:
        text = str(error)
        is_told = text.startswith(str(path)) and len(text.splitlines()) == 1
        return REPORTED if is_told else f"{FOREIGN}: a ValueError {text!r}"
    except Exception as error:  # noqa: BLE001 - that is what is looked for
        return f"{FOREIGN}: {type(error).__name__}: {error}"
    if _same(after, before):
        return AS_BEFORE
    return AS_STORED if is_resealed else WRONG


def _read(path: Path) -> dict[str, Any]:
    """Return all that is in a file, tensors as bytes."""
    if path.suffix == ".pt2":
        check_pt2(path)
        with zipfile.ZipFile(path) as archive:
            return {name: archive.read(name) for name in archive.namelist()}
    content: dict[str, Any] = (
        read_checkpoint(path) if path.suffix == ".pth" else dict(read_weights(path)[0])
    )
    return {str(name): _plain(part) for name, part in content.items()}


def _plain(content: Any) -> Any:
    if isinstance(content, dict):
        return {str(name): _plain(part) for name, part in content.items()}
    if isinstance(content, torch.Tensor):
        return content.dtype, content.shape, content.contiguous().numpy().tobytes()
    return content


def _same(ours: Any, theirs: Any) -> bool:
    return repr(ours) == repr(theirs)
