"""The table of published weights, model_zoo/index.yml: where each lies and what it is for."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from config.base_files import CONFIG_FOLDER
from config.text_files import read_text
from config.yaml_tree import MAX_CHARACTERS, parse_yaml

PROJECT = CONFIG_FOLDER.parent
INDEX = PROJECT / "model_zoo/index.yml"
START_FOLDER = "pretrain"


@dataclass(frozen=True)
class PublishedWeights:
    """Weights that somebody has published.

    Attributes:
        name: Name of the weights here.
        of: Model and training of the weights, and whose they are.
        file: Path of the file, relative to this project; a folder for some.
        address: URL of the weights; empty where a library has them, or nobody says.
        also: Another URL of the same weights.
        command: Command that makes the file from those that a library has.
        note: Further remark for the user.
        sha256: Hash as published; empty where none was.
        config: Recipe that they go with, then keys; empty where they describe themselves.
        top1: Accuracy, percent, as published; empty where none was.
        stated: Day of the statement that the addresses are from.
    """

    name: str
    of: str
    file: str
    address: str = ""
    also: str = ""
    command: str = ""
    note: str = ""
    sha256: str = ""
    config: str = ""
    top1: str = ""
    stated: str = ""

    @property
    def is_start(self) -> bool:
        """Whether a training starts from them; the others are tested and fine-tuned."""
        return self.file.startswith(f"{START_FOLDER}/")

    def place(self, root: Path = PROJECT) -> Path:
        """Return where they lie, or are to lie."""
        return root / self.file


def read_index(path: Path = INDEX) -> dict[str, PublishedWeights]:
    """Return the published weights by name.

    Raises:
        ValueError: The file cannot be read, or an entry has an unknown field or lacks one.
    """
    text = read_text(path, "the index of weights", max_bytes=4 * MAX_CHARACTERS)
    tree = parse_yaml(text, str(path))
    entries: dict[str, dict[str, Any]] = tree.get("WEIGHTS") or {}
    stated = tree.get("STATED", "")
    try:
        return {
            name: PublishedWeights(
                name, stated=stated, **{field.lower(): value for field, value in fields.items()}
            )
            for name, fields in entries.items()
        }
    except (TypeError, AttributeError) as error:
        raise ValueError(f"{path}: {error}") from error


def fetch_hint(path: str | Path) -> str:
    """Say how to get a file of weights that is not there; "" if it is there, or unknown."""
    path = Path(path)
    if path.exists():
        return ""
    for entry in read_index().values():
        if Path(entry.file).name == path.name:
            return (
                f"{path} is not there; python tools/fetch_weights.py {entry.name} gets it to "
                f"{entry.file}, or says how it can be had"
            )
    return ""
