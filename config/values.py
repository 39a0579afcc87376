"""What a text of a yml or of the command line stands for, by the type that its key takes."""

import math
import os
from typing import Any

MAX_TEXT = 4096  # characters; the longest path that Linux takes
MAX_ITEMS = 1000
MAX_INT = 2**63 - 1
MAX_SHOWN = 200

_WORDS = {"true": True, "false": False, "null": None, "none": None}
_SWITCHES = {"yes": True, "on": True, "no": False, "off": False}  # as YAML 1.1 has them


def coerced(value: Any, default: Any, key: str, source: str) -> Any:
    """Return the value in the type of the default; an int may stand for a float, nothing else.

    Args:
        value: Text that is still to be read, a list of such, or a value.
        default: Default of the key; None stands for a float or None.
        key: Dotted key, for the messages.
        source: Name of where the value came from, for the messages.

    Raises:
        ValueError: The value is of another type, not finite, or too long.
    """
    if isinstance(default, str) and not isinstance(value, list | tuple | dict):
        return _checked_text("" if value is None else str(value), key, source)
    value = decoded(value)
    items = value if isinstance(value, list | tuple) else [value]
    if len(items) > MAX_ITEMS:
        raise ValueError(f"{source}: {key} holds {len(items)} values; at most {MAX_ITEMS} are read")
    if isinstance(default, list):
        found = [_as(item, type(default[0])) for item in items]
        fits = isinstance(value, list | tuple) and all(type(i) is type(default[0]) for i in found)
    else:
        wanted = float if default is None else type(default)
        found = [_as(value, wanted)]
        fits = type(found[0]) is wanted or found[0] is default is None
    if not fits:
        raise ValueError(
            f"{source}: {key} takes {_name(default)} (default {default!r}), "
            f"got {shown(value)} ({type(value).__name__})"
        )
    if any(isinstance(item, float) and not math.isfinite(item) for item in found):
        raise ValueError(f"{source}: {key}={shown(value)}; it must be finite")
    if any(type(item) is int and abs(item) > MAX_INT for item in found):
        raise ValueError(f"{source}: {key}={shown(value)}; it must lie within 2**63")
    return found if isinstance(default, list) else found[0]


def decoded(value: Any) -> Any:
    """Read a text as a number, a flag, null or a list of such, where it is one."""
    if isinstance(value, list):
        return [decoded(item) for item in value]
    if not isinstance(value, str) or not value.isascii():
        return value
    text = value.strip()
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    inner = text[1:-1] if text[:1] + text[-1:] in ("[]", "()") else text
    if inner != text or "," in text:
        words = inner.split(",") if inner.strip() else []
        return [_number(word.strip()) for word in (words[:-1] if words[-1:] == [""] else words)]
    return _number(text)


def as_float(value: Any) -> Any:
    """Return an int as a float, infinite beyond the range of floats; else the value itself."""
    if type(value) is not int:
        return value
    try:
        return float(value)
    except OverflowError:
        return math.inf


def counted(number: int, noun: str, plural: str = "") -> str:
    """Return "1 view", "2 views"; an irregular plural is given."""
    return f"{number} {noun if number == 1 else plural or noun + 's'}"


def shown(value: Any) -> str:
    """Return a value as an error shows it, on one line and not at any length."""
    text = repr(value)
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}... ({len(text)} characters)"


def _number(text: str) -> Any:
    """Read a number, a text remains one; 5e-4 is text to YAML 1.1, and 010 stays text here."""
    for kind in (lambda word: int(word, 0), float):
        try:
            return kind(text)
        except ValueError:  # beyond 4300 digits too
            continue
    return text


def _as(value: Any, wanted: type) -> Any:
    if wanted is float:
        return as_float(value)
    if wanted is bool and isinstance(value, str):
        return _SWITCHES.get(value.lower(), value)
    return value


def _name(default: Any) -> str:
    if isinstance(default, list):
        return f"a list of {type(default[0]).__name__}"
    name = "float" if default is None else type(default).__name__
    return f"an {name}" if name[0] in "aeiou" else f"a {name}"


def _checked_text(text: str, key: str, source: str) -> str:
    fault = ""
    if len(text) > MAX_TEXT:
        fault = f"it must have at most {MAX_TEXT} characters"
    elif any(ord(letter) < 32 or ord(letter) == 127 for letter in text):
        fault = "it must not hold line breaks or other control characters"
    else:
        try:
            os.fsencode(text)
        except UnicodeEncodeError:
            fault = "it must not hold halves of letters (lone surrogates)"
    if fault:
        raise ValueError(f"{source}: {key}={shown(text)}; {fault}")
    return text
