import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from engine import run_log
from engine.curves import MOST_POINTS, draw_curves, panels_of, write_curves
from engine.run_log import RunLog

TRAIN = {"kind": "train", "loss": 1.5, "top1": 50.0, "clips_per_s": 9.0, "data_wait": 0.1}


def lines_of(num_epochs: int, iterations: int = 4) -> list[dict]:
    lines = []
    for epoch in range(1, num_epochs + 1):
        place = {"epoch": epoch, "lr": 0.1}
        lines += [TRAIN | place | {"step": 1, "iteration": i + 1} for i in range(iterations)]
        lines.append({"kind": "val", "epoch": epoch, "loss_single_views": 1.0, "top1": 40.0})
    return lines


def test_panels_hold_what_the_log_has() -> None:
    panels = panels_of(lines_of(2))
    names = {panel.title: [curve.name for curve in panel.curves] for panel in panels}
    assert names == {
        "loss": ["training", "validation"],
        "accuracy, %": ["training top-1", "validation top-1"],
        "learning rate": ["learning rate"],
        "throughput, clips a second": ["throughput"],
        "wait for data, % of the time": ["wait"],
    }
    loss = panels[0].curves[1]
    assert (loss.epochs, loss.values, loss.is_of_epochs) == ([1.0, 2.0], [1.0, 1.0], True)
    assert panels[-1].curves[0].values == [10.0] * 8


def test_every_figure_of_a_validation_is_a_curve_of_the_accuracy() -> None:
    val = {"kind": "val", "epoch": 1, "num_videos": 7, "mean_class_accuracy": 3.0, "map": 2.0}
    (panel,) = panels_of([val, {"kind": "swa", "epoch": 1, "top1": 1.0}])
    assert [(curve.name, curve.values) for curve in panel.curves] == [
        ("validation mean class accuracy", [3.0]),
        ("validation mAP", [2.0]),
        ("averaged weights top-1", [1.0]),
    ]


def test_values_that_are_missing_or_null_leave_a_gap() -> None:
    lines = [TRAIN | {"epoch": 1, "iteration": 1, "step": 1, "loss": None}, {"kind": "start"}]
    assert "loss" not in {panel.title for panel in panels_of(lines)}
    assert panels_of([]) == []


def test_long_curve_is_thinned_to_means_of_its_parts() -> None:
    lines = [
        TRAIN | {"epoch": 1, "iteration": i + 1, "step": i + 1, "loss": float(i)}
        for i in range(5 * MOST_POINTS)
    ]
    curve = panels_of(lines)[0].curves[0]
    assert len(curve.values) == len(curve.epochs) == MOST_POINTS
    assert curve.values[:2] == [2.0, 7.0]


def test_picture_has_a_place_for_every_panel(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    pixels = draw_curves(panels_of(lines_of(3)))
    assert pixels.shape == (600, 1200, 3)
    text = "".join(f"{json.dumps(line)}\n" for line in lines_of(3))
    write_curves(tmp_path)
    assert not (tmp_path / "curves.png").exists()
    (tmp_path / "log.jsonl").write_text(text)
    write_curves(tmp_path)
    with Image.open(tmp_path / "curves.png") as image:
        assert np.array_equal(np.asarray(image), pixels)


def test_run_draws_its_curves_once_a_minute_and_in_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn, now = [], [0.0]
    monkeypatch.setattr(run_log, "write_curves", drawn.append)
    monkeypatch.setattr(run_log.time, "monotonic", lambda: now[0])
    runlog = RunLog(tmp_path)
    for seconds in (1.0, 61.0, 62.0, 130.0):
        now[0] = seconds
        runlog.curves()
    assert drawn == [tmp_path] * 2
    runlog.close()
    assert drawn == [tmp_path] * 3
