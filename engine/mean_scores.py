"""Scores of videos averaged over their views: how sure they are, and which videos two share."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from engine.scores import Scores, check_labelled
from engine.statistics import calibration_error, wilson_interval
from models.weights.npz_file import NUMBERS, TEXTS, read_arrays

NUM_SHOWN = 3  # of the videos that two lists do not share


@dataclass(frozen=True)
class MeanScores:
    """The scores of N videos, each averaged over its views.

    Attributes:
        videos: Paths of the videos as in the list, (N,).
        labels: (N,), int64; multi-hot (N, K) where a video may have several classes, of which
            `load` reads none.
        values: Averaged scores, (N, K), float32.
        are_logits: Whether the scores are logits; False: probabilities.
    """

    videos: np.ndarray
    labels: np.ndarray
    values: np.ndarray
    are_logits: bool

    def probabilities(self) -> np.ndarray:
        """Return the probability of each class, (N, K)."""
        if not self.are_logits:
            return self.values
        return torch.from_numpy(self.values).softmax(-1).numpy()

    def hits(self) -> np.ndarray:
        """Tell of each video whether its class has the highest score, (N,)."""
        return self.values.argmax(-1) == self.labels

    def reliability(self) -> dict[str, list[float] | float]:
        """Return how far top-1 and the probabilities can be trusted, in percent.

        Returns:
            top1_interval, Wilson's at 95 %, lower and upper end; calibration_error, the expected
            one in 15 bins. Nothing where a video may have several classes.
        """
        if self.labels.ndim > 1:
            return {}
        ends = wilson_interval(int(self.hits().sum()), len(self.labels))
        error = calibration_error(self.probabilities(), self.labels)
        return {"top1_interval": [100 * end for end in ends], "calibration_error": 100 * error}

    def at(self, places: Sequence[int]) -> "MeanScores":
        """Return the scores of some videos, by place, in this order."""
        chosen = np.asarray(places, dtype=np.int64)
        parts = (self.videos[chosen], self.labels[chosen], self.values[chosen])
        return MeanScores(*parts, are_logits=self.are_logits)

    @classmethod
    def load(cls, path: str | Path, average_logits: bool = True) -> "MeanScores":
        """Read a scores.npz of the test; for logits without its many views.

        Args:
            path: Path of the file.
            average_logits: Whether logits are averaged over the views; False: probabilities.

        Raises:
            ValueError: The file is missing, damaged or no such file, or a video may have several
                classes.
        """
        if not average_logits:
            scores = Scores.load(path)
            _check_one_class(scores.labels, path)
            return cls(scores.videos, scores.labels, scores.averaged(False), are_logits=False)
        names = ("videos", "labels", "mean_logits")
        try:
            arrays = read_arrays(path, NUMBERS + TEXTS, names)
            _check(arrays)
        except ValueError as error:
            raise ValueError(f"{path} is not a scores.npz of the test: {error}") from error
        _check_one_class(arrays["labels"], path)
        labels = arrays["labels"].astype(np.int64)
        return cls(arrays["videos"], labels, arrays["mean_logits"], are_logits=True)


def reliability_in_words(reliability: Mapping[str, Any]) -> str:
    """Return what `MeanScores.reliability` says in words, to stand behind the figures."""
    low, high = reliability["top1_interval"]
    return (
        f"95 % interval of top1 {low:.2f} to {high:.2f}, "
        f"calibration error {reliability['calibration_error']:.2f}"
    )


class SharedVideos(NamedTuple):
    """Which videos two lists share.

    Attributes:
        first: Places of the shared videos in the first list.
        second: Places in the second list, in the same order.
        only_first: Paths of the others of the first list.
        only_second: Paths of the others of the second list.
    """

    first: list[int]
    second: list[int]
    only_first: list[str]
    only_second: list[str]

    def are_all(self) -> bool:
        """Tell whether both lists have the same videos."""
        return not self.only_first and not self.only_second

    def describe(self) -> str:
        """Say how many videos are in one list alone, with the first few of them."""
        parts = []
        for name, videos in (("first", self.only_first), ("second", self.only_second)):
            if videos:
                shown = ", ".join(map(repr, map(str, videos[:NUM_SHOWN])))
                dots = ", ..." if len(videos) > NUM_SHOWN else ""
                parts.append(f"{len(videos)} in the {name} alone: {shown}{dots}")
        return f"{len(self.first)} videos are in both, " + "; ".join(parts)


def shared_videos(first: MeanScores, second: MeanScores) -> SharedVideos:
    """Return which videos both have, by path; one that a list names twice counts twice.

    Raises:
        ValueError: A video has another label in the second, or the classes are not as many.
    """
    sizes = [scores.values.shape[1] for scores in (first, second)]
    if sizes[0] != sizes[1]:
        raise ValueError(f"the first has {sizes[0]} classes, the second {sizes[1]}")
    names, other_names = _numbered(first.videos), _numbered(second.videos)
    place_of = {name: place for place, name in enumerate(other_names)}
    places = [place for place, name in enumerate(names) if name in place_of]
    partners = [place_of[names[place]] for place in places]
    differ = first.labels[places] != second.labels[partners]
    if differ.any():
        at = int(differ.argmax())
        raise ValueError(
            f"{int(differ.sum())} videos have other labels in the second: "
            f"{str(first.videos[places[at]])!r} has {first.labels[places[at]]} and "
            f"{second.labels[partners[at]]}; both need the classes in the same order"
        )
    here, there = {*names}, {*other_names}
    return SharedVideos(
        places,
        partners,
        [path for path, number in names if (path, number) not in there],
        [path for path, number in other_names if (path, number) not in here],
    )


def _numbered(videos: np.ndarray) -> list[tuple[str, int]]:
    """Return each path with how often it came before."""
    seen, numbered = Counter[str](), []
    for path in videos.tolist():
        numbered.append((path, seen[path]))
        seen[path] += 1
    return numbered


def _check_one_class(labels: np.ndarray, path: str | Path) -> None:
    if labels.ndim > 1:
        raise ValueError(
            f"{path} is of videos of several classes (DATA.MULTI_LABEL), which are rescored one "
            "file at a time, and are neither averaged over models nor compared"
        )


def _check(arrays: dict[str, np.ndarray]) -> None:
    """Raise ``ValueError`` for arrays that are no averaged logits of labelled videos."""
    logits = arrays["mean_logits"]
    if logits.dtype != np.float32 or logits.ndim != 2 or not logits.size:
        raise ValueError(f"mean_logits is {logits.dtype} {logits.shape}, not float32 (N, K)")
    check_labelled(arrays, *logits.shape)
    if not np.isfinite(logits).all():
        raise ValueError("it holds logits that are not finite (nan or inf)")
