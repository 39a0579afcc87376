"""Per-view logits of a test, and every figure that follows from them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from engine.whole_file import whole_file
from models.weights.npz_file import NUMBERS, TEXTS, read_arrays
from ops.losses import multi_label_loss
from ops.metrics import (
    average_precision,
    class_accuracy,
    confusion_matrix,
    to_probabilities,
    topk_hits,
)

TRIVIAL_TOP5 = 5  # classes up to which top-5 is 100 whatever the model, and is not shown
NUM_SHOWN = 10  # of the reasons why videos are unreadable
WORDS = {"map": "mAP", "mean_class_accuracy": "mean class accuracy"}
COLUMNS = {"map": "mAP", "top1": "top1", "top5": "top5", "mean_class_accuracy": "mean class"}


@dataclass(frozen=True)
class Scores:
    """The logits of all nominal views of N videos.

    Attributes:
        videos: Paths of the videos as in the list, (N,).
        labels: (N,), int64; where a video may have several classes multi-hot, (N, K), uint8.
        view_logits: Logits, (N, V, K), float32; V runs over clips, then mirrorings, then crops.
        num_clips: Number of clips in time of each video.
        num_crops: Number of crops of each clip, the centre first.
    """

    videos: np.ndarray
    labels: np.ndarray
    view_logits: np.ndarray
    num_clips: int
    num_crops: int

    @property
    def is_multi_label(self) -> bool:
        """Whether a video may have several classes."""
        return self.labels.ndim == 2

    def averaged(
        self, average_logits: bool = True, num_clips: int = 0, num_crops: int = 0
    ) -> np.ndarray:
        """Average the views of each video, (N, K).

        Args:
            average_logits: Average logits; False: probabilities, of several classes sigmoids.
            num_clips: Number of first clips to use; 0 = all.
            num_crops: Number of first crops to use; 0 = all.
        """
        N, _, K = self.view_logits.shape
        # The first clips and crops are views of their own protocol: crops have the centre first, so
        # that one test gives the figures of 1x1, 1xC, Nx1 and NxC.
        views = self.view_logits.reshape(N, self.num_clips, -1, self.num_crops, K)
        views = views[:, : num_clips or None, :, : num_crops or None].reshape(N, -1, K)
        # As the releases do. PySlowFast adds up probabilities, which can name another class.
        if average_logits:
            return views.mean(1, dtype=np.float32)
        probabilities = to_probabilities(torch.from_numpy(views), self.is_multi_label)
        return probabilities.mean(1).numpy()  # (N, K)

    def figures(self, mean_scores: np.ndarray) -> dict[str, Any]:
        """Count accuracies, in percent, of averaged scores (N, K).

        Returns:
            top1, top5, mean_class_accuracy (over the classes that have videos) and
            per_class_accuracy (class to percent, None without videos). Where a video may have
            several classes: map, the mean over the classes that have videos of per_class_ap, and
            top1, for which any class of a video counts.
        """
        scores, labels = torch.from_numpy(mean_scores), torch.from_numpy(self.labels)
        if self.is_multi_label:
            per_class = 100 * average_precision(mean_scores, self.labels)
            return {
                "map": float(np.nanmean(per_class)),
                "top1": float(100 * topk_hits(scores, labels, ks=(1,)) / len(labels)),
                "per_class_ap": _by_label(per_class),
            }
        # Hits over videos, divided once: a mean of batches would weigh the last one too much.
        top1, top5 = (100 * topk_hits(scores, labels) / len(labels)).tolist()
        per_class = class_accuracy(self.confusion(mean_scores))
        return {
            "top1": top1,
            "top5": top5,
            # A class without videos has no accuracy; as 0 it would pull the mean down.
            "mean_class_accuracy": float(np.nanmean(per_class)),
            "per_class_accuracy": _by_label(per_class),
        }

    def shown_figures(self, figures: Mapping[str, Any]) -> dict[str, float]:
        """Return the figures of all classes together; top5 only where it can vary."""
        if self.is_multi_label:
            return {name: figures[name] for name in ("map", "top1")}
        names = (*shown_tops(self.view_logits.shape[-1]), "mean_class_accuracy")
        return {name: figures[name] for name in names}

    def confusion(self, mean_scores: np.ndarray) -> np.ndarray:
        """Count videos of one class each by it (row) and the predicted one (column), (K, K)."""
        return confusion_matrix(mean_scores.argmax(-1), self.labels, mean_scores.shape[-1])

    def loss(self, label_smoothing: float) -> float:
        """Return the mean loss over single views, as the release reports it in validation."""
        # Smoothed, and over views rather than their mean: only so it compares with the release's
        # log.
        logits = torch.from_numpy(self.view_logits).flatten(0, 1)  # (N*V, K)
        labels = torch.from_numpy(self.labels).repeat_interleave(self.view_logits.shape[1], dim=0)
        if self.is_multi_label:
            return multi_label_loss(logits, labels.float(), label_smoothing).item()
        return F.cross_entropy(logits, labels, label_smoothing=label_smoothing).item()

    def save(self, path: Path, mean_logits: np.ndarray) -> None:
        """Write an ``.npz`` file that `load` reads, the averaged logits beside the views."""
        with whole_file(path) as file:
            np.savez(
                file,
                videos=self.videos,
                labels=self.labels,
                view_logits=self.view_logits,
                mean_logits=mean_logits,
                num_clips=self.num_clips,
                num_crops=self.num_crops,
            )

    @classmethod
    def load(cls, path: str | Path) -> "Scores":
        """Read what `save` wrote.

        Raises:
            ValueError: The file is missing, damaged or not of this kind.
        """
        names = ("videos", "labels", "view_logits", "num_clips", "num_crops")
        try:
            arrays = read_arrays(path, NUMBERS + TEXTS, names)
            _check(arrays)
        except ValueError as error:
            raise ValueError(f"{path} is not a scores.npz of the test: {error}") from error
        return cls(
            arrays["videos"],
            arrays["labels"].astype(np.int64 if arrays["labels"].ndim == 1 else np.uint8),
            arrays["view_logits"],
            int(arrays["num_clips"]),
            int(arrays["num_crops"]),
        )


def chosen_by(is_multi_label: bool) -> str:
    """Name the figure that chooses the best epoch."""
    return "map" if is_multi_label else "top1"


def class_figures(figures: Mapping[str, Any]) -> tuple[str, dict[str, float | None]]:
    """Return what each class has, by label, and the figure's name among those of `Scores`."""
    name = "per_class_ap" if "per_class_ap" in figures else "per_class_accuracy"
    return name, figures[name]


def without_classes(figures: Mapping[str, Any]) -> dict[str, Any]:
    """Return the figures of `Scores` that are of all classes together."""
    name, _ = class_figures(figures)
    return {key: value for key, value in figures.items() if key != name}


def shown_tops(num_classes: int) -> tuple[str, ...]:
    """Return which of top1 and top5 are shown: of few classes top-5 says nothing."""
    # With five classes or fewer every label is among the first five.
    return ("top1",) if num_classes <= TRIVIAL_TOP5 else ("top1", "top5")


def in_words(figures: Mapping[str, float]) -> str:
    """Say accuracies, as ``top1 99.25 mean class accuracy 98.00``."""
    return " ".join(f"{WORDS.get(name, name)} {value:.2f}" for name, value in figures.items())


def table_head(figures: Mapping[str, Any]) -> str:
    """Return the heads of columns for `table_row`, of the figures of all classes together."""
    return " ".join(f"{COLUMNS[name]:>{_width(name)}}" for name in COLUMNS if name in figures)


def table_row(figures: Mapping[str, Any]) -> str:
    """Return the figures below their heads."""
    return " ".join(f"{figures[name]:{_width(name)}.2f}" for name in COLUMNS if name in figures)


def _width(name: str) -> int:
    return max(7, len(COLUMNS[name]) + 1)


def _by_label(values: np.ndarray) -> dict[str, float | None]:
    return {str(k): None if np.isnan(value) else float(value) for k, value in enumerate(values)}


def check_labelled(arrays: Mapping[str, np.ndarray], num_videos: int, num_classes: int) -> None:
    """Raise ``ValueError`` for arrays whose paths and labels are not those of so many videos."""
    N, K = num_videos, num_classes
    labels, videos = arrays["labels"], arrays["videos"]
    fits = labels.shape in ((N,), (N, K)) and videos.shape == (N,)
    if not fits or videos.dtype.kind != "U":
        raise ValueError(f"labels and videos are {labels.shape} and {videos.shape}, not ({N},)")
    if labels.ndim == 2:
        if labels.dtype != np.uint8 or labels.max() != 1:
            raise ValueError(f"labels of several classes are {labels.dtype}, not 0 and 1 in uint8")
    elif labels.dtype.kind != "i" or labels.min() < 0 or labels.max() >= K:
        raise ValueError(f"labels are {labels.dtype} and not all in 0..{K - 1}")


def _check(arrays: dict[str, np.ndarray]) -> None:
    """Raise ``ValueError`` for arrays that are no logits of views of labelled videos."""
    logits = arrays["view_logits"]
    counts = [arrays[name] for name in ("num_clips", "num_crops")]
    if logits.dtype != np.float32 or logits.ndim != 3 or not logits.size:
        raise ValueError(f"view_logits is {logits.dtype} {logits.shape}, not float32 (N, V, K)")
    N, V, K = logits.shape
    check_labelled(arrays, N, K)
    if any(count.dtype.kind != "i" or count.shape for count in counts):
        raise ValueError("num_clips and num_crops are no integers")
    num_clips, num_crops = (int(count) for count in counts)
    # Not V == clips x crops: there may be mirror images between them.
    if min(num_clips, num_crops) < 1 or V % (num_clips * num_crops):
        raise ValueError(f"{V} views are not those of {num_clips} clips x {num_crops} crops")
    # A file of one's own never does, see `collect_scores`: this one comes from elsewhere.
    if not np.isfinite(logits).all():
        raise ValueError("it holds logits that are not finite (nan or inf)")


def collect_scores(
    results: Sequence[tuple[str, int, np.ndarray | None, str]],
    videos: Sequence[str],
    labels: Sequence[int] | np.ndarray,
    num_clips: int,
    num_crops: int,
) -> tuple[Scores, list[str]]:
    """Put the processes' results in the list's order and prove that each video is there once.

    Args:
        results: For each video its path, its place in the list, and its views' logits (V, K) or
            None and the reason why it is unreadable.
        videos: Paths of the videos as in the list.
        labels: Class of each video, (N,), or multi-hot (N, K).
        num_clips: Number of clips in time of each video.
        num_crops: Number of crops of each clip.

    Returns:
        The scores of the readable videos; why the others are not, a line each.

    Raises:
        ValueError: None is readable, or a process has another video at a place of the list.
        FloatingPointError: A logit is not finite.
    """
    # Each process had every W-th video: what is compared with other tests goes by the list.
    results = sorted(results, key=lambda result: result[1])
    # A proof, not a check of the user: a video that is scored twice moves the accuracy unseen.
    if [place for _, place, *_ in results] != list(range(len(videos))):
        raise RuntimeError(f"scored {len(results)} videos, the list has {len(videos)}")
    for path, place, *_ in results:
        if path != videos[place]:
            raise ValueError(
                f"video {place + 1} of the list is {videos[place]!r} on rank 0 and {path!r} on the "
                "process that scored it: every host needs the same list"
            )
    # Told, not replaced by another video: whether the figures of the others count, the caller
    # decides by TEST.SKIPS_UNREADABLE.
    unreadable = [error for *_, error in results if error]
    if len(unreadable) == len(videos):
        shown = "\n  ".join(unreadable[:NUM_SHOWN])
        raise ValueError(f"none of {len(videos)} videos is readable\n  {shown}")
    kept = [(place, logits) for _, place, logits, _ in results if logits is not None]
    # NaN ranks before every number: unnoticed, it would count as an answer like any other.
    broken = [videos[place] for place, logits in kept if not np.isfinite(logits).all()]
    if broken:
        raise FloatingPointError(
            f"the logits of {len(broken)} of {len(kept)} videos are not finite, that of "
            f"{broken[0]!r} first: the weights diverged or overflow in this precision"
        )
    scores = Scores(
        videos=np.array([videos[place] for place, _ in kept]),
        labels=np.array([labels[place] for place, _ in kept]),
        view_logits=np.stack([logits for _, logits in kept]),
        num_clips=num_clips,
        num_crops=num_crops,
    )
    return scores, unreadable
