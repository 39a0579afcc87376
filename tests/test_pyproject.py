"""pyproject.toml declares what the requirements files ask for, and installs one command of ours."""

import sys
from pathlib import Path
from typing import Any

import pytest

from tools.launching.check_environment import OPTIONAL

if sys.version_info < (3, 11):
    tomllib = pytest.importorskip("tomli", reason="Python 3.10 reads no .toml files")
else:
    import tomllib

EXTRAS = {"video", "export", "viz", "weights"}  # what requirements.txt calls optional


@pytest.fixture(scope="module")
def pyproject(repository: Path) -> dict[str, Any]:
    return tomllib.loads((repository / "pyproject.toml").read_text(encoding="utf-8"))


def requirements_of(text: str) -> set[str]:
    """The lines of a requirements file that name a package."""
    lines = [line.partition("#")[0].strip() for line in text.splitlines()]
    return {line for line in lines if line and not line.startswith("-r ")}


def test_packages_and_bounds_are_those_of_the_requirements_files(
    pyproject: dict[str, Any], repository: Path
) -> None:
    project = pyproject["project"]
    extras: dict[str, list[str]] = project["optional-dependencies"]
    needed, _, optional = (repository / "requirements.txt").read_text().partition(OPTIONAL)
    assert set(project["dependencies"]) == requirements_of(needed)
    packages = [package for extra in EXTRAS for package in extras[extra]]
    assert set(packages) == requirements_of(f"#{optional}")
    assert len(set(packages)) == len(packages)
    own, *dev = extras["dev"]
    name, _, listed = own.removesuffix("]").partition("[")
    assert (name, set(listed.split(","))) == (project["name"], EXTRAS)
    assert set(dev) == requirements_of((repository / "requirements-dev.txt").read_text())
    assert set(extras) == EXTRAS | {"dev", "docs"}


def test_pythons_are_those_that_are_tried(pyproject: dict[str, Any], repository: Path) -> None:
    words = (repository / "tests/versions.sh").read_text().partition("VERSIONS=(")[2]
    oldest, *_, newest = words.partition(")")[0].split()
    major, minor = newest.split(".")
    expected = f">={oldest},<{major}.{int(minor) + 1}"
    assert pyproject["project"]["requires-python"] == expected


def test_of_ours_one_module_is_installed_and_its_folder_has_no_other(
    pyproject: dict[str, Any], repository: Path
) -> None:
    installed = pyproject["tool"]["setuptools"]
    assert (installed["packages"], installed["py-modules"]) == ([], ["tokshift_command"])
    # an editable install puts this folder on the path of every program
    folder = repository / installed["package-dir"][""]
    assert {path.name for path in folder.glob("*.py")} == {"tokshift_command.py"}
    assert pyproject["project"]["scripts"] == {"tokshift": "tokshift_command:main"}
