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

OPTIONAL = "# Optional"


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
    for line in requirements.read_text().partition(OPTIONAL)[0].splitlines():
        if line.startswith("-r "):
            yield from missing(requirements.parent / line[3:].strip())
            continue
        match = re.match(r"([\w.-]+)(?:>=([\d.]+))?", line)
        if match:
            name, lowest = match.groups()
            try:
                version = metadata.version(name)
            except metadata.PackageNotFoundError:
                yield f"{name} is not installed"
                continue
            if lowest and _numbers(version) < _numbers(lowest):
                yield f"{name} {version} is older than {lowest}"
    try:
        importlib.import_module("torchvision")
    except (ImportError, OSError, RuntimeError) as error:  # builds that do not go together
        yield f"torchvision does not import: {error}"


def num_processes() -> int:
    """Return one process for each GPU; without GPUs two, on one core one."""
    import torch  # takes seconds: not for a check that fails early

    return torch.cuda.device_count() or min(2, os.cpu_count() or 1)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version.split("+")[0])[:3])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
