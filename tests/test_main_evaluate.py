"""The test of a checkpoint: --evaluate and TEST.AFTER_TRAINING."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch

from config import load_cfg
from engine.scores import Scores
from tests.test_main import CLASSES, Experiment


@pytest.fixture
def experiment(tmp_path: Path) -> Experiment:
    return Experiment(tmp_path)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    """A run of two epochs, to be looked at only."""
    experiment = Experiment(tmp_path_factory.mktemp("trained"))
    experiment.run()
    return experiment


def test_results_hold_every_figure_and_what_it_was_measured_on(
    trained: Experiment, tmp_path: Path
) -> None:
    names = tmp_path / "names.txt"
    names.write_text("\n".join(CLASSES))
    checkpoint = trained.run_folder / "best.pth"
    console = trained.run(
        *("--evaluate", "--resume", checkpoint, "--output", tmp_path / "test"),
        *("DATA.CLASS_NAMES", names),
    )
    results = trained.results(tmp_path / "test")
    assert results.keys() == {
        *("top1", "top5", "mean_class_accuracy", "num_videos", "num_listed", "unreadable"),
        *("num_views", "protocol", "checkpoint", "checkpoint_sha256", "list", "run", "remarks"),
        *("per_class_accuracy", "top1_interval", "calibration_error"),
    }
    low, high = results["top1_interval"]
    assert 0 <= low <= results["top1"] <= high <= 100
    assert (results["num_videos"], results["num_listed"], results["unreadable"]) == (6, 6, [])
    assert results["num_views"] == 30
    assert results["protocol"].startswith("10x3 views, dense 4x2, short side 16, crop 16, logits")
    assert results["checkpoint"] == str(checkpoint)
    assert results["checkpoint_sha256"] == hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    assert results["run"]["lists"]["test"]["num_videos"] == results["num_listed"]
    assert results["list"] == str(trained.folder / "val.txt")
    assert list(results["per_class_accuracy"]) == list(CLASSES)
    assert results["top5"] == 100  # of three classes, one of the first five is always right
    assert f"test of 6 of 6 videos, 30 views each: top1 {results['top1']:.2f}" in console
    cfg = load_cfg(tmp_path / "test/test_config.yml")
    assert str(names) == cfg.DATA.CLASS_NAMES


def test_scores_hold_every_view_and_the_figures_follow_from_them(
    trained: Experiment, tmp_path: Path
) -> None:
    best = trained.run_folder / "best.pth"
    trained.run("--evaluate", "--resume", best, "--output", tmp_path)
    with np.load(tmp_path / "scores.npz") as file:
        scores = dict(file)
    assert scores.keys() == {
        *("videos", "labels", "view_logits", "mean_logits", "num_clips", "num_crops"),
    }
    listed = [line.rsplit(" ", 2) for line in (trained.folder / "val.txt").open()]
    assert scores["videos"].tolist() == [path for path, _, _ in listed]
    assert scores["labels"].tolist() == [int(label) for _, _, label in listed]
    assert scores["view_logits"].shape == (6, 30, 3)
    # float32 means of 30 values of order 1
    np.testing.assert_allclose(scores["mean_logits"], scores["view_logits"].mean(1), atol=1e-6)
    results = trained.results(tmp_path)
    hits = scores["mean_logits"].argmax(1) == scores["labels"]
    assert results["top1"] == pytest.approx(100 * hits.mean())
    per_class = [100 * hits[scores["labels"] == label].mean() for label in range(3)]
    assert list(results["per_class_accuracy"].values()) == pytest.approx(per_class)
    assert results["mean_class_accuracy"] == pytest.approx(np.mean(per_class))
    assert Scores.load(tmp_path / "scores.npz").num_crops == 3


def test_average_is_tested_where_the_checkpoint_holds_one(
    trained: Experiment, tmp_path: Path
) -> None:
    checkpoint = trained.checkpoint()
    averaged = checkpoint.pop("ema")
    torch.save(checkpoint | {"state_dict": averaged}, tmp_path / "average.pth")
    torch.save(checkpoint, tmp_path / "weights.pth")
    logits = {}
    for path in (trained.run_folder / "last.pth", *tmp_path.glob("*.pth")):
        trained.run("--evaluate", "--resume", path, "--output", tmp_path / "test")
        logits[path.stem] = Scores.load(tmp_path / "test/scores.npz").view_logits
    np.testing.assert_array_equal(logits["last"], logits["average"])
    assert np.abs(logits["last"] - logits["weights"]).max() > 1e-3


def test_validation_of_the_last_epoch_is_the_test_with_its_views(
    trained: Experiment, tmp_path: Path
) -> None:
    last = trained.run_folder / "last.pth"
    trained.run("--evaluate", "--resume", last, "--output", tmp_path, "TEST.NUM_CLIPS", 1)
    results, val = trained.results(tmp_path), trained.log("val")[-1]
    for name in ("top1", "mean_class_accuracy"):
        assert results[name] == val[name]
    scores = Scores.load(tmp_path / "scores.npz")
    # without dropout in either: the same logits, hence the same mean
    assert val["loss_single_views"] == pytest.approx(scores.loss(label_smoothing=0.1), rel=1e-6)


def test_config_in_the_checkpoint_serves_where_none_is_given(
    trained: Experiment, tmp_path: Path
) -> None:
    best = trained.run_folder / "best.pth"
    trained.run("--evaluate", "--resume", best, "--output", tmp_path / "given")
    trained.run("-e", "--resume", best, "--output", tmp_path / "own", has_cfg=False)
    given, own = (Scores.load(tmp_path / name / "scores.npz") for name in ("given", "own"))
    np.testing.assert_array_equal(own.view_logits, given.view_logits)


@pytest.mark.parametrize("name", ["timesformer", "tokshift"])
def test_one_key_tests_a_checkpoint_with_more_frames(
    name: str, experiment: Experiment, tmp_path: Path
) -> None:
    experiment.run("MODEL.NAME", name, "TRAIN.EPOCHS", 1)
    best = experiment.run_folder / "best.pth"
    logits = []
    for num_frames in (4, 8):
        console = experiment.run(
            *("-e", "--resume", best, "--output", tmp_path, "DATA.NUM_FRAMES", num_frames),
            has_cfg=False,
        )
        is_resized = name == "timesformer" and num_frames == 8
        assert ("resized: time_embed: 4 to 8 frames, nearest" in console) is is_resized
        results = experiment.results(tmp_path)
        assert (results["num_videos"], results["num_views"]) == (6, 30)
        assert f"dense {num_frames}x2" in results["protocol"]
        logits.append(Scores.load(tmp_path / "scores.npz").view_logits)
    assert np.abs(logits[0] - logits[1]).max() > 1e-4


def test_evenly_spread_clips_differ_where_released_ones_coincide(
    trained: Experiment, tmp_path: Path
) -> None:
    best = trained.run_folder / "best.pth"
    distinct = []
    for flag in (False, True):
        trained.run("--evaluate", "--resume", best, "--output", tmp_path, "TEST.EVEN_STARTS", flag)
        logits = Scores.load(tmp_path / "scores.npz").view_logits[-1]  # 30 frames, clips of 8
        distinct.append(len(np.unique(logits[::3], axis=0)))
        assert ("clips spread evenly" in trained.results(tmp_path)["protocol"]) == flag
    assert distinct == [9, 10]  # starts 0, 3, ..., 21, 23 and 23 against ten from 0 to 22


def test_best_checkpoint_is_tested_after_training_where_asked(experiment: Experiment) -> None:
    console = experiment.run("TEST.AFTER_TRAINING", True, "TEST.NUM_CLIPS", 2)
    results = experiment.results()
    assert results["checkpoint"] == str(experiment.run_folder / "best.pth")
    assert results["num_views"] == 6
    assert "test of 6 of 6 videos, 6 views each" in console


def test_test_list_is_tested_on_where_there_is_one(trained: Experiment, tmp_path: Path) -> None:
    listed = tmp_path / "test.txt"
    listed.write_text("swim/val_1 30 2\n")
    trained.run(
        *("--evaluate", "--resume", trained.run_folder / "best.pth"),
        *("--output", tmp_path, "DATA.TEST_LIST", listed),
    )
    results = trained.results(tmp_path)
    assert (results["num_videos"], results["list"]) == (1, str(listed))
    assert results["per_class_accuracy"]["0"] is None  # no video of that class
