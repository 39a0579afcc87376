"""The images of a folder that are one video: those whose names differ in their number alone."""

import re
from collections import Counter
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from datasets.decode.images import FORMATS

IMAGE_SUFFIXES = frozenset(FORMATS)
_NUMBERED = re.compile(  # "img_00001.jpg"; Windows puts its numbers into brackets, "frame (1).jpg"
    r"(.*?)([0-9]+)([)\]]?\.\w+)", re.DOTALL
)


class FrameSeries(NamedTuple):
    """Images that differ in their number alone.

    Attributes:
        prefix: Part of their names before the number.
        suffix: Part of their names after the number.
        numbers: Numbers as written, ascending by value; they may have gaps.
    """

    prefix: str
    suffix: str
    numbers: list[str]

    @property
    def step(self) -> int:
        """Distance from each number to the next, where that is the same throughout; else 1."""
        steps = {int(after) - int(before) for before, after in pairwise(self.numbers)}
        return steps.pop() if len(steps) == 1 and 0 not in steps else 1

    @property
    def template(self) -> str:
        """The names with a field for the number, as ``str.format`` takes it."""
        prefix, suffix = (
            text.replace("{", "{{").replace("}", "}}") for text in (self.prefix, self.suffix)
        )
        return f"{prefix}{{:0{len(self.numbers[0])}d}}{suffix}"

    def name(self, number: str) -> str:
        """Return the name of the image that has a number."""
        return f"{self.prefix}{number}{self.suffix}"

    def gap(self) -> str:
        """Say in words which image is missing between the first and the last; "" if none is."""
        width, first, present = len(self.numbers[0]), int(self.numbers[0]), {*self.numbers}
        step = self.step  # once: it goes over all numbers
        due = (f"{first + step * place:0{width}d}" for place in range(len(self.numbers)))
        missing = next((number for number in due if number not in present), None)
        if missing is None:
            return ""
        return (
            f"{len(self.numbers)} images, {self.name(self.numbers[0])} to "
            f"{self.name(self.numbers[-1])}, and no {self.name(missing)} among them; number the "
            "frames without gaps, or in equal steps"
        )


def find_series(names: Iterable[str], example: str) -> FrameSeries:
    """Find the frames among the names of a folder.

    Args:
        names: Names of all files; hidden ones are no frames.
        example: A name of one series, which is preferred to all others.

    Raises:
        ValueError: No name is like the example, and images have several other names; or the
            frames are spread over two kinds of files.
    """
    series: dict[tuple[str, str], list[str]] = {}
    for name in names:
        match = numbered_image(name)
        if match:
            series.setdefault((match[1], match[3]), []).append(match[2])
    own = _NUMBERED.fullmatch(example)
    wanted = (own[1], own[3]) if own else ("", "")
    if wanted not in series and len(series) > 1:
        raise ValueError(
            f"no {example}, and images of several names: {_shown(series)}; set DATA.FRAME_TEMPLATE"
        )
    if wanted not in series and series:
        wanted = next(iter(series))
    numbers = series.get(wanted, [])
    taken = {*map(int, numbers)}
    for (prefix, suffix), others in series.items():
        is_beside = prefix == wanted[0] and suffix != wanted[1]
        if is_beside and taken.isdisjoint(map(int, others)):
            both: dict[tuple[str, str], list[str]] = {wanted: [], (prefix, suffix): []}
            raise ValueError(f"its frames are spread over files of two names: {_shown(both)}")
    return FrameSeries(*wanted, sorted(numbers, key=int))


def numbered_image(name: str) -> re.Match[str] | None:
    """Match an image's name that ends in a number: prefix, number, suffix."""
    match = None if name.startswith(".") else _NUMBERED.fullmatch(name)  # ._1.jpg is of macOS
    is_image = match is not None and Path(name).suffix.lower() in IMAGE_SUFFIXES
    return match if is_image else None


def other_files(names: Iterable[str]) -> str:
    """Say in words what kind of files are there instead of frames; "" where there are none."""
    counts = Counter(Path(name).suffix for name in names if not name.startswith("."))
    (suffix, count), *_ = counts.most_common(1) or [("", 0)]
    if not count:
        return ""
    readable = ", ".join(sorted(IMAGE_SUFFIXES))
    return f"; of its files {count} end in {suffix or 'no suffix'}, frames in one of {readable}"


def _shown(series: dict[tuple[str, str], list[str]]) -> str:
    return ", ".join(f"{prefix}N{suffix}" for prefix, suffix in sorted(series))
