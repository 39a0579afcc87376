import re
import subprocess
import sys
from pathlib import Path

import pytest

from tools.launching import check_environment
from tools.launching.check_environment import (
    Requirement,
    is_older,
    missing,
    read_requirements,
    untried,
)

INSTALLED = {"torch": "2.16.0+cpu", "av": "16.1", "numpy": "2.0.0", "scipy": "1.9"}


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        check_environment, "installed_version", lambda name: INSTALLED.get(name, "")
    )


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_requirements_are_read_with_those_they_include(tmp_path: Path) -> None:
    write(tmp_path / "base.txt", "a>=1.2,<3  # why\nb\n# Optional: c.\nc-d<4\n")
    assert list(
        read_requirements(write(tmp_path / "all.txt", "-r base.txt\n# word\ne>=0.1\n"))
    ) == [
        Requirement("a", "1.2", "3", is_optional=False),
        Requirement("b", "", "", is_optional=False),
        Requirement("c-d", "", "4", is_optional=True),
        Requirement("e", "0.1", "", is_optional=False),
    ]


@pytest.mark.parametrize(
    ("version", "than", "expected"),
    [
        ("2.9.1", "2.11", True),
        ("2.11.0+cu130", "2.11", False),
        ("3", "3.0.0", False),
        ("2.15.0", "", False),
        ("20.0.0rc1", "20", False),
    ],
)
def test_versions_are_compared_by_their_numbers(version: str, than: str, expected: bool) -> None:
    assert is_older(version, than) is expected


def test_what_is_missing_or_too_old_is_needed_and_what_is_newer_is_untried(
    installed: None, tmp_path: Path
) -> None:
    text = (
        "torch>=2.11,<2.16\nnumpy>=2.0,<3\nscipy>=1.13\nyacs\n# Optional: x.\nav>=17,<20\nonnx>=1\n"
    )
    path = write(tmp_path / "requirements.txt", text)
    assert list(missing(path)) == ["scipy 1.9 is older than 1.13", "yacs is not installed"]
    assert list(untried(path)) == [
        "torch 2.16.0+cpu is newer than what was tried, below 2.16",
        "av 16.1 is older than 17",
    ]


def test_this_environment_has_what_the_tests_need(repository: Path) -> None:
    command = [sys.executable, "tools/launching/check_environment.py", "requirements-dev.txt"]
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_readme_names_the_versions_of_the_requirements(repository: Path) -> None:
    line = next(
        line
        for line in (repository / "README.md").read_text(encoding="utf-8").splitlines()
        if line.startswith("Tried with Python ")
    )
    spans = dict(re.findall(r"(\w+) (\d[\d.]*(?: to \d[\d.]*)?)[,;]", line))
    pythons = re.search(r"VERSIONS=\((.+)\)", (repository / "tests/versions.sh").read_text())
    assert pythons is not None
    versions = pythons[1].split()
    assert spans.pop("Python") == f"{versions[0]} to {versions[-1]}"
    packages = {p.name: p for p in read_requirements(repository / "requirements.txt")}
    assert {"torch", "torchvision", "PyAV"} <= spans.keys()
    for name, span in spans.items():
        package = packages[{"PyAV": "av", "NumPy": "numpy"}.get(name, name)]
        lowest, _, newest = span.partition(" to ")
        assert lowest == package.lowest, line
        *major, minor = package.below.split(".")
        assert newest == ".".join([*major, str(int(minor) - 1)]), line
