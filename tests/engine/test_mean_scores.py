from pathlib import Path

import numpy as np
import pytest

from engine.mean_scores import MeanScores, shared_videos
from engine.scores import Scores
from engine.statistics import wilson_interval


def mean_scores(videos: str, labels: list[int], values: object = None) -> MeanScores:
    logits = np.eye(3, dtype=np.float32)[labels] if values is None else np.array(values, "f4")
    return MeanScores(np.array([*videos]), np.array(labels), logits, are_logits=True)


@pytest.fixture
def scores() -> Scores:
    logits = np.random.default_rng(0).standard_normal((4, 6, 3), dtype=np.float32)
    return Scores(np.array([*"abcd"]), np.array([0, 1, 2, 2]), logits, num_clips=2, num_crops=3)


def test_reliability_is_in_percent_of_the_averaged_scores() -> None:
    sure = 20 * np.eye(3)[[0, 1, 1]]  # two of three right, and sure of all
    figures = mean_scores("abc", [0, 1, 2], sure).reliability()
    assert figures["top1_interval"] == pytest.approx([100 * e for e in wilson_interval(2, 3)])
    assert figures["calibration_error"] == pytest.approx(100 / 3, abs=1e-3)


def test_file_of_a_test_gives_its_averages(scores: Scores, tmp_path: Path) -> None:
    path = tmp_path / "scores.npz"
    scores.save(path, scores.averaged())
    for average_logits in (True, False):
        mean = MeanScores.load(path, average_logits)
        np.testing.assert_array_equal(mean.values, scores.averaged(average_logits))
        np.testing.assert_array_equal(mean.videos, scores.videos)
        np.testing.assert_allclose(mean.probabilities().sum(1), 1, atol=1e-6)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"mean_logits": np.zeros((4, 3))}, "mean_logits is float64"),
        ({"mean_logits": np.full((4, 3), np.nan, "f4")}, "not finite"),
        ({"labels": np.array([0, 1, 2, 3])}, "not all in 0..2"),
        ({"videos": np.array(["a"])}, r"\(4,\) and \(1,\)"),
    ],
)
def test_file_that_is_no_test_of_ours_is_told(
    scores: Scores, tmp_path: Path, changes: dict, text: str
) -> None:
    arrays = {"videos": scores.videos, "labels": scores.labels, "mean_logits": scores.averaged()}
    np.savez(tmp_path / "s.npz", **(arrays | changes))
    with pytest.raises(ValueError, match=f"s.npz is not a scores.npz of the test: .*{text}"):
        MeanScores.load(tmp_path / "s.npz")


def test_videos_are_found_whatever_their_order() -> None:
    first, second = mean_scores("abca", [0, 1, 2, 0]), mean_scores("caxa", [2, 0, 1, 0])
    shared = shared_videos(first, second)
    assert (shared.first, shared.second) == ([0, 2, 3], [1, 0, 3])
    assert (shared.only_first, shared.only_second) == (["b"], ["x"])
    assert not shared.are_all()
    assert shared.describe() == (
        "3 videos are in both, 1 in the first alone: 'b'; 1 in the second alone: 'x'"
    )
    assert first.at(shared.first).videos.tolist() == ["a", "c", "a"]
    assert shared_videos(first, first).are_all()


def test_other_labels_or_classes_are_no_comparison() -> None:
    with pytest.raises(ValueError, match=r"1 videos have other labels in the second: 'b' has 1 "):
        shared_videos(mean_scores("abc", [0, 1, 2]), mean_scores("abc", [0, 2, 2]))
    fewer = mean_scores("a", [0], [[1.0, 0.0]])
    with pytest.raises(ValueError, match="the first has 3 classes, the second 2"):
        shared_videos(mean_scores("a", [0]), fewer)
