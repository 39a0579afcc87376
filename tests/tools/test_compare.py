import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from engine.results import write_results
from engine.scores import Scores
from engine.statistics import mcnemar_test, wilson_interval
from tools.compare import main

RIGHT = {"a": [1, 1, 1, 0, 1, 0, 0, 1], "b": [1, 0, 0, 0, 1, 1, 0, 0]}  # by video
NAMES = ["up", "down"]
LABELS = np.array([0, 0, 0, 0, 1, 1, 1, 1])


@pytest.fixture
def make_test(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Make the folder of a test in which the given videos are right."""
    monkeypatch.setattr("engine.confusion.can_draw", lambda: False)  # a picture takes half a second

    def make(name: str, videos: str = "01234567", protocol: str = "1x1 views") -> Path:
        right = np.array(RIGHT[name[0]])
        predicted = np.where(right, LABELS, 1 - LABELS)
        logits = np.eye(2, dtype=np.float32)[predicted][:, None]
        scores = Scores(np.array([*videos]), LABELS, logits, num_clips=1, num_crops=1)
        write_results(tmp_path / name, scores, [], NAMES, {"protocol": protocol})
        return tmp_path / name

    for name in ("a", "b", "a2", "b2"):
        (tmp_path / name).mkdir()
    return make


def test_figures_worked_by_hand(
    make_test: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.json"
    assert main([str(make_test("a")), str(make_test("b")), "--json", str(out)]) == 0
    text = capsys.readouterr().out
    low, high = (100 * end for end in wilson_interval(5, 8))
    assert f"A: top-1 62.50 ({low:.2f} to {high:.2f}) of 8 videos\nB: top-1 37.50 (" in text
    assert "on the same 8 videos: 2 right in both, 3 in A alone,\n  1 in B alone, 2 in" in text
    assert f"two-sided: p = {mcnemar_test(3, 1):.3g}\n" in text
    rows = [line.split() for line in text.splitlines()[-2:]]
    assert rows == [["up", "4", "2", "0", "-50.0"], ["down", "4", "1", "1", "+0.0"]]
    found = json.loads(out.read_text())["paired"]
    assert (found["both"], found["only_first"], found["only_second"], found["neither"]) == (
        2,
        3,
        1,
        2,
    )


def test_what_differs_comes_before_any_number(
    make_test: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    a, b = make_test("a"), make_test("b", protocol="10x3 views")
    assert main([str(a), str(b / "results.json")]) == 0
    text = capsys.readouterr().out
    assert text.index(
        "differs in protocol\n  protocol of the test: 1x1 views -> 10x3"
    ) < text.index("top-1")
    assert main([str(a), str(make_test("a2"))]) == 0
    text = capsys.readouterr().out
    assert "nothing differs of what is recorded, but the checkpoint\n" in text
    assert "p = 1\n" in text


def test_other_videos_are_named_and_left_out_only_when_asked(
    make_test: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    a, b = str(make_test("a")), str(make_test("b2", videos="012345xy"))
    assert main([a, b]) == 1
    told = capsys.readouterr()
    assert "top-1" not in told.out
    assert (
        "tested other videos: 6 videos are in both, 2 in the first alone: '6', '7'; 2" in told.err
    )
    assert told.err.endswith("; --common compares those\n")
    assert main([a, b, "--common"]) == 0
    assert "on the same 6 videos: 2 right in both" in capsys.readouterr().out


def test_without_scores_the_accuracies_are_told_and_why_no_more(
    make_test: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    a, b = make_test("a"), make_test("b")
    (b / "scores.npz").unlink()
    assert main([str(a), str(b)]) == 0
    text = capsys.readouterr().out
    assert "B: top-1 37.50 (" in text
    assert f"no scores.npz with {b}: the videos" in text
    (b / "results.json").write_text("{}")
    (b / "log.jsonl").write_text('{"kind": "val"}\n')
    assert main([str(a), str(b)]) == 1
    assert "holds no test" in capsys.readouterr().err


def test_lists_without_a_common_video_are_no_comparison(
    make_test: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    a, b = str(make_test("a")), str(make_test("b2", videos="abcdefgh"))
    assert main([a, b, "--common"]) == 1
    assert "0 videos are in both" in capsys.readouterr().err
