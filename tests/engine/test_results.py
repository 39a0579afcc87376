import json
import logging
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from engine.results import record_best, record_epoch, record_validation, write_results
from engine.run_log import NullRunLog, RunLog
from engine.scores import Scores

# Of the averaged logits: (1.5, 0, 0), (-0.5, 0, 0) with its second class first, and (0, 3, 0).
SURE = sum(1 / (1 + other) for other in (2 * math.exp(-1.5), 1 + math.exp(-0.5), 2 * math.exp(-3)))
SOURCE = {"protocol": "1x2 views", "checkpoint": "best.pth", "list": "val.txt"}


@pytest.fixture
def scores() -> Scores:
    """Three videos of two classes, two views each; the second is right by logits alone."""
    views = [[[2, 0, 0], [1, 0, 0]], [[9, 0, 0], [-10, 0, 0]], [[0, 3, 0], [0, 3, 0]]]
    logits = np.array(views, np.float32)
    return Scores(np.array(["a", "b", "c"]), np.array([0, 1, 1]), logits, num_clips=1, num_crops=2)


def results(folder: Path) -> dict:
    return json.loads((folder / "results.json").read_text())


def test_results_worked_by_hand(scores: Scores, tmp_path: Path) -> None:
    write_results(tmp_path, scores, ["d is cut short"], ["run", "swim", "ski"], SOURCE)
    written = results(tmp_path)
    assert written.pop("top1_interval") == [pytest.approx(43.85, abs=0.01), 100.0]
    assert written.pop("calibration_error") == pytest.approx(100 * (3 - SURE) / 3, abs=1e-3)
    assert written == SOURCE | {
        "top1": 100.0,
        "top5": 100.0,
        "mean_class_accuracy": 100.0,
        "num_videos": 3,
        "num_listed": 4,
        "unreadable": ["d is cut short"],
        "num_views": 2,
        "per_class_accuracy": {"run": 100.0, "swim": 100.0, "ski": None},
    }
    kept = Scores.load(tmp_path / "scores.npz")
    np.testing.assert_array_equal(kept.view_logits, scores.view_logits)
    files = {path.name for path in tmp_path.iterdir()} - {"confusion.png"}  # it needs matplotlib
    assert files == {"results.json", "scores.npz", "confusion.csv", "tensorboard"}
    rows = (tmp_path / "confusion.csv").read_text().splitlines()
    assert rows == ["true \\ predicted,run,swim,ski", "run,1,0,0", "swim,0,2,0", "ski,0,0,0"]


def test_final_test_stands_once_in_tensorboard(scores: Scores, tmp_path: Path) -> None:
    module = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    for averages_logits in (True, False):
        words = (tmp_path, scores, [], ["run", "swim", "ski"], SOURCE, averages_logits)
        write_results(*words, num_epochs=7)
    accumulator = module.EventAccumulator(str(tmp_path / "tensorboard"))
    accumulator.Reload()
    found = {
        tag: [(event.step, event.value) for event in accumulator.Scalars(tag)]
        for tag in accumulator.Tags()["scalars"]
    }
    assert found.pop("test/top1") == [(7, pytest.approx(200 / 3))]
    assert found == {
        "test/mean_class_accuracy": [(7, 75.0)],
        "test_top1_of_class/0_run": [(7, 100.0)],
        "test_top1_of_class/1_swim": [(7, 50.0)],
    }


def test_top5_is_said_where_it_can_vary(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    for num_classes, says in ((5, False), (6, True)):
        logits = np.eye(num_classes, dtype=np.float32)[:2, None]
        scores = Scores(np.array(["a", "b"]), np.array([0, 1]), logits, num_clips=1, num_crops=1)
        caplog.clear()
        write_results(tmp_path, scores, [], list(map(str, range(num_classes))), SOURCE)
        record_epoch(NullRunLog(), 1, {"loss": 1.0, "top1": 50.0, "top5": 100.0}, 0.1, num_classes)
        assert caplog.text.count("top5 100") == 2 * says


def test_probabilities_are_averaged_where_asked(scores: Scores, tmp_path: Path) -> None:
    write_results(tmp_path, scores, [], ["run", "swim", "ski"], SOURCE, average_logits=False)
    assert results(tmp_path)["per_class_accuracy"] == {"run": 100.0, "swim": 50.0, "ski": None}
    with np.load(tmp_path / "scores.npz") as file:  # its mean is of logits, whatever the figures
        np.testing.assert_array_equal(file["mean_logits"], scores.averaged())


def test_videos_that_are_left_out_are_said(
    scores: Scores, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    write_results(tmp_path, scores, ["d is cut short"], ["run", "swim", "ski"], SOURCE)
    assert "left out: d is cut short" in caplog.text
    assert (
        "test of 3 of 4 videos, 2 views each: top1 100.00 mean class accuracy 100.00; "
        in caplog.text
    )
    assert "; 95 % interval of top1 43.85 to 100.00, calibration error " in caplog.text


def test_results_of_several_classes_have_precisions_and_no_confusion(
    scores: Scores, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    write_results(tmp_path, scores, [], ["run", "swim", "ski"], SOURCE)  # leaves a confusion
    labels = np.array([[1, 0, 0], [1, 1, 0], [0, 1, 0]], np.uint8)
    several = replace(scores, labels=labels)
    write_results(tmp_path, several, [], ["run", "swim", "ski"], SOURCE, num_epochs=3)
    found = results(tmp_path)
    assert found["per_class_ap"] == {
        "run": pytest.approx(100 * (1 / 2 + 1 / 2 * 2 / 3)),  # at ranks 1 and 3
        "swim": pytest.approx(100 * (1 / 2 + 1 / 2 * 2 / 3)),  # at rank 1, and equal to a wrong one
        "ski": None,
    }
    assert (found["map"], found["top1"]) == (pytest.approx(250 / 3), 100.0)
    assert not {"mean_class_accuracy", "per_class_accuracy", "top5"} & found.keys()
    assert not [*tmp_path.glob("confusion.*")]
    assert "test of 3 of 3 videos, 2 views each: mAP 83.33 top1 100.00" in caplog.text


def test_validation_of_several_classes_is_judged_by_its_map(
    scores: Scores, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    labels = np.array([[1, 0, 0], [1, 1, 0], [0, 1, 0]], np.uint8)
    several, runlog, names = replace(scores, labels=labels), RunLog(tmp_path), ["a", "b", "c"]
    words = (runlog, 2, several, several.averaged(), 0.5, "val", names)
    assert record_validation(*words) == pytest.approx(250 / 3)
    record_best(runlog, 2, 250 / 3, "map")
    runlog.close()
    assert "epoch 2 validated: 2 views each, mAP 83.33 top1 100.00, loss" in caplog.text
    assert not [*tmp_path.glob("confusion.*")]
    (line,) = map(json.loads, (tmp_path / "log.jsonl").read_text().splitlines())
    assert (line["map"], line["top1"]) == (pytest.approx(250 / 3), 100.0)


def test_validation_says_mean_class_accuracy_beside_top1(
    scores: Scores, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    mean_scores = scores.averaged(average_logits=False)
    record_validation(NullRunLog(), 1, scores, mean_scores, 0.5, "val", ["a", "b", "c"])
    assert "2 views each, top1 66.67 mean class accuracy 75.00, loss of single" in caplog.text
