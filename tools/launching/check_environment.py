"""Says whether this Python has what a requirements file asks for, and how many processes suit it.

``check_environment.py requirements.txt`` prints a line per lack and exits with 1 if there is one;
``check_environment.py --processes [N]`` prints the number of processes, N if it is given, and the
threads that each may use; ``check_environment.py --cores`` prints the number of CPU cores. Runs on
Python 3.8 or newer, before anything of ours, and goes by the metadata of the packages: an import of
torch takes seconds.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

OPTIONAL = "# Optional"  # begins the part of a requirements file that can be done without
# Where a host that has a GPU, of whatever maker, shows its driver; /dev/dxg is that of WSL.
GPU_SIGNS = (
    *("/proc/driver/nvidia", "/dev/nvidiactl", "/dev/nvidia0", "/dev/nvmap", "/dev/nvhost-gpu"),
    *("/dev/kfd", "/dev/dxg"),
)
_LINE = re.compile(r"([\w.-]+)(?:>=([\d.]+))?(?:,?<([\d.]+))?")
_TORCH = re.compile(r"torch\s*\(?\s*([<>=!][^;)]*)")  # in a package's metadata
_BOUND = re.compile(r"(==|!=|>=|<=|>|<)\s*([\d.]+)")


class Requirement(NamedTuple):
    """A package that a requirements file names.

    Attributes:
        name: Name under which pip knows it.
        lowest: Lowest version that is needed; empty for any.
        below: Version from which on it was not tried; empty where it is not known to break.
        is_optional: Whether it stands in the file's optional part.
    """

    name: str
    lowest: str
    below: str
    is_optional: bool


def main(argv: Sequence[str]) -> int:
    """Check a requirements file, or print the number of processes or of cores."""
    if argv[0] == "--cores":
        sys.stdout.write(f"{num_cores()}\n")
        return 0
    if argv[0] == "--processes":
        asked = argv[1] if len(argv) > 1 else ""
        if asked and not (asked.isdecimal() and int(asked)):
            sys.stderr.write(f"error: PROCESSES={asked}; it must be a number from 1 on\n")
            return 1
        processes = int(asked) if asked else num_processes()
        sys.stdout.write(f"{processes} {max(num_cores() // processes, 1)}\n")
        return 0
    lacks = list(missing(Path(argv[0])))
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
    yield from mismatched_builds()


def mismatched_builds() -> Iterator[str]:
    """Yield why torchvision and torch do not go together: importing them would fail."""
    torch, torchvision = installed_version("torch"), installed_version("torchvision")
    if not (torch and torchvision):
        return
    for line in metadata_requirements("torchvision"):
        match = _TORCH.match(line)
        if match and not all(_holds(torch, *bound) for bound in _BOUND.findall(match[1])):
            yield f"torchvision {torchvision} was built for torch{match[1].strip()}, not {torch}"
    cuda, needed = _build(torch), _build(torchvision)
    if cuda and needed.startswith("cu") and needed[:-1] != cuda[:-1]:  # cu126, cu130, cpu
        yield f"torchvision {torchvision} was built for another CUDA than torch {torch}"


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


def metadata_requirements(name: str) -> list[str]:
    """Return what an installed package asks for, as its metadata have it."""
    return metadata.requires(name) or []


def is_older(version: str, than: str) -> bool:
    """Compare the first three numbers of two versions; nothing is older than an empty one."""
    return bool(than) and _numbers(version) < _numbers(than)


def num_processes() -> int:
    """Return one process for each GPU; without GPUs two, on one core one."""
    return num_gpus() or min(2, num_cores())


def num_gpus() -> int:
    """Return the number of GPUs that torch sees; torch is not asked where none can be."""
    if not may_have_gpu():
        return 0
    import torch  # takes seconds: only with a GPU, when the run needs it anyway

    return torch.cuda.device_count()


def may_have_gpu() -> bool:
    """Return whether torch may see a GPU: there is a driver and none is hidden."""
    if sys.platform == "darwin":
        return False  # torch.cuda counts none there
    others = {"HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES"}
    if not others & os.environ.keys() and os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        return False
    return sys.platform != "linux" or any(Path(sign).exists() for sign in GPU_SIGNS)


def num_cores() -> int:
    """Return the number of CPU cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _build(version: str) -> str:
    """Return what a version says of its build, as cu130 or cpu."""
    return version.partition("+")[2]


def _holds(version: str, sign: str, bound: str) -> bool:
    ours, theirs = _numbers(version), _numbers(bound)
    return {
        "==": ours == theirs,
        "!=": ours != theirs,
        ">=": ours >= theirs,
        "<=": ours <= theirs,
        ">": ours > theirs,
        "<": ours < theirs,
    }[sign]


def _numbers(version: str) -> tuple[int, ...]:
    numbers = [int(part) for part in re.findall(r"\d+", version.split("+")[0])[:3]]
    return tuple(numbers + [0] * (3 - len(numbers)))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
