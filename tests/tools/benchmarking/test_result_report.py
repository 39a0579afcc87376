import json
from pathlib import Path

import pytest

from tools.benchmarking.result_report import GOALS, Goal, Report
from tools.benchmarking.timing import Times

SLOW, FAST = Times((2.0, 2.0, 2.0)), Times((1.0, 1.0, 1.0))


def lines_of(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_speedups_and_costs_are_told_with_their_goals(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "results.jsonl"
    report = Report(out, {"device": "a card"})
    report.times("model", "forward fp32", FAST, ("plain", SLOW))
    report.times("shift", "forward and backward", SLOW, ("an addition", FAST))
    report.times("model", "of no goal", SLOW, ("timm's", FAST))
    faster, costs, free = lines_of(out)
    assert (faster["ratio"], faster["reached"]) == (2.0, True)
    assert (costs["ratio"], costs["reached"]) == (2.0, False)
    assert free["ratio"] == 0.5
    assert "goal" not in free
    assert faster["device"] == "a card"
    assert "ratio 2.0, goal at most 1.5, reached NO" in capsys.readouterr().out


def test_a_trial_does_not_judge(tmp_path: Path) -> None:
    out = tmp_path / "results.jsonl"
    Report(out, {}, judges=False).ratio("ddp", "step", 1.0)
    assert lines_of(out) == [{"section": "ddp", "what": "step", "ratio": 1.0}]


def test_goals() -> None:
    assert Goal(2.0).is_reached(2.0)
    assert not Goal(2.0).is_reached(1.99)
    assert Goal(0.05, is_least=False).is_reached(0.05)
    assert str(GOALS["ddp step"]) == "at least 1.8"
