"""The yml files behind a config: its own, and those that it inherits from by ``_BASE_``."""

from pathlib import Path
from typing import Any, NamedTuple

from config.shell_paths import expanded
from config.text_files import read_text
from config.values import shown
from config.yaml_tree import MAX_CHARACTERS, parse_yaml

BASE_KEY = "_BASE_"
CONFIG_FOLDER = Path(__file__).resolve().parent


class YmlFile(NamedTuple):
    """A parsed file: what to call it in messages, and its tree, without ``_BASE_``."""

    source: str
    tree: dict[str, Any]


def find_config(path: str | Path) -> Path:
    """Return where a yml lies: a relative ``config/...`` that is not here is this project's."""
    path = Path(expanded(str(path), "the config", is_strict=True))
    ours = CONFIG_FOLDER.parent / path
    is_ours = not path.is_absolute() and path.parts[:1] == (CONFIG_FOLDER.name,)
    return ours if is_ours and not path.exists() and ours.exists() else path


def read_files(path: str | Path) -> list[YmlFile]:
    """Read a yml and what it inherits from; the last in the line comes first, the file itself last.

    Raises:
        ValueError: A file cannot be read, or inherits from itself.
    """
    place = find_config(path)
    source, seen, files = str(place), [place.resolve()], list[YmlFile]()
    while True:
        text = read_text(place, "the config", max_bytes=4 * MAX_CHARACTERS)
        tree = parse_yaml(text, source)
        base = tree.pop(BASE_KEY, None)
        files.insert(0, YmlFile(source, tree))
        if base is None:
            return files
        place = _find_base(base, place, source)
        source = f"{place} ({BASE_KEY} of {source})"
        if place.resolve() in seen:
            chain = " -> ".join(str(file) for file in [*seen, place.resolve()])
            raise ValueError(f"{path}: its {BASE_KEY} files go round in a circle: {chain}")
        seen.append(place.resolve())


def _find_base(name: Any, child: Path, source: str) -> Path:
    if not isinstance(name, str) or not name or "\0" in name:
        raise ValueError(f"{source}: {BASE_KEY}={shown(name)}; it names one yml file")
    name = expanded(name, f"{source}: {BASE_KEY}", is_strict=True)
    for place in (child.parent / name, _from_here(CONFIG_FOLDER / name)):
        if place.is_file():
            return place
    raise ValueError(
        f"{source}: {BASE_KEY}={shown(name)} is neither in {child.parent} nor in {CONFIG_FOLDER}"
    )


def _from_here(path: Path) -> Path:
    """Return a path as it is typed in the current folder: --print-config shows it on each line."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path
