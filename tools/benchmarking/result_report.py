"""What a measurement is held against, and how it is told: a line, and a JSON line as it comes."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.benchmarking.timing import Times

_DIGITS = 4


@dataclass(frozen=True)
class Goal:
    """A ratio that must be reached.

    Attributes:
        limit: Ratio to reach.
        is_least: Whether it must be at least the limit; False: at most.
    """

    limit: float
    is_least: bool = True

    def is_reached(self, ratio: float) -> bool:
        """Tell whether a measured ratio is good enough."""
        return ratio >= self.limit if self.is_least else ratio <= self.limit

    def __str__(self) -> str:
        return f"at {'least' if self.is_least else 'most'} {self.limit:g}"


GOALS = {  # by section and what is measured there
    "shift forward and backward": Goal(1.5, is_least=False),
    "model step with shift": Goal(1.01, is_least=False),
    "model forward fp32": Goal(1.06),
    "model forward bf16": Goal(1.06),
    "model step fp32": Goal(1.06),
    "model step bf16": Goal(1.15),
    "model recomputing blocks, time": Goal(1.35, is_least=False),
    "model recomputing blocks, memory": Goal(0.5, is_least=False),
    "test fp32": Goal(3.5),
    "test bf16": Goal(9.0),
    "load clip of a folder": Goal(2.0),
    "load clip of a packed file": Goal(2.2),
    "ddp step": Goal(1.8),
    "feed wait": Goal(0.05, is_least=False),
    "train share of the peak": Goal(0.45),
    "test share of the peak": Goal(0.5),
}


class Report:
    """Tells results as they come; what is cut short has told all that it found.

    Args:
        out: File that JSON lines are appended to; None: none.
        common: Values that stand in each line: config, device and so on.
        judges: Whether reached goals are told; those of a tiny network mean nothing.
    """

    def __init__(self, out: Path | None, common: dict[str, Any], judges: bool = True) -> None:
        self.out = out
        self.common = common
        self.judges = judges

    def times(
        self,
        section: str,
        what: str,
        ours: Times,
        baseline: tuple[str, Times] | None = None,
        **values: Any,
    ) -> None:
        """Tell the time of a call, and how it compares with a baseline.

        Args:
            section: Name of the benchmark's section.
            what: Name of the call that is timed.
            ours: Times of that call.
            baseline: Name and times of the call that it is compared with.
            values: Further figures by name.
        """
        figures = {"median_ms": 1e3 * ours.median, "spread": ours.spread, **values}
        if baseline is None:
            self.figures(section, what, **figures)
            return
        name, theirs = baseline
        goal = GOALS.get(f"{section} {what}")
        is_speedup = goal is None or goal.is_least
        ratio = theirs.over(ours) if is_speedup else ours.over(theirs)
        figures |= {"against": name, "against_ms": 1e3 * theirs.median}
        figures |= {"against_spread": theirs.spread}
        self.ratio(section, what, ratio, **figures)

    def ratio(self, section: str, what: str, ratio: float, **values: Any) -> None:
        """Tell a ratio, and whether it is the one that must be reached."""
        goal = GOALS.get(f"{section} {what}")
        figures = {**values, "ratio": ratio}
        if goal is not None and self.judges:
            figures |= {"goal": str(goal), "reached": goal.is_reached(ratio)}
        self.figures(section, what, **figures)

    def figures(self, section: str, what: str, **values: Any) -> None:
        """Tell figures by name."""
        rounded = {name: _rounded(value) for name, value in values.items()}
        text = ", ".join(f"{name} {_shown(value)}" for name, value in rounded.items())
        sys.stdout.write(f"{section}: {what}: {text}\n")
        sys.stdout.flush()
        if self.out is not None:
            line = json.dumps({"section": section, "what": what, **self.common, **rounded})
            with self.out.open("a", encoding="utf-8") as file:
                file.write(f"{line}\n")


def _rounded(value: Any) -> Any:
    return float(f"{value:.{_DIGITS}g}") if isinstance(value, float) else value


def _shown(value: Any) -> str:
    return {True: "yes", False: "NO"}[value] if isinstance(value, bool) else str(value)
