"""The lines of log.jsonl, read back, and where in the training each of them stands."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

FILE = "log.jsonl"


def read_log(folder: Path) -> list[dict[str, Any]]:
    """Return the lines of a run's log.jsonl; none where there is no such file.

    A line that a killed run left torn is left out.
    """
    path = folder / FILE
    if not path.is_file():
        return []
    with path.open("rb") as file:
        entries = [_entry(line) for line in file]
    return [entry for entry in entries if "kind" in entry]


def epochs_at(lines: Sequence[dict[str, Any]]) -> list[float | None]:
    """Return for each line how many epochs were done, with fraction; None where it does not say.

    The first of our logs counted their epochs from 0; where a run went on with a count from 1, one
    number is missing.
    """
    of_train = [line for line in lines if line["kind"] == "train"]
    per_epoch = max((number_in(line, "iteration") or 0 for line in of_train), default=0)
    first, before = 1, math.inf
    places: list[float | None] = []
    for line in lines:
        epoch = number_in(line, "epoch")
        if line["kind"] == "train" and epoch is not None:
            if epoch == 0 or "step" not in line:
                first = 0
            elif epoch > before + 1:
                first = 1
            before = epoch
        if epoch is None:
            places.append(None)
        elif line["kind"] == "train":
            iteration = number_in(line, "iteration") or 0
            places.append(epoch - first + (iteration / per_epoch if per_epoch else 0))
        else:
            places.append(epoch - first + 1)
    return places


def number_in(line: dict[str, Any], name: str) -> float | None:
    """Return a number of a line; None where it has none of that name, or one that is not finite."""
    value = line.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if math.isfinite(value) else None


def _entry(line: bytes) -> dict[str, Any]:
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):  # torn, or not ours
        return {}
    return entry if isinstance(entry, dict) else {}
