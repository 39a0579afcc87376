"""What is found in videos, shown and kept for machines as it comes."""

import json
import sys
from collections.abc import Sequence
from typing import Any, TextIO

from datasets.annotations import VideoRecord
from tools.predicting.find_videos import NO_LABEL, FoundVideo
from tools.predicting.labelled_videos import LabelledVideos
from tools.predicting.video_classifier import Result, VideoClassifier

TOPK = 5  # classes that are named


class Predictions:
    """Shows what is found, and keeps it for machines.

    Args:
        classifier: Classifier that gives the results.
        videos: All videos.
        topk: Number of classes to name; None: five, or those at the threshold.
        file: File that gets a JSON line for each video; None for none.
        threshold: Least score of a class that is named; None: there is none.
    """

    def __init__(
        self,
        classifier: VideoClassifier,
        videos: Sequence[FoundVideo],
        topk: int | None,
        file: TextIO | None,
        threshold: float | None = None,
    ) -> None:
        self.classifier = classifier
        self.videos = videos
        self.topk = topk or (len(classifier.class_names) if threshold is not None else TOPK)
        self.file = file
        self.threshold = threshold
        self._unreadable: list[str] = []
        self._labelled = LabelledVideos(classifier.cfg.DATA.MULTI_LABEL, threshold)

    def add(self, result: Result) -> None:
        """Show the result of a video."""
        place, view_scores, error = result
        name, record = self.videos[place]
        row: dict[str, Any] = {"file": name, "path": record.path}
        lines = [f"Current video file: {name}"]
        if view_scores is None:
            self._unreadable.append(name)
            row["error"] = error
            lines.append(f"\tunreadable: {error}")
        else:
            probabilities = self.classifier.probabilities(view_scores, name)
            ranks = self.classifier.ranks(probabilities, self.topk)
            least = -1.0 if self.threshold is None else self.threshold
            row["ranks"] = ranks = [rank for rank in ranks if rank["score"] >= least]
            for number, rank in enumerate(ranks, start=1):
                lines.append(f"\ttop-{number} class: {rank['class']} {rank['name']}")
                lines.append(f"\ttop-{number} score: {rank['score']:.4f}")
            if not ranks:
                lines.append(f"\tno class has a score of {least:g} or more")
            if record.label != NO_LABEL:
                is_right = self._labelled.add(probabilities, record.classes)
                of_truth, line = self._truth(record, is_right)
                row |= of_truth
                lines.append(line)
        sys.stdout.write("\n".join(lines) + "\n")
        sys.stdout.flush()
        if self.file:
            self.file.write(json.dumps(row, ensure_ascii=False) + "\n")
            self.file.flush()

    def _truth(self, record: VideoRecord, is_right: bool) -> tuple[dict[str, Any], str]:
        """Return a video's true classes for machines and in words."""
        names = [self.classifier.class_names[label] for label in record.classes]
        if self.classifier.cfg.DATA.MULTI_LABEL:
            said = ", ".join(f"{k} {name}" for k, name in zip(record.classes, names, strict=True))
            truth: dict[str, Any] = {"labels": list(record.classes), "label_names": names}
            return truth, f"\ttrue classes: {said}"
        truth = {"label": record.label, "label_name": names[0], "is_right": is_right}
        verdict = "right" if is_right else "wrong"
        return truth, f"\ttrue class: {record.label} {names[0]}, {verdict}"

    def end(self) -> int:
        """Show the figures of all videos; return how many were unreadable."""
        sys.stdout.write("".join(f"{line}\n" for line in self._labelled.lines()))
        if self._unreadable:
            shown = ", ".join(self._unreadable[:10])
            more = ", ..." if len(self._unreadable) > 10 else ""
            sys.stderr.write(
                f"{len(self._unreadable)} of {len(self.videos)} videos are unreadable: "
                f"{shown}{more}\n"
            )
        return len(self._unreadable)
