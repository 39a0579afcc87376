import numpy as np
import pytest
import torch

from ops.metrics import class_accuracy, confusion_matrix, topk_hits


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


def test_confusion_has_true_classes_in_rows_and_predicted_in_columns() -> None:
    predicted, labels = np.array([0, 1, 1, 2, 2]), np.array([0, 0, 1, 1, 1])
    matrix = confusion_matrix(predicted, labels, 4)
    assert matrix.tolist() == [[1, 1, 0, 0], [0, 1, 2, 0], [0, 0, 0, 0], [0, 0, 0, 0]]


def test_class_without_videos_has_no_accuracy() -> None:
    matrix = np.array([[3, 1, 0], [0, 0, 0], [0, 2, 0]])
    accuracy = class_accuracy(matrix)
    assert accuracy[[0, 2]].tolist() == [75, 0]
    assert np.isnan(accuracy[1])
