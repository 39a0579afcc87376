import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from engine.scores import Scores, chosen_by, in_words
from ops.losses import multi_label_loss

NO = np.zeros(5, np.int64)
N, CLIPS, MIRRORS, CROPS, K = 5, 4, 2, 3, 6


@pytest.fixture
def scores() -> Scores:
    rng = np.random.default_rng(0)
    logits = 3 * rng.standard_normal((N, CLIPS * MIRRORS * CROPS, K), dtype=np.float32)
    videos = np.array([f"class/video {i}" for i in range(N)])
    return Scores(videos, np.array([0, 1, 2, 2, 5]), logits, num_clips=CLIPS, num_crops=CROPS)


def slow_average(
    scores: Scores, average_logits: bool, num_clips: int = CLIPS, num_crops: int = CROPS
) -> np.ndarray:
    """Add up views one by one in double precision; a view is clip, then mirroring, then crop."""
    means = np.zeros((N, K))
    for video in range(N):
        for clip in range(num_clips):
            for mirror in range(MIRRORS):
                for crop in range(num_crops):
                    view = (clip * MIRRORS + mirror) * CROPS + crop
                    logits = scores.view_logits[video, view].astype(np.float64)
                    weights = np.exp(logits - logits.max())
                    means[video] += logits if average_logits else weights / weights.sum()
    return means / (num_clips * MIRRORS * num_crops)


@pytest.mark.parametrize("average_logits", [True, False])
@pytest.mark.parametrize(("num_clips", "num_crops"), [(0, 0), (1, 3), (4, 1), (2, 2), (1, 1)])
def test_average_over_views_equals_a_slow_loop(
    scores: Scores, average_logits: bool, num_clips: int, num_crops: int
) -> None:
    mean = scores.averaged(average_logits, num_clips, num_crops)
    expected = slow_average(scores, average_logits, num_clips or CLIPS, num_crops or CROPS)
    # float32 sums of up to 24 values below 10: a few ulp, 1e-6 each
    np.testing.assert_allclose(mean, expected, atol=5e-6, rtol=0)


def test_average_of_probabilities_can_decide_otherwise_than_of_logits() -> None:
    logits = np.array([[[9.0, 0, 0], [0, 4, 0], [0, 4, 0]]], np.float32)
    scores = Scores(np.array(["v"]), np.array([1]), logits, num_clips=1, num_crops=3)
    by_logits, by_probabilities = scores.averaged(), scores.averaged(average_logits=False)
    assert by_logits.argmax() == 0
    assert by_probabilities.argmax() == 1
    assert by_probabilities.sum() == pytest.approx(1, abs=1e-6)  # three float32 probabilities


def test_figures_worked_by_hand() -> None:
    labels = np.array([0, 0, 1, 3])
    mean_scores = np.array(
        [[9, 1, 2, 3, 4, 5], [1, 9, 2, 3, 4, 5], [5, 6, 1, 2, 3, 4], [9, 8, 7, 0, 6, 5]],
        np.float32,
    )
    scores = Scores(np.array(list("abcd")), labels, mean_scores[:, None], 1, 1)
    figures = scores.figures(scores.averaged())
    # labels rank 1st, 6th, 1st, 6th
    assert figures["top1"] == 50
    assert figures["top5"] == 50
    expected = {"0": 50, "1": 100, "2": None, "3": 0, "4": None, "5": None}
    assert figures["per_class_accuracy"] == expected
    assert figures["mean_class_accuracy"] == 50  # of the three classes that have videos


def test_figures_of_fewer_than_five_classes() -> None:
    logits = np.array([[[3.0, 2, 1]], [[3, 2, 1]]], np.float32)
    scores = Scores(np.array(["a", "b"]), np.array([0, 2]), logits, 1, 1)
    figures = scores.figures(scores.averaged())
    assert (figures["top1"], figures["top5"]) == (50, 100)


def test_confusion_counts_every_video_once(scores: Scores) -> None:
    mean = scores.averaged()
    matrix = scores.confusion(mean)
    assert matrix.shape == (K, K)
    assert matrix.sum(1).tolist() == [1, 1, 2, 0, 0, 1]
    for label, row in zip(scores.labels, mean, strict=True):
        assert matrix[label, row.argmax()] > 0


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_loss_is_the_mean_over_single_views(scores: Scores, smoothing: float) -> None:
    losses = [
        F.cross_entropy(
            torch.from_numpy(view)[None], torch.tensor([label]), label_smoothing=smoothing
        ).item()
        for label, views in zip(scores.labels, scores.view_logits, strict=True)
        for view in views
    ]
    # 120 float32 losses of up to 10: sums round at 1e-6 relative
    assert scores.loss(smoothing) == pytest.approx(sum(losses) / len(losses), rel=2e-6)


def test_loss_of_equal_logits_is_that_of_chance() -> None:
    scores = Scores(np.array(["v"]), np.array([2]), np.zeros((1, 3, K), np.float32), 1, 3)
    assert scores.loss(0.1) == pytest.approx(math.log(K), rel=1e-6)  # float32


def test_saved_scores_load_as_they_were(scores: Scores, tmp_path: Path) -> None:
    path = tmp_path / "scores.npz"
    scores.save(path, scores.averaged())
    loaded = Scores.load(path)
    for name in ("videos", "labels", "view_logits"):
        array, expected = getattr(loaded, name), getattr(scores, name)
        assert array.dtype == expected.dtype
        assert np.array_equal(array, expected)
    assert (loaded.num_clips, loaded.num_crops) == (CLIPS, CROPS)
    with np.load(path) as file:
        assert np.array_equal(file["mean_logits"], scores.averaged())
    assert [entry.name for entry in tmp_path.iterdir()] == ["scores.npz"]


def test_saving_replaces_the_old_file(scores: Scores, tmp_path: Path) -> None:
    path = tmp_path / "scores.npz"
    path.write_text("old")
    scores.save(path, scores.averaged())
    assert len(Scores.load(path).labels) == N


def test_file_that_is_no_scores_file_is_an_error_that_names_it(
    scores: Scores, tmp_path: Path
) -> None:
    path = tmp_path / "scores.npz"
    with pytest.raises(ValueError, match=r"scores\.npz is not a scores\.npz of the test"):
        Scores.load(path)
    path.write_text("text")
    with pytest.raises(ValueError, match=r"scores\.npz is not a scores\.npz of the test"):
        Scores.load(path)
    np.savez(path, labels=scores.labels)
    with pytest.raises(ValueError, match=r"is not a scores\.npz of the test.*videos"):
        Scores.load(path)
    with pytest.raises(ValueError, match="is not a scores"):
        Scores.load(tmp_path)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_scores_file_cut_short_is_an_error_that_names_it(
    scores: Scores, tmp_path: Path, share: float
) -> None:
    path = tmp_path / "scores.npz"
    scores.save(path, scores.averaged())
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(ValueError, match=r"is not a scores\.npz of the test"):
        Scores.load(path)


def test_sums_of_laps_logits_are_the_recorded_ones(golden: Callable[[str], Any]) -> None:
    data = golden("laps/meter.npz")
    num_videos, num_classes = data["video_preds"].shape
    logits = data["clip_logits"].reshape(num_videos, -1, num_classes)
    V = logits.shape[1]
    paths = np.array([str(i) for i in range(num_videos)])
    scores = Scores(paths, data["labels"], logits, num_clips=V, num_crops=1)
    sums = scores.averaged() * V
    order = data["order"]
    arrived_twice = {int(view) // V for view in order if (order == view).sum() > 1}
    once = [video for video in range(num_videos) if video not in arrived_twice]
    assert once
    np.testing.assert_allclose(sums[once], data["video_preds"][once], rtol=0, atol=1e-5)
    # the release counts the views that fill its last batch twice; counted so, the sums are its own
    for video in arrived_twice:
        views = [int(view) for view in order if view // V == video]
        total = data["clip_logits"][views].sum(0)
        np.testing.assert_allclose(total, data["video_preds"][video], rtol=0, atol=1e-5)


# Several classes a video


@pytest.fixture
def several(scores: Scores) -> Scores:
    labels = np.array([[1, 1, 0, 0, 0, 0], [0, 1, 0, 0, 0, 0], [0, 0, 1, 0, 0, 1]], np.uint8)
    return replace(scores, labels=np.concatenate([labels, labels[:2]]))


def test_figures_of_several_classes_worked_by_hand() -> None:
    mean_scores = np.array([[3.0, 2, 1], [2, 3, 1], [1, 2, 3]], np.float32)
    labels = np.array([[1, 0, 0], [1, 1, 0], [0, 1, 0]], np.uint8)
    scores = Scores(np.array(list("abc")), labels, mean_scores[:, None], 1, 1)
    figures = scores.figures(scores.averaged())
    # class 0 is found at ranks 1 and 2; class 1 at rank 1, and at 2 with a wrong one as high
    assert figures["per_class_ap"] == {
        "0": 100.0,
        "1": pytest.approx(100 * (1 / 2 + 1 / 2 * 2 / 3)),
        "2": None,
    }
    assert figures["map"] == pytest.approx((100 + 100 * 5 / 6) / 2)
    assert figures["top1"] == pytest.approx(200 / 3)
    assert [*scores.shown_figures(figures)] == ["map", "top1"]
    assert in_words(scores.shown_figures(figures)) == "mAP 91.67 top1 66.67"
    assert chosen_by(scores.is_multi_label) == "map"


def test_probabilities_of_several_classes_are_sigmoids(several: Scores) -> None:
    views = several.view_logits.astype(np.float64)
    expected = (1 / (1 + np.exp(-views))).mean(1)
    np.testing.assert_allclose(several.averaged(average_logits=False), expected, atol=1e-6)
    np.testing.assert_array_equal(several.averaged(), replace(several, labels=NO).averaged())


def test_loss_of_several_classes_is_the_mean_over_single_views(several: Scores) -> None:
    losses = [
        multi_label_loss(torch.from_numpy(view)[None], torch.from_numpy(own)[None].float(), 0.1)
        for own, views in zip(several.labels, several.view_logits, strict=True)
        for view in views
    ]
    assert several.loss(0.1) == pytest.approx(float(sum(losses)) / len(losses), rel=2e-6)


def test_scores_of_several_classes_load_as_they_were(several: Scores, tmp_path: Path) -> None:
    several.save(tmp_path / "scores.npz", several.averaged())
    loaded = Scores.load(tmp_path / "scores.npz")
    assert loaded.is_multi_label
    assert loaded.labels.dtype == np.uint8
    assert np.array_equal(loaded.labels, several.labels)
    replace(several, labels=2 * several.labels).save(tmp_path / "2.npz", several.averaged())
    with pytest.raises(ValueError, match=r"2\.npz is not .* not 0 and 1 in uint8"):
        Scores.load(tmp_path / "2.npz")
