"""Says whether this Python has what a requirements file asks for, and how many processes suit it.

``check_environment.py requirements.txt`` prints a line per lack and exits with 1 if there is one;
``check_environment.py --processes`` prints a number. Runs on Python 3.8 or newer, before
anything of ours.
"""

from __future__ import annotations

import importlib
import os
import re
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

OPTIONAL = "# Optional"  # begins the part of a requirements file that can be done without
_LINE = re.compile(r"([\w.-]+)(?:>=([\d.]+))?(?:,?<([\d.]+))?")


class Requirement(NamedTuple):
    """A package that a requirements file names.

    Attributes:
        name: As pip knows it.
        lowest: Version that is needed; empty for any.
        below: Version from which on it was not tried; empty where it is not known to break.
        is_optional: It stands in the file's optional part.
    """

    name: str
    lowest: str
    below: str
    is_optional: bool


def main(argument: str) -> int:
    """Check a requirements file, or print the number of processes."""
    if argument == "--processes":
        sys.stdout.write(f"{num_processes()}\n")
        return 0
    lacks = list(missing(Path(argument)))
    sys.stderr.writelines(f"{lack}\n" for lack in lacks)
    return 1 if lacks else 0


def missing(requirements: Path) -> Iterator[str]:
    """Yield what is missing or too old, up to the file's optional part."""
    if sys.version_info < (3, 10):  # noqa: UP036 - this is what finds out
        yield "python 3.10 or newer"
        return
    for package in read_requirements(requirements):
        if not package.is_optional:
            version = installed_version(package.name)
            if not version:
                yield f"{package.name} is not installed"
            elif is_older(version, package.lowest):
                yield f"{package.name} {version} is older than {package.lowest}"
    try:
        importlib.import_module("torchvision")
    except (ImportError, OSError, RuntimeError) as error:  # builds that do not go together
        yield f"torchvision does not import: {error}"


def untried(requirements: Path) -> Iterator[str]:
    """Yield what is installed in a version that was not tried: it may work."""
    for package in read_requirements(requirements):
        version = installed_version(package.name)
        if version and package.is_optional and is_older(version, package.lowest):
            yield f"{package.name} {version} is older than {package.lowest}"
        elif version and package.below and not is_older(version, package.below):
            yield f"{package.name} {version} is newer than what was tried, below {package.below}"


def read_requirements(requirements: Path) -> Iterator[Requirement]:
    """Yield the packages of a requirements file and of those that it includes."""
    needed, mark, optional = requirements.read_text(encoding="utf-8").partition(OPTIONAL)
    for is_optional, text in ((False, needed), (True, mark + optional)):
        for line in text.splitlines():
            if line.startswith("-r "):
                yield from read_requirements(requirements.parent / line[3:].strip())
                continue
            match = _LINE.match(line)
            if match:
                yield Requirement(match[1], match[2] or "", match[3] or "", is_optional)


def installed_version(name: str) -> str:
    """Return the version of a package; empty where it is not installed."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""


def is_older(version: str, than: str) -> bool:
    """Compare the first three numbers of two versions; nothing is older than an empty one."""
    return bool(than) and _numbers(version) < _numbers(than)


def num_processes() -> int:
    """Return one process for each GPU; without GPUs two, on one core one."""
    import torch  # takes seconds: not for a check that fails early

    return torch.cuda.device_count() or min(2, os.cpu_count() or 1)


def _numbers(version: str) -> tuple[int, ...]:
    numbers = [int(part) for part in re.findall(r"\d+", version.split("+")[0])[:3]]
    return tuple(numbers + [0] * (3 - len(numbers)))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
