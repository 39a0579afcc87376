"""The file of class names that DATA.CLASS_NAMES names."""

from pathlib import Path

from config.text_files import read_text

MAX_BYTES = 1 << 24  # a million names


def read_class_names(path: str | Path, num_classes: int) -> list[str]:
    """Read class names, one a line, line number = label - 0-based.

    Args:
        path: The file; empty: the classes go by their numbers.
        num_classes: K.

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
