"""How good the answers to the labelled videos of a list are."""

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from config.values import counted
from engine.scores import Scores, in_words


class LabelledVideos:
    """Adds up the answers to labelled videos.

    Args:
        is_multi_label: A video may have several classes.
        threshold: Least score of a class that is named; None: there is none.
    """

    def __init__(self, is_multi_label: bool, threshold: float | None = None) -> None:
        self.is_multi_label = is_multi_label
        self.threshold = threshold
        self._probabilities: list[np.ndarray] = []
        self._classes: list[Sequence[int]] = []

    def add(self, probabilities: Tensor, classes: Sequence[int]) -> bool:
        """Take a video's probabilities (K,) and its classes; return whether the best is of them."""
        self._probabilities.append(probabilities.numpy())
        self._classes.append(classes)
        return int(probabilities.argmax()) in classes

    def lines(self) -> list[str]:
        """Say the figures of all of them, a line each; nothing without a video."""
        count = len(self._classes)
        if not count:
            return []
        probabilities = np.stack(self._probabilities)
        labels = self._labels(probabilities.shape[1])
        scores = Scores(np.arange(count).astype(str), labels, probabilities[:, None], 1, 1)
        figures = scores.figures(probabilities)
        what = counted(count, "labelled video")
        if self.is_multi_label:
            names = {name: figures[name] for name in ("map", "top1")}
            return [f"of {what}: {in_words(names)}", *self._at_threshold(probabilities, labels)]
        num_right = round(figures["top1"] * count / 100)
        return [
            f"mean class accuracy: {figures['mean_class_accuracy']:.2f}",
            f"{num_right} right, {count - num_right} wrong",
            f"top-1 of {what}: {figures['top1']:.2f}",
        ]

    def _labels(self, num_classes: int) -> np.ndarray:
        if not self.is_multi_label:
            return np.array([own[0] for own in self._classes])
        labels = np.zeros((len(self._classes), num_classes), np.uint8)
        for row, own in zip(labels, self._classes, strict=True):
            row[list(own)] = 1
        return labels

    def _at_threshold(self, probabilities: np.ndarray, labels: np.ndarray) -> list[str]:
        if self.threshold is None:
            return []
        named = probabilities >= self.threshold
        num_right, num_named = int((named & (labels > 0)).sum()), int(named.sum())
        precision = 100 * num_right / num_named if num_named else float("nan")
        recall = 100 * num_right / int(labels.sum())
        return [
            f"of {num_named} classes named at --threshold {self.threshold:g} {num_right} are true: "
            f"precision {precision:.2f}, recall {recall:.2f}"
        ]
