"""Findings of a check: what is as it should be, what is not, and how to mend it."""

import json
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple, TypeVar

OK, WARNING, ERROR = "ok", "warning", "error"

Examined = TypeVar("Examined")


class Finding(NamedTuple):
    """One sentence of a check.

    Attributes:
        level: Level: ``ok``, ``warning``, or ``error`` for what must be mended.
        text: Sentence that says what was found.
        fix: Advice on mending it; empty where all is as it should be.
    """

    level: str
    text: str
    fix: str = ""


Check = Callable[[Examined], Iterable[Finding]]


def findings_of(check: Check[Examined], examined: Examined) -> Iterator[Finding]:
    """Yield the findings of a check; one that fails itself is a finding too."""
    try:
        yield from check(examined)
    except Exception as error:  # noqa: BLE001 - a check looks at what may be broken in any way
        text = " ".join(str(error).split())
        yield Finding(
            ERROR,
            f"this check itself failed: {type(error).__name__}: {text}",
            "mend what the exception names; if that is nothing of yours, report it",
        )


class Diagnosis:
    """Shows findings under the name of their check as they come, and keeps them."""

    def __init__(self) -> None:
        self._findings: list[tuple[str, Finding]] = []

    def open(self, name: str) -> None:
        """Begin with the findings of a check."""
        sys.stdout.write(f"{name}\n")

    def add(self, name: str, finding: Finding) -> None:
        """Show and keep a finding."""
        self._findings.append((name, finding))
        lines = finding.text.splitlines()
        sys.stdout.write(f"  {finding.level:8}{lines[0]}\n")
        sys.stdout.writelines(f"  {'':8}{line}\n" for line in lines[1:])
        if finding.fix:
            sys.stdout.write(f"  {'':8}-> {finding.fix}\n")
        sys.stdout.flush()

    def num(self, level: str) -> int:
        """Count the findings of a level."""
        return sum(finding.level == level for _, finding in self._findings)

    @property
    def verdict(self) -> str:
        """The whole in a sentence."""
        errors, warnings = self.num(ERROR), self.num(WARNING)
        also = f"{warnings} warning{'' if warnings == 1 else 's'}"
        if not errors:
            return f"ready to run, {also}"
        return f"not ready: {errors} thing{'' if errors == 1 else 's'} to mend, {also}"

    def write_json(self, path: Path) -> None:
        """Write verdict and findings for machines."""
        findings = [{"check": name, **finding._asdict()} for name, finding in self._findings]
        content = {"ready": not self.num(ERROR), "verdict": self.verdict, "findings": findings}
        path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
