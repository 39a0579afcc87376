"""Texts of assignments, as mmengine and mmcv write a config, read without Python's parser.

Literals, lists, tuples and dicts are values; ``dict(a=1)`` is a dict; a name stands for what the
text itself gave it before, as in ``dict(**img_norm_cfg)``. A statement with anything else in it is
left out: nothing else is looked up, nothing is called or computed. What is built is bounded by the
text and by `MAX_LOOKED_UP`, and so is the time.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

MAX_CHARACTERS = 1 << 18
MAX_DEPTH = 30
MAX_LOOKED_UP = 1 << 16  # values, all names of a text together
_TOKEN = re.compile(
    r"""(?P<space>[ \t\f]+|\\\n|\#[^\n]*)|(?P<line>\n)"""
    r"""|(?P<text>[rRuUbB]?(?:'(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*"))"""
    r"""|(?P<open>['"][^\n]*)"""  # the end of a text that has none is looked for once
    r"""|(?P<number>(?:\d[\d_]*\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)"""
    r"""|(?P<name>[A-Za-z_]\w*)|(?P<sign>.)"""
)
_CONSTANTS = {"None": None, "True": True, "False": False}
_ESCAPES = {"n": "\n", "t": "\t", "\\": "\\", "'": "'", '"': '"'}
_CLOSING = {"(": ")", "[": "]", "{": "}"}
_END = ("line", "\n")
_STAR = ("sign", "*")
_BASE, _DELETE = "_base_", "_delete_"
_Token = tuple[str, str]


class _OtherError(ValueError):
    """Something that is no value."""


class _Known(NamedTuple):
    """A value by its name, with what it is made of: tokens, also of names in it, and brackets."""

    value: Any
    size: int
    depth: int


def read_assignments(text: str) -> dict[str, Any]:
    """Return the values that a text assigns to names.

    Args:
        text: Statements ``name = value`` that begin at the start of a line.

    Returns:
        By name; without those that are no values. {} for a text beyond what a config has. Where it
        names a ``_base_``, whose text then stands before it, later dicts change earlier ones.
    """
    if len(text) > MAX_CHARACTERS:
        return {}
    known: dict[str, _Known] = {}
    num_looked_up = 0
    for statement in _statements(text):
        if len(statement) > 2 and statement[0][0] == "name" and statement[1] == ("sign", "="):
            name = statement[0][1]
            reader = _Reader(statement[2:], known, MAX_LOOKED_UP - num_looked_up)
            try:
                value = reader.whole()
                if _BASE in known and name in known:
                    reader.look_up(name)  # which bounds the time that a change takes
                    value = _changed(known[name].value, value)
                size = len(statement) + reader.num_looked_up
                known[name] = _Known(value, size, reader.deepest)
            except _OtherError:
                known.pop(name, None)
            num_looked_up += reader.num_looked_up
    return {name: one.value for name, one in known.items()}


def _changed(base: Any, value: Any) -> Any:
    """Return what a value makes of that of a base: of dicts the keys that it has change."""
    if not (isinstance(base, dict) and isinstance(value, dict)):
        return value
    if value.get(_DELETE):
        return {key: part for key, part in value.items() if key != _DELETE}
    return base | {key: _changed(base.get(key), part) for key, part in value.items()}


def _statements(text: str) -> Iterator[list[_Token]]:
    """Yield the tokens of each line that brackets do not go on from the one before."""
    statement: list[_Token] = []
    depth = 0
    for match in _TOKEN.finditer(text):
        kind, word = str(match.lastgroup), match.group()
        if kind == "sign":
            depth += (word in _CLOSING) - (word in _CLOSING.values())
        if kind == "line" and depth <= 0:
            yield statement
            statement, depth = [], 0
        elif kind == "space" and not statement:
            statement.append((kind, word))  # an indented line is of another statement
        elif kind not in ("space", "line"):
            statement.append((kind, word))
    yield statement


class _Reader:
    """Reads the value that tokens stand for."""

    def __init__(self, tokens: list[_Token], known: Mapping[str, _Known], max_size: int) -> None:
        self.tokens = tokens
        self.known = known
        self.max_size = max_size
        self.num_looked_up = 0
        self.at = 0
        self.depth = 0
        self.deepest = 0

    def whole(self) -> Any:
        value = self.value()
        self._expect(_END)
        return value

    def value(self) -> Any:
        self.depth += 1
        self._reach(self.depth)
        kind, word = self._next()
        value: Any
        if kind == "text":
            value = _text(word)
            while self._peek()[0] == "text":
                value += _text(self._next()[1])
        elif kind == "number":
            value = _number(word)
        elif (kind, word) == ("sign", "-") and self._peek()[0] == "number":
            value = -_number(self._next()[1])
        elif kind == "name" and word in _CONSTANTS:
            value = _CONSTANTS[word]
        elif (kind, word) == ("name", "dict") and self._peek() == ("sign", "("):
            self.at += 1
            value = dict(pair for _ in self._items(")") for pair in self._keywords())
        elif kind == "name":
            value = self.look_up(word)
        elif kind == "sign" and word == "{":
            value = dict(self._pair() for _ in self._items("}"))
        elif kind == "sign" and word in _CLOSING:
            value, is_list = self._sequence(_CLOSING[word]), word == "["
            value = value if is_list else self._grouped(value)
        else:
            raise _OtherError
        self.depth -= 1
        return value

    def look_up(self, name: str) -> Any:
        """Return what a name stands for."""
        if name not in self.known:
            raise _OtherError
        value, size, depth = self.known[name]
        self.num_looked_up += size
        self._reach(self.depth + depth)
        if self.num_looked_up > self.max_size:
            raise _OtherError
        return value

    def _reach(self, depth: int) -> None:
        self.deepest = max(self.deepest, depth)
        if depth > MAX_DEPTH:
            raise _OtherError

    def _sequence(self, end: str) -> list[Any]:
        return [self.value() for _ in self._items(end)]

    def _grouped(self, values: list[Any]) -> Any:
        """Return a tuple as a list; brackets around one value, without a comma, are none."""
        is_one = len(values) == 1 and self.tokens[self.at - 2] != ("sign", ",")
        return values[0] if is_one else values

    def _items(self, end: str) -> Iterator[None]:
        """Go on to the next item of a list in brackets until their end."""
        while self._peek() != ("sign", end):
            yield
            if self._peek() != ("sign", end):
                self._expect(("sign", ","))
        self.at += 1

    def _keywords(self) -> list[tuple[Any, Any]]:
        """Return ``name=value``, or all that ``**name`` holds."""
        kind, name = self._next()
        if (kind, name) == _STAR:
            self._expect(_STAR)
            held = self.value()
            if not isinstance(held, dict):
                raise _OtherError
            return [*held.items()]
        if kind != "name":
            raise _OtherError
        self._expect(("sign", "="))
        return [(name, self.value())]

    def _pair(self) -> tuple[Any, Any]:
        key = self.value()
        if not isinstance(key, (str, int, float, bool, type(None))):
            raise _OtherError
        self._expect(("sign", ":"))
        return key, self.value()

    def _peek(self) -> _Token:
        return self.tokens[self.at] if self.at < len(self.tokens) else _END

    def _next(self) -> _Token:
        token = self._peek()
        self.at += 1
        return token

    def _expect(self, token: _Token) -> None:
        if self._next() != token:
            raise _OtherError


def _text(word: str) -> str:
    is_raw, is_bytes = word[0] in "rR", word[0] in "bB"
    if is_bytes:
        raise _OtherError
    inner = word[word.index(word[-1]) + 1 : -1]
    if is_raw:
        return inner
    return re.sub(r"\\(.)", lambda found: _ESCAPES.get(found[1], found[0]), inner)


def _number(word: str) -> int | float:
    if len(word) > 30:
        raise _OtherError
    try:
        return int(word) if word.isdecimal() else float(word)
    except ValueError as error:
        raise _OtherError from error
