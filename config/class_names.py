"""Class names by label: the file that DATA.CLASS_NAMES names, and those of others beside it."""

from collections.abc import Sequence
from pathlib import Path

from config.text_files import read_text

MAX_BYTES = 1 << 24  # a million names


def read_class_names(path: str | Path, num_classes: int) -> list[str]:
    """Read class names, one a line, line number = label - 0-based.

    Args:
        path: Path of the file; empty: the classes go by their numbers.
        num_classes: Number of classes, K.

    Raises:
        ValueError: The file cannot be read or does not hold num_classes names.
    """
    if not path:
        return [str(label) for label in range(num_classes)]
    text = read_text(path, "DATA.CLASS_NAMES", max_bytes=MAX_BYTES)
    names = [line.strip() for line in text.split("\n") if line.strip()]
    if len(names) != num_classes:
        raise ValueError(f"{path}: {len(names)} class names, MODEL.NUM_CLASSES is {num_classes}")
    return names


def names_of(label: int | Sequence[float], names: Sequence[str]) -> str:
    """Return the name of a class, or of several those that are above 0, joined by commas.

    Args:
        label: Index of a class, or a number for each class.
        names: Names of the classes by label.
    """
    if isinstance(label, int):
        return names[label]
    return ", ".join(name for name, value in zip(names, label, strict=True) if value > 0)


def check_same_names(ours: Sequence[str], theirs: Sequence[str], source: str, way_out: str) -> None:
    """Reject class names that differ at a label, since a label would mean something else.

    Names that are mere numbers are those of a run that knew none, and fit any.

    Args:
        ours: Names by label, as DATA.CLASS_NAMES has them.
        theirs: Names by label of a checkpoint.
        source: Name of the checkpoint, for the message.
        way_out: Advice on what to do about it.

    Raises:
        ValueError: A label has two names; the text has the first such label.
    """
    if are_numbers(ours) or are_numbers(theirs):
        return
    for label, (our, their) in enumerate(zip(ours, theirs, strict=False)):
        if our != their:
            raise ValueError(
                f"label {label} is {their!r} in {source} and {our!r} in DATA.CLASS_NAMES; {way_out}"
            )


def are_numbers(names: Sequence[str]) -> bool:
    """Tell whether names are the labels themselves, as a run without names writes them."""
    return list(names) == [str(label) for label in range(len(names))]
