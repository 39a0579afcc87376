from collections.abc import Callable

import numpy as np
import pytest
import torch

from ops.metrics import (
    average_precision,
    class_accuracy,
    confusion_matrix,
    ranked_classes,
    to_probabilities,
    top_predictions,
    topk_hits,
)


def test_hits_worked_by_hand() -> None:
    logits = torch.tensor([[5.0, 4, 3, 2, 1, 0], [0, 1, 2, 3, 4, 5], [0, 9, 8, 7, 6, 5]])
    assert topk_hits(logits, torch.tensor([0, 1, 0])).tolist() == [1, 2]
    assert topk_hits(logits, torch.tensor([0, 1, 0]), ks=(1, 2, 6)).tolist() == [1, 1, 3]


def test_hits_equal_a_slow_loop() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(50, 9, generator=generator)
    labels = torch.randint(9, (50,), generator=generator)
    counts = [0, 0, 0]
    for row, label in zip(logits.tolist(), labels.tolist(), strict=True):
        rank = sorted(row, reverse=True).index(row[label])
        counts = [count + (rank < k) for count, k in zip(counts, (1, 3, 5), strict=True)]
    hits = topk_hits(logits, labels, ks=(1, 3, 5))
    assert hits.tolist() == counts
    assert hits.dtype is torch.int64


@pytest.mark.parametrize("num_classes", [1, 2, 3, 4])
def test_top5_of_fewer_than_five_classes_counts_every_label(num_classes: int) -> None:
    logits = torch.randn(7, num_classes, generator=torch.Generator().manual_seed(0))
    top1, top5 = topk_hits(logits, torch.zeros(7, dtype=torch.long)).tolist()
    assert top5 == 7
    assert top1 == (logits.argmax(-1) == 0).sum()


def test_equal_scores_are_told_apart_by_the_class_in_every_figure() -> None:
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(500, 40, generator=generator).bfloat16().float()  # many are equal
    scores[:20] = 0
    best = scores.argmax(-1)
    assert torch.equal(ranked_classes(scores, 5)[:, 0], best)
    assert torch.equal(torch.from_numpy(scores.numpy().argmax(-1)), best)
    assert torch.equal(top_predictions(scores[:, None], k=1)[0][:, 0], best)
    top1, top2 = topk_hits(scores, best, ks=(1, 2)).tolist()
    assert top1 == top2 == 500
    assert topk_hits(torch.zeros(3, 4), torch.tensor([0, 1, 2]), ks=(1, 2, 3)).tolist() == [1, 2, 3]
    assert ranked_classes(torch.zeros(4), 9).tolist() == [0, 1, 2, 3]


def test_predictions_worked_by_hand() -> None:
    logits = torch.tensor([[[0.0, 80.0, 90.0], [0.0, 0.0, 110.0]]])  # means 0, 40, 100
    probabilities = torch.tensor([[[0.5, 0.25, 0.25], [0.0, 0.75, 0.25]]])
    classes, scores = top_predictions(probabilities, k=2, applies_softmax=False)
    assert classes.tolist() == [[1, 0]]
    assert scores.tolist() == [[0.5, 0.25]]
    classes, scores = top_predictions(logits, k=1)
    assert classes.tolist() == [[2]]
    assert scores.tolist() == [[1.0]]


def test_more_predictions_than_classes_are_all_classes() -> None:
    classes, scores = top_predictions(torch.tensor([[[1.0, 3.0, 2.0]]]), k=5)
    assert classes.tolist() == [[1, 2, 0]]
    assert scores.sum().item() == pytest.approx(1)


def test_predictions_of_paddlevideo(golden: Callable, golden_json: Callable) -> None:
    outputs = golden("paddlevideo/data/predict.npz")
    cases = golden_json("paddlevideo/data/postprocess.json")
    assert cases
    for case in cases:
        rows = torch.from_numpy(outputs[f"case{case['case']}"])
        views = rows.unflatten(0, (len(case["files"]), -1))  # the rows of a file are neighbours
        classes, scores = top_predictions(views, case["top_k"])
        assert classes.tolist() == [video["topk_class"] for video in case["result"]]
        theirs = [video["topk_scores"] for video in case["result"]]
        np.testing.assert_allclose(scores, theirs, atol=1e-7, rtol=0)  # float32 softmax


def test_confusion_has_true_classes_in_rows_and_predicted_in_columns() -> None:
    predicted, labels = np.array([0, 1, 1, 2, 2]), np.array([0, 0, 1, 1, 1])
    matrix = confusion_matrix(predicted, labels, 4)
    assert matrix.tolist() == [[1, 1, 0, 0], [0, 1, 2, 0], [0, 0, 0, 0], [0, 0, 0, 0]]


def test_class_without_videos_has_no_accuracy() -> None:
    matrix = np.array([[3, 1, 0], [0, 0, 0], [0, 2, 0]])
    accuracy = class_accuracy(matrix)
    assert accuracy[[0, 2]].tolist() == [75, 0]
    assert np.isnan(accuracy[1])


# Several classes a video


def test_hits_of_several_labels_are_of_any_of_them() -> None:
    logits = torch.tensor([[5.0, 4, 3, 2, 1, 0], [0, 1, 2, 3, 4, 5], [0, 9, 8, 7, 6, 5]])
    labels = torch.zeros(3, 6)
    labels[0, [0, 5]] = labels[1, [0, 4]] = labels[2, 0] = 1
    assert topk_hits(logits, labels, ks=(1, 2, 6)).tolist() == [1, 2, 3]


def test_average_precision_worked_by_hand() -> None:
    scores = np.array([[0.9, 0.1], [0.8, 0.2], [0.7, 0.3], [0.6, 0.4]], np.float32)
    labels = np.array([[1, 0], [0, 0], [1, 0], [0, 0]], np.uint8)
    # found at ranks 1 and 3: 1/2 x 1/1 + 1/2 x 2/3
    found = average_precision(scores, labels)
    assert found[0] == pytest.approx(5 / 6)
    assert np.isnan(found[1])


def slow_average_precision(scores: list[float], labels: list[int]) -> float:
    """Go through the thresholds from the highest, as scikit-learn's documentation defines it."""
    area, recall_before = 0.0, 0.0
    for threshold in sorted({*scores}, reverse=True):
        taken = [label for score, label in zip(scores, labels, strict=True) if score >= threshold]
        precision, recall = sum(taken) / len(taken), sum(taken) / sum(labels)
        area += (recall - recall_before) * precision
        recall_before = recall
    return area


@pytest.mark.parametrize("num_levels", [3, 10, 10_000])
def test_average_precision_equals_a_slow_loop_with_ties_too(num_levels: int) -> None:
    rng = np.random.default_rng(num_levels)
    scores = rng.integers(num_levels, size=(40, 9)).astype(np.float32)
    labels = (rng.random((40, 9)) < np.linspace(0.03, 0.9, 9)).astype(np.uint8)
    labels[0] = 1
    expected = [slow_average_precision(*map(list, (scores[:, k], labels[:, k]))) for k in range(9)]
    np.testing.assert_allclose(average_precision(scores, labels), expected, rtol=1e-12)
    order = rng.permutation(40)
    shuffled = average_precision(scores[order], labels[order])
    np.testing.assert_allclose(shuffled, expected, rtol=1e-12)


def test_average_precision_of_chance_is_the_share_of_the_class() -> None:
    labels = np.array([[1], [0], [0], [1]], np.uint8)
    assert average_precision(np.zeros((4, 1)), labels).tolist() == [0.5]


def test_average_precision_is_that_of_scikit_learn() -> None:
    sklearn = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    scores, labels = rng.normal(size=(200, 5)).round(1), rng.integers(2, size=(200, 5))
    expected = [sklearn.average_precision_score(labels[:, k], scores[:, k]) for k in range(5)]
    np.testing.assert_allclose(average_precision(scores, labels), expected, rtol=1e-12)


def test_probabilities_are_one_softmax_or_a_sigmoid_each() -> None:
    logits = torch.tensor([[1.0, 3.0]]).log()
    torch.testing.assert_close(to_probabilities(logits), torch.tensor([[0.25, 0.75]]))
    torch.testing.assert_close(to_probabilities(logits, True), torch.tensor([[0.5, 0.75]]))
