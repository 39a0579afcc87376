"""Accuracy, counted exactly."""

import numpy as np
import torch
from torch import Tensor


def ranked_classes(scores: Tensor, k: int) -> Tensor:
    """Return the k highest of the last dimension, the best first; of equal ones the lower class.

    ``topk`` leaves open which of equal scores it names, and so contradicts ``argmax``. Scores in
    bfloat16 are equal often.

    Args:
        scores: Of K classes, (..., K).
        k: Number of classes; above K, all.

    Returns:
        Classes, (..., k), int64.
    """
    return scores.sort(dim=-1, descending=True, stable=True).indices[..., :k]


def topk_hits(logits: Tensor, labels: Tensor, ks: tuple[int, ...] = (1, 5)) -> Tensor:
    """Count the labels found among the k highest logits, for each k.

    Args:
        logits: (B, K).
        labels: (B,).
        ks: Ranks; a k above K counts every label.

    Returns:
        Counts, (len(ks),), int64.
    """
    is_hit = ranked_classes(logits, max(ks)) == labels[:, None]  # (B, k)
    return torch.stack([is_hit[:, :k].any(-1).sum() for k in ks])


def top_predictions(
    view_scores: Tensor, k: int, applies_softmax: bool = True
) -> tuple[Tensor, Tensor]:
    """Return the k best classes of each video and their scores, the best first.

    Args:
        view_scores: Scores of V views of each video, averaged here, (N, V, K).
        k: Number of classes; above K, all.
        applies_softmax: Of the average; for logits. PaddleVideo does so to averaged probabilities
            too, which leaves hardly a difference between the classes.

    Returns:
        Classes, int64, and scores, (N, k) both.
    """
    scores = view_scores.mean(1)  # (N, K)
    classes = ranked_classes(scores, k)  # of logits, which are further apart
    scores = scores.softmax(-1) if applies_softmax else scores
    return classes, scores.gather(-1, classes)


def confusion_matrix(predicted: np.ndarray, labels: np.ndarray, num_classes: int) -> np.ndarray:
    """Count videos by true class (row) and predicted class (column), (K, K), int64."""
    cells = labels * num_classes + predicted
    return np.bincount(cells, minlength=num_classes**2).reshape(num_classes, num_classes)


def class_accuracy(confusion: np.ndarray) -> np.ndarray:
    """Return each class's accuracy in percent, (K,); NaN for a class without videos."""
    totals = confusion.sum(1)
    with np.errstate(invalid="ignore"):
        return 100 * confusion.diagonal() / totals
