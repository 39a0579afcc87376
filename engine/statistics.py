"""How far an accuracy can be trusted: its interval, its calibration, and whether two differ."""

import math

import numpy as np


def wilson_interval(correct: int, total: int, z: float = 1.96) -> tuple[float, float]:
    """Return the interval of an accuracy by Wilson's score, shares of 0..1.

    It stays within 0..1 and holds for few videos and for accuracies near the ends, where that of
    the normal distribution does not (Brown, Cai, DasGupta 2001, doi:10.1214/ss/1009213286).

    Args:
        correct: Number of hits.
        total: Number of videos, at least 1.
        z: Number of standard deviations on each side; 1.96 for 95 %.

    Raises:
        ValueError: There are no videos, or more hits than videos.
    """
    if not 0 <= correct <= total or not total:
        raise ValueError(f"need 0 <= correct <= total and total >= 1; got {correct} of {total}")
    share, weight = correct / total, z * z / total
    centre = (share + weight / 2) / (1 + weight)
    half = z * math.sqrt(share * (1 - share) / total + weight / (4 * total)) / (1 + weight)
    low = centre - half if correct else 0.0  # exact there, but for rounding
    high = centre + half if correct < total else 1.0
    return low, high


def calibration_error(probabilities: np.ndarray, labels: np.ndarray, bins: int = 15) -> float:
    """Return the expected calibration error, a share of 0..1 (Guo et al., arXiv:1706.04599).

    The videos are sorted by the probability of their predicted class into bins of equal width; it
    is the mean distance of a bin's mean probability from its accuracy, weighted by its videos.

    Args:
        probabilities: Probabilities of K classes, (N, K).
        labels: Class of each video, (N,).
        bins: Number of bins; a bin holds its upper end.

    Raises:
        ValueError: The shapes do not go together, there are no videos, or no bins.
    """
    if probabilities.ndim != 2 or labels.shape != probabilities.shape[:1] or not len(labels):
        raise ValueError(f"need (N, K) and (N,); got {probabilities.shape} and {labels.shape}")
    if bins < 1:
        raise ValueError(f"need at least 1 bin; got {bins}")
    confidence = probabilities.max(1).astype(np.float64)
    hits = probabilities.argmax(1) == labels
    places = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    distance = np.bincount(places, weights=confidence - hits, minlength=bins)
    return float(np.abs(distance).sum() / len(labels))


def mcnemar_test(only_first: int, only_second: int) -> float:
    """Return the p-value of McNemar's exact test: two-sided, of two models on the same videos.

    Were both equally good, each video that one alone gets right would be either's by a fair coin.

    Args:
        only_first: Number of videos that the first alone gets right.
        only_second: Number of videos that the second alone gets right.

    Raises:
        ValueError: A number is negative.
    """
    if min(only_first, only_second) < 0:
        raise ValueError(f"need counts of videos; got {only_first} and {only_second}")
    if not only_first + only_second:
        return 1.0
    from scipy.stats import binomtest  # here: it takes half a second

    return float(binomtest(only_first, only_first + only_second).pvalue)
