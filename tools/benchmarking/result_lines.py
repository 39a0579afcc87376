"""The lines that tools/benchmark.py writes: one measurement each, as JSON."""

import json
from pathlib import Path
from typing import Any

from tools.benchmarking.recipe_plan import Speed


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Read a file of results; a line that was cut off at the end is left out.

    Raises:
        ValueError: The file cannot be read, or holds something else.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"cannot read the results {path}: {error}") from error
    rows = []
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
        except ValueError as error:
            if number == len(lines):
                break
            raise ValueError(f"{path}, line {number}: not JSON: {error}") from error
        if not isinstance(row, dict) or "section" not in row:
            raise ValueError(f"{path}, line {number}: not a result of tools/benchmark.py")
        rows.append(row)
    return rows


def read_speed(path: Path, config: str) -> Speed:
    """Return the best speed of a config, by its file's name, among results.

    Raises:
        ValueError: The results hold no training of it.
    """
    rows = [row for row in read_lines(path) if row.get("config") == config]
    trained = [row for row in rows if row.get("clips_per_s")]
    if not trained:
        raise ValueError(
            f"{path} holds no training of {config}; measure it: python tools/benchmark.py train "
            f"--cfg YML --json {path}"
        )
    best = max(trained, key=lambda row: float(row["clips_per_s"]))
    views = max((float(row.get("views_per_s", 0)) for row in rows), default=0.0)
    source = f"measured, {best.get('precision')}, {best.get('device')}"
    return Speed(float(best["clips_per_s"]), views, source)
