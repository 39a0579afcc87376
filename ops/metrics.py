"""Accuracy and precision, counted exactly, and the probabilities that logits stand for."""

import numpy as np
import torch
from torch import Tensor


def ranked_classes(scores: Tensor, k: int) -> Tensor:
    """Return the k classes with the highest scores, best first; ties go to the lower class.

    ``topk`` leaves open which of two equal scores comes first, so that it can contradict
    ``argmax``. In bfloat16 scores are often equal.

    Args:
        scores: Scores of K classes, (..., K).
        k: Number of classes; above K, all.

    Returns:
        Classes, (..., k), int64.
    """
    return scores.sort(dim=-1, descending=True, stable=True).indices[..., :k]


def topk_hits(logits: Tensor, labels: Tensor, ks: tuple[int, ...] = (1, 5)) -> Tensor:
    """Count the labels found among the k highest logits, for each k.

    Args:
        logits: Logits, (B, K).
        labels: Labels, (B,); or multi-hot (B, K), of which any label counts.
        ks: Numbers of classes that a label may be among; a k above K counts every label.

    Returns:
        Counts, (len(ks),), int64.
    """
    # Counts, not percentages: sums over batches and processes stay exact. The release averages
    # percentages of padded batches, and its top-1 depends on the number of GPUs.
    ranked = ranked_classes(logits, max(ks))  # (B, k)
    is_hit = labels.gather(-1, ranked) > 0 if labels.dim() > 1 else ranked == labels[:, None]
    # Two classes have no top-5: a slice past the end is everything, where `topk` fails.
    return torch.stack([is_hit[:, :k].any(-1).sum() for k in ks])


def top_predictions(
    view_scores: Tensor, k: int, applies_softmax: bool = True
) -> tuple[Tensor, Tensor]:
    """Return the k best classes of each video and their scores, the best first.

    Args:
        view_scores: Scores of V views of each video, averaged here, (N, V, K).
        k: Number of classes; above K, all.
        applies_softmax: The scores are logits, and their average still needs a softmax. PaddleVideo
            applies one to averaged probabilities too, which leaves hardly a difference between
            the classes.

    Returns:
        Classes, int64, and scores, (N, k) both.
    """
    scores = view_scores.mean(1)  # (N, K)
    classes = ranked_classes(scores, k)  # before the softmax, which can make two scores equal
    scores = scores.softmax(-1) if applies_softmax else scores
    return classes, scores.gather(-1, classes)


def to_probabilities(logits: Tensor, is_multi_label: bool = False) -> Tensor:
    """Return the probabilities of logits (..., K): the softmax, or each class's own sigmoid."""
    return logits.sigmoid() if is_multi_label else logits.softmax(-1)


def average_precision(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return each class's average precision, (K,), 0 to 1; NaN for a class without a positive.

    It is the sum over the distinct scores, from the highest, of the precision among the videos
    down to that score, times the recall that this score adds: the area below the stairs of
    precision over recall, without interpolation, as scikit-learn's `average_precision_score`.
    Videos of equal scores count together, so that their order does not matter.

    Args:
        scores: Scores, (N, K).
        labels: Multi-hot, (N, K).
    """
    found = np.full(scores.shape[1], np.nan)
    for label in np.flatnonzero(labels.any(0)):
        order = scores[:, label].argsort()[::-1]
        ranked = scores[order, label]
        ends = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))  # last of equal scores
        hits = labels[order, label].astype(np.int64).cumsum()[ends]
        found[label] = np.diff(hits, prepend=0) @ (hits / (ends + 1)) / hits[-1]
    return found


def confusion_matrix(predicted: np.ndarray, labels: np.ndarray, num_classes: int) -> np.ndarray:
    """Count videos by true class (row) and predicted class (column), (K, K), int64."""
    cells = labels * num_classes + predicted
    return np.bincount(cells, minlength=num_classes**2).reshape(num_classes, num_classes)


def class_accuracy(confusion: np.ndarray) -> np.ndarray:
    """Return each class's accuracy in percent, (K,); NaN for a class without videos."""
    totals = confusion.sum(1)
    # 0 / 0: a class without videos has no accuracy. As 0 it would pull down the mean over classes.
    with np.errstate(invalid="ignore"):
        return 100 * confusion.diagonal() / totals
