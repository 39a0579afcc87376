import collections
import io
import os
import pickle
from typing import Any

import numpy as np
import pytest

from models.weights.plain_pickle import Global, PickleReader

PLAIN: dict[str, Any] = {
    "numbers": [0, 255, 65535, -1, 2**31, 2**70, 1.5, True, False, None],
    "texts": ["", "ü", "x" * 300],
    "bytes": [b"ab", b"x" * 300],
    "tuples": [(), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)],
    "dicts": {1: {}, ("a", 1): {"b": [[]]}},
}


def reader() -> PickleReader:
    def call(called: Global, arguments: Any) -> Any:
        return arguments[0].encode("latin1") if called.name == "encode" else (called, arguments)

    return PickleReader(call, lambda built, state: (built, state), lambda name: ("outside", name))


def read(data: bytes) -> Any:
    return reader().read(io.BytesIO(data))


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_plain_values_are_those_of_python(protocol: int) -> None:
    shared = ["shared"]
    value = PLAIN | {"one": shared, "same": shared}
    found = read(pickle.dumps(value, protocol=protocol))
    assert found == value
    assert found["one"] is found["same"]


def test_nothing_is_called_and_the_caller_is_asked() -> None:
    called, arguments = read(pickle.dumps(os.getpid, protocol=2)), read(b"cos\nsystem\n(Vls\ntR.")
    assert str(called) == f"{os.getpid.__module__}.getpid"
    assert arguments == (Global("os", "system"), ("ls",))
    built, state = read(pickle.dumps(np.float32(1), protocol=4))[1][0]
    assert built[0] == Global("numpy", "dtype")
    assert state[1] == "<"
    ordered = read(pickle.dumps(collections.OrderedDict(), protocol=2))
    assert ordered == (Global("collections", "OrderedDict"), ())


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", "pickle exhausted"),
        (b"text", ""),
        (b"]a.", "takes more values than it has"),
        (b".", "takes more values than it has"),
        (b"t.", "ends a group that it did not begin"),
        (b"](a.", "takes more values than it has"),
        (b"}(K\1u.", "has a key without a value"),
        (b"}]K\1s.", "has a list for a key"),
        (b"}))\x85K\1s.", ""),
        (b"h\5.", "has an operation BINGET"),
        (b"K\1)R.", "calls something else than a global"),
        (b"K\1K\2\x93.", "names a class by something else than a text"),
        (b"\x80\4\x8f.", "has an operation EMPTY_SET"),
        (b"\x8e" + b"\xff" * 7 + b"\x7f" + b"x.", ""),  # bytes of a stated length of exabytes
    ],
)
def test_what_is_no_pickle_of_plain_values_is_an_error(data: bytes, text: str) -> None:
    with pytest.raises(ValueError, match=text or None):
        read(data)


def test_key_whose_hash_would_take_for_ever_is_an_error() -> None:
    doubled = b")" + b"q\0h\0\x86" * 60  # t = (t, t), sixty times
    with pytest.raises(ValueError, match="has a tuple for a key"):
        read(b"}" + doubled + b"K\1s.")


def test_far_place_in_the_memo_takes_no_room() -> None:
    assert read(b"K\1r\xff\xff\xff\x7f.") == 1
