"""Pickles of plain values, gone through without Python's unpickler, which builds what it is told.

Containers, numbers, texts and bytes are built; of everything else only what is called with what is
handed on. Nothing is looked up by name, and no size in the pickle is believed: what is built is
bounded by the bytes that are there.
"""

import pickletools
from collections.abc import Callable
from typing import Any, BinaryIO, NamedTuple

_MEMO_PUTS = ("PUT", "BINPUT", "LONG_BINPUT")
_MEMO_GETS = ("GET", "BINGET", "LONG_BINGET")
_IGNORED = ("PROTO", "FRAME")
_ARGUMENTS = frozenset(
    (
        *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
        *("UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
        *("STRING", "BINSTRING", "SHORT_BINSTRING"),
        *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8"),
    )
)
_CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_TUPLE": tuple,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_KEYS = (str, int, float, bytes, type(None))


class Global(NamedTuple):
    """A name that a pickle wants to be looked up."""

    module: str
    name: str

    def __str__(self) -> str:
        """Write it as Python does."""
        return f"{self.module}.{self.name}"


class PickleReader:
    """Goes through pickles; one at a time.

    Args:
        call: Returns what stands for the result of calling a global with arguments.
        build: Returns what stands for a result of ``call`` after it was given its state.
        persistent: Returns what stands for an object outside the pickle, by its id.
    """

    def __init__(
        self,
        call: Callable[[Global, Any], Any],
        build: Callable[[Any, Any], Any],
        persistent: Callable[[Any], Any],
    ) -> None:
        self._call = call
        self._build = build
        self._persistent = persistent
        self._stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}
        self._steps: dict[str, Callable[[], None]] = {
            "MARK": lambda: self._marks.append(len(self._stack)),
            "POP": lambda: self._take(1).clear(),
            "POP_MARK": lambda: self._take_marked().clear(),
            "DUP": lambda: self._stack.append(self._top()),
            "TUPLE": lambda: self._stack.append(tuple(self._take_marked())),
            "LIST": lambda: self._stack.append(self._take_marked()),
            "DICT": lambda: self._stack.append(self._with_items({}, self._take_marked())),
            "MEMOIZE": lambda: self._memo.update({len(self._memo): self._top()}),
            "APPEND": lambda: self._extend(self._take(1)),
            "APPENDS": lambda: self._extend(self._take_marked()),
            "SETITEM": lambda: self._set_items(self._take(2)),
            "SETITEMS": lambda: self._set_items(self._take_marked()),
            "STACK_GLOBAL": self._stack_global,
            "REDUCE": self._reduce,
            "NEWOBJ": self._reduce,
            "BUILD": self._set_state,
            "BINPERSID": lambda: self._stack.append(self._persistent(self._take(1)[0])),
        }

    def read(self, file: BinaryIO) -> Any:
        """Return the value of the pickle that begins at the position of a file.

        Args:
            file: File of bytes in memory. For one on the disk Python would first make room for
                whatever length the pickle states.

        Raises:
            ValueError: The file is no pickle, or one of another kind.
        """
        self._stack, self._marks, self._memo = [], [], {}
        for opcode, argument, _ in pickletools.genops(file):
            name = opcode.name
            if name == "STOP":
                break
            if name in self._steps:
                self._steps[name]()
            elif name in _MEMO_PUTS:
                assert isinstance(argument, int)
                self._memo[argument] = self._top()
            elif name not in _IGNORED:
                self._stack.append(self._value_of(name, argument))
        return self._take(1)[0]

    def _value_of(self, name: str, argument: Any) -> Any:
        """Return the value that an operation pushes."""
        if name in _ARGUMENTS:
            return argument
        if name in _CONSTANTS:
            return _CONSTANTS[name]()
        if name in _TUPLES:
            return tuple(self._take(_TUPLES[name]))
        if name == "GLOBAL":
            return Global(*argument.split(" ", 1))
        if name in _MEMO_GETS and argument in self._memo:
            return self._memo[argument]
        raise ValueError(f"its pickle has an operation {name} that plain values do not need")

    def _top(self) -> Any:
        if len(self._stack) <= (self._marks[-1] if self._marks else 0):
            raise ValueError("its pickle takes more values than it has")
        return self._stack[-1]

    def _take(self, count: int) -> list[Any]:
        """Remove the last values; none from before the last mark."""
        if len(self._stack) - count < (self._marks[-1] if self._marks else 0):
            raise ValueError("its pickle takes more values than it has")
        taken = self._stack[-count:]
        del self._stack[-count:]
        return taken

    def _take_marked(self) -> list[Any]:
        if not self._marks:
            raise ValueError("its pickle ends a group that it did not begin")
        first = self._marks.pop()
        taken = self._stack[first:]
        del self._stack[first:]
        return taken

    def _stack_global(self) -> None:
        module, name = self._take(2)
        if not (isinstance(module, str) and isinstance(name, str)):
            raise ValueError("its pickle names a class by something else than a text")
        self._stack.append(Global(module, name))

    def _reduce(self) -> None:
        called, arguments = self._take(2)
        if not isinstance(called, Global) or type(arguments) is not tuple:
            raise ValueError("its pickle calls something else than a global")
        self._stack.append(self._call(called, arguments))

    def _set_state(self) -> None:
        built, state = self._take(2)
        self._stack.append(self._build(built, state))

    def _extend(self, values: list[Any]) -> None:
        target = self._top()
        if isinstance(target, list):
            target.extend(values)

    def _set_items(self, values: list[Any]) -> None:
        self._with_items(self._top(), values)

    def _with_items(self, target: Any, values: list[Any]) -> Any:
        """Put keys and values that take turns into a dict; anything else stays as it is."""
        if len(values) % 2:
            raise ValueError("its pickle has a key without a value")
        for key, value in zip(values[::2], values[1::2], strict=True):
            # the hash of tuples in tuples can take for ever, in any reader
            parts = key if type(key) is tuple else (key,)
            if not all(isinstance(part, _KEYS) for part in parts):
                raise ValueError(f"its pickle has a {type(key).__name__} for a key")
            if isinstance(target, dict):
                target[key] = value
        return target
