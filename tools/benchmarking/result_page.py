"""A page of tables from the lines of a benchmark, for people."""

from pathlib import Path
from typing import Any

from tools.benchmarking.result_lines import read_lines

HEADING = "## Measured"
PART = "part"  # the section of lines that say how a part of tools/gpu_check.sh ended

_COMMON = ("section", "what", "config", "device", "torch", "tiny")
_TIMES = ("median_ms", "spread", "against", "against_ms", "against_spread")
_GOAL = ("ratio", "goal", "reached")


def write_page(page: Path, results: Path) -> None:
    """Write the results of a file as tables, one for each machine, behind what a page says already.

    Args:
        page: Path of a page in Markdown; what stands in it from `HEADING` on is replaced.
        results: Path of the JSON lines of a benchmark.

    Raises:
        ValueError: The results cannot be read.
    """
    before = page.read_text(encoding="utf-8").partition(HEADING)[0] if page.exists() else ""
    rows = read_lines(results)
    machines: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        if row["section"] != PART:
            machines.setdefault(_machine(row), []).append(row)
    parts = [f"{before}{HEADING}\n"]
    for machine, measured in machines.items():
        parts += [f"### {machine}\n", "| config | what | median | against | ratio | goal | more |"]
        parts += ["|---|---|---|---|---|---|---|", *map(_row, measured), ""]
    ended = [row for row in rows if row["section"] == PART]
    if ended:
        parts += [
            "### How the parts ended\n",
            "| part | status | seconds | limit |",
            "|---|---|---|---|",
        ]
        parts += [f"| {r['what']} | {r['status']} | {r['seconds']} | {r['limit']} |" for r in ended]
        parts.append("")
    page.write_text("\n".join(parts), encoding="utf-8")


def _machine(row: dict[str, Any]) -> str:
    trial = ", a trial with a tiny network: no measurement" if row.get("tiny") else ""
    return f"{row.get('device')}, torch {row.get('torch')}{trial}"


def _row(row: dict[str, Any]) -> str:
    against = f"{row['against']}, {_time(row, 'against_')}" if "against" in row else ""
    goal = (
        f"{row['goal']}: {'reached' if row['reached'] else '**missed**'}" if "goal" in row else ""
    )
    known = {*_COMMON, *_TIMES, *_GOAL}
    more = ", ".join(f"{name} {value}" for name, value in row.items() if name not in known)
    cells = (
        row.get("config", ""),
        f"{row['section']}: {row['what']}",
        _time(row, ""),
        against,
        row.get("ratio", ""),
        goal,
        more,
    )
    return f"| {' | '.join(map(str, cells))} |"


def _time(row: dict[str, Any], prefix: str) -> str:
    median = row.get(f"{prefix}ms") if prefix else row.get("median_ms")
    if median is None:
        return ""
    spread = row.get(f"{prefix}spread")
    return f"{median} ms" + (f" ± {spread:.1%}" if spread is not None else "")
