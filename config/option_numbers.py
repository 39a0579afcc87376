"""Numbers on a command line: read within bounds, by argparse's ``type``."""

import argparse
import re
from collections.abc import Callable

from config.limits import AT_MOST, MAX_INT
from config.values import shown

MAX_SEED = int(AT_MOST["SEED"])


def whole_number(least: int = 0, most: int = MAX_INT) -> Callable[[str], int]:
    """Return a reader of integers from least to most, both included."""

    def read(word: str) -> int:
        if not re.fullmatch(r"[+-]?[0-9]{1,20}", word):
            raise argparse.ArgumentTypeError(f"invalid int value: {shown(word)}")
        if not least <= int(word) <= most:
            raise argparse.ArgumentTypeError(f"{int(word)} is not from {least} to {most}")
        return int(word)

    return read


def positive_number(most: float = 1e6) -> Callable[[str], float]:
    """Return a reader of numbers above 0, up to most."""

    def read(word: str) -> float:
        try:
            number = float(word)
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"invalid float value: {shown(word)}") from error
        if not 0 < number <= most:
            raise argparse.ArgumentTypeError(f"{shown(word)} is not above 0, up to {most:g}")
        return number

    return read
