"""How one released key is read, and the values that several of them take."""

import logging
from collections.abc import Callable
from typing import Any, NamedTuple

from config.values import as_float, shown

_log = logging.getLogger(__name__)


class Legacy(NamedTuple):
    """How one released key is read.

    Attributes:
        keys: Dotted keys of ours that take the value; none where it has no effect.
        convert: Function from the released value to ours.
        note: Text printed when the key is met: what it does not do, or does differently from its
            name.
        silent_values: Values for which the note would say nothing new.
    """

    keys: tuple[str, ...] = ()
    convert: Callable[[Any], Any] = lambda value: value
    note: str = ""
    silent_values: tuple[Any, ...] = ()

    def read(self, key: str, value: Any, source: str, is_noted: bool = True) -> Any:
        """Return our value, and log the note.

        Args:
            key: Released key, for the messages.
            value: Released value.
            source: Name of the file that it came from, for the messages.
            is_noted: Whether the key was given; False: it is a default of the release.

        Raises:
            ValueError: The value has no counterpart.
        """
        try:
            converted = self.convert(value)
        except ValueError as error:
            raise ValueError(f"{source}: {key}={shown(value)}: {error}") from error
        if self.note and is_noted and value not in self.silent_values:
            _log.info("%s: %s: %s %s", source, key, shown(value), self.note)
        return converted


def number(value: Any) -> float:
    """Return a number as a float; anything else is an error."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("it took a number")
    return as_float(value)


def numbers(value: Any) -> list[float]:
    """Return a list of numbers as floats."""
    if not isinstance(value, list):
        raise ValueError("it took a list of numbers")
    return [number(channel) for channel in value]


def smoothing(value: Any) -> float:
    """Return the share that labels are smoothed by, which the release reads as on or off."""
    return 0.1 if number(float(value) if isinstance(value, bool) else value) else 0.0
