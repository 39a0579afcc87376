"""Two tests held against each other: accuracies, and the videos that one alone gets right."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from engine.mean_scores import MeanScores, shared_videos
from engine.statistics import mcnemar_test, wilson_interval
from tools.reporting.run_records import RunRecords


@dataclass(frozen=True)
class Accuracy:
    """A top-1 and Wilson's interval of it at 95 %, percent.

    Attributes:
        top1: Share of the hits.
        low: Lower end of the interval.
        high: Upper end of the interval.
        num_videos: Number of videos that were scored.
    """

    top1: float
    low: float
    high: float
    num_videos: int


@dataclass(frozen=True)
class ClassRow:
    """A class in which the two tests differ.

    Attributes:
        name: Name of the class.
        num_videos: Number of videos of the class.
        only_first: Number of videos that are right in the first alone.
        only_second: Number of videos that are right in the second alone.
        difference: Accuracy of the second less that of the first, percent.
    """

    name: str
    num_videos: int
    only_first: int
    only_second: int
    difference: float


@dataclass(frozen=True)
class Paired:
    """Two tests on the same videos.

    Attributes:
        num_videos: Number of videos that both scored.
        both: Number of videos that are right in both.
        only_first: Number of videos that are right in the first alone.
        only_second: Number of videos that are right in the second alone.
        neither: Number of videos that are right in neither.
        p_value: P-value of McNemar's exact test.
        classes: Classes that differ, the largest difference first.
    """

    num_videos: int
    both: int
    only_first: int
    only_second: int
    neither: int
    p_value: float
    classes: list[ClassRow]


@dataclass(frozen=True)
class Comparison:
    """What two tests gave.

    Attributes:
        accuracies: Accuracy of the first and of the second.
        paired: Comparison on the same videos; None without the scores of both.
        why_unpaired: Reason why there is none.
    """

    accuracies: list[Accuracy]
    paired: Paired | None
    why_unpaired: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain values."""
        return asdict(self)


def compare_scores(first: RunRecords, second: RunRecords, only_common: bool = False) -> Comparison:
    """Compare two tests, on the same videos where the scores of both are there.

    Args:
        first: Records of a run that was tested.
        second: Records of another.
        only_common: Whether only the videos that both have are compared, where the lists differ.

    Raises:
        ValueError: A run was not tested, a file is damaged, or the lists differ in videos, labels
            or classes.
    """
    means = [run.mean_scores() for run in (first, second)]
    lacking = [r.name for r, mean in zip((first, second), means, strict=True) if mean is None]
    if lacking:
        lacks = f"no scores.npz with {' and '.join(lacking)}"
        if any("map" in run.results for run in (first, second)):
            lacks = "a video may have several classes (DATA.MULTI_LABEL)"
        why = f"{lacks}: the videos cannot be compared one by one"
        return Comparison([_accuracy_told(first), _accuracy_told(second)], None, why)
    a, b = means
    assert a is not None
    assert b is not None
    try:
        shared = shared_videos(a, b)
    except ValueError as error:
        raise ValueError(f"{first.name} and {second.name} cannot be compared: {error}") from error
    if not shared.are_all() and (not only_common or not shared.first):
        way_out = "; --common compares those" if shared.first else ""
        raise ValueError(
            f"{first.name} and {second.name} tested other videos: {shared.describe()}{way_out}"
        )
    a, b = a.at(shared.first), b.at(shared.second)
    K = a.values.shape[1]
    names = first.class_names(K) if first.results else second.class_names(K)
    return Comparison([accuracy_of(a.hits()), accuracy_of(b.hits())], _paired(a, b, names))


def accuracy_of(hits: np.ndarray) -> Accuracy:
    """Return the top-1 of videos by whether each is right, (N,)."""
    return _accuracy(int(hits.sum()), len(hits))


def _accuracy(num_right: int, num_videos: int) -> Accuracy:
    low, high = wilson_interval(num_right, num_videos)
    return Accuracy(100 * num_right / num_videos, 100 * low, 100 * high, num_videos)


def _accuracy_told(run: RunRecords) -> Accuracy:
    """Return what results.json says; the scores know better where they are."""
    mean = run.mean_scores()
    if mean is not None:
        return accuracy_of(mean.hits())
    top1, num_videos = run.results.get("top1"), run.results.get("num_videos")
    if not isinstance(top1, int | float) or not isinstance(num_videos, int) or num_videos < 1:
        raise ValueError(f"{run.name} holds no test: no scores.npz, and no top1 in results.json")
    return _accuracy(min(max(round(top1 * num_videos / 100), 0), num_videos), num_videos)


def _paired(first: MeanScores, second: MeanScores, names: Sequence[str]) -> Paired:
    a, b = first.hits(), second.hits()
    only_a, only_b = int((a & ~b).sum()), int((b & ~a).sum())
    return Paired(
        num_videos=len(a),
        both=int((a & b).sum()),
        only_first=only_a,
        only_second=only_b,
        neither=int((~a & ~b).sum()),
        p_value=mcnemar_test(only_a, only_b),
        classes=_class_rows(a, b, first.labels, names),
    )


def _class_rows(
    a: np.ndarray, b: np.ndarray, labels: np.ndarray, names: Sequence[str]
) -> list[ClassRow]:
    counts = [np.bincount(labels[which], minlength=len(names)) for which in (a & ~b, b & ~a)]
    totals = np.bincount(labels, minlength=len(names))
    rows = [
        ClassRow(
            names[label],
            int(totals[label]),
            int(only_a),
            int(only_b),
            100 * int(only_b - only_a) / int(totals[label]),
        )
        for label, (only_a, only_b) in enumerate(zip(*counts, strict=True))
        if only_a or only_b
    ]
    return sorted(rows, key=lambda row: -abs(row.difference))
