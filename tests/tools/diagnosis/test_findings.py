import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tools.diagnosis.findings import ERROR, OK, WARNING, Diagnosis, Finding, findings_of


def test_report_shows_each_finding_with_its_remedy(capsys: pytest.CaptureFixture[str]) -> None:
    report = Diagnosis()
    report.open("disk")
    report.add("disk", Finding(WARNING, "little room:\n  /data", "make room"))
    assert capsys.readouterr().out == (
        "disk\n  warning little room:\n            /data\n          -> make room\n"
    )


@pytest.mark.parametrize(
    ("levels", "verdict"),
    [
        ((OK,), "ready to run, 0 warnings"),
        ((OK, WARNING), "ready to run, 1 warning"),
        ((ERROR, WARNING, WARNING), "not ready: 1 thing to mend, 2 warnings"),
        ((ERROR, ERROR), "not ready: 2 things to mend, 0 warnings"),
    ],
)
def test_verdict_counts_what_must_be_mended(
    levels: tuple[str, ...], verdict: str, tmp_path: Path
) -> None:
    report = Diagnosis()
    for level in levels:
        report.add("check", Finding(level, "text", "fix"))
    assert report.verdict == verdict
    report.write_json(tmp_path / "out.json")
    written = json.loads((tmp_path / "out.json").read_text())
    assert (written["verdict"], written["ready"]) == (verdict, ERROR not in levels)
    assert [finding["level"] for finding in written["findings"]] == list(levels)
    assert written["findings"][0] == {
        "check": "check", "level": levels[0], "text": "text", "fix": "fix"
    }  # fmt: skip


def test_check_that_fails_itself_is_a_finding() -> None:
    def check(examined: int) -> Iterator[Finding]:
        yield Finding(OK, "seen")
        raise KeyError(examined)

    seen, failed = findings_of(check, 7)
    assert seen.text == "seen"
    assert (failed.level, failed.text) == (ERROR, "this check itself failed: KeyError: 7")
