"""What a long video shows when: its classes' probabilities in windows that slide over it."""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice, starmap
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from datasets.annotations import VideoRecord
from datasets.loaders import build_test_views
from datasets.protocols import build_test_sampling
from datasets.readers import UnreadableVideoError
from datasets.records import open_frames
from datasets.views import Views
from engine.canvas import can_draw
from engine.fonts import drawn_names
from ops.metrics import ranked_classes
from tools.predicting.sliding_windows import (
    Pictures,
    WindowReader,
    at_rate,
    clips_in_passing,
    numbered_frames,
    place_windows,
)
from tools.predicting.timeline_plot import NUM_ROWS, plot_timeline
from tools.predicting.video_classifier import VideoClassifier


@dataclass(frozen=True)
class Timeline:
    """Probabilities of the classes in N windows of a video.

    Attributes:
        firsts: Number of the first frame of each window, (N,).
        length: Number of frames of a window.
        starts: Time at which each begins, (N,), in seconds since the first frame.
        ends: Time at which its last frame is shown, (N,).
        probabilities: Probabilities of the classes in each window, (N, K).
        frame_seconds: Time that the last frame of the video is shown, seconds.
    """

    firsts: np.ndarray
    length: int
    starts: np.ndarray
    ends: np.ndarray
    probabilities: Tensor
    frame_seconds: float = 0.0

    def __str__(self) -> str:
        """Return it in words."""
        hop = f", {self.firsts[1] - self.firsts[0]} apart" if len(self.firsts) > 1 else ""
        return f"{len(self.firsts)} windows of {self.length} frames{hop}"

    @property
    def middles(self) -> np.ndarray:
        """The time of each window's middle, (N,), in seconds."""
        return (self.starts + self.ends) / 2

    def at(self, seconds: float) -> Tensor:
        """Return the probabilities (K,) of the window whose middle is nearest to a time."""
        return self.probabilities[int(np.argmin(np.abs(self.middles - seconds)))]

    def write(self, path: Path, classifier: VideoClassifier, topk: int, title: str) -> list[Path]:
        """Write a CSV file with a line for each window, and a plot; return their paths.

        Args:
            path: Path without its suffix, or with that of one of them.
            classifier: Classifier that knows the class names.
            topk: Number of classes in a line.
            title: Title of the plot.

        Raises:
            ValueError: They cannot be written.
        """
        table, picture = table_and_picture(path)
        try:
            with table.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file:
                csv.writer(file).writerows(self._rows(classifier, topk))
            if not can_draw():
                return [table]
            self._plot(classifier, title).save(picture)
        except OSError as error:
            raise ValueError(f"cannot write --timeline {path}: {error.strerror}") from error
        return [table, picture]

    def windows(self, classifier: VideoClassifier, topk: int) -> Iterator[dict[str, object]]:
        """Yield each window for machines: its frames, its seconds and its classes, best first."""
        windows = zip(self.firsts, self.starts, self.ends, self.probabilities, strict=True)
        for first, start, end, probabilities in windows:
            yield {
                "first_frame": int(first),
                "last_frame": int(first) + self.length - 1,
                "start_seconds": round(float(start), 6),
                "end_seconds": round(float(end), 6),
                "ranks": classifier.ranks(probabilities, topk),
            }

    def _plot(self, classifier: VideoClassifier, title: str) -> Image.Image:
        highest = self.probabilities.amax(0)  # (K,)
        shown = ranked_classes(highest, NUM_ROWS).tolist()
        names = drawn_names(classifier.class_names)
        rows = [
            (f"{label} {names[label]}", self.probabilities[:, label].numpy()) for label in shown
        ]
        spans = np.stack([self.starts, self.ends + self.frame_seconds], axis=1)
        return plot_timeline(spans, float(spans.max()), rows, title)

    def _rows(self, classifier: VideoClassifier, topk: int) -> Iterator[list[object]]:
        ranks = range(1, min(topk, self.probabilities.shape[1]) + 1)
        columns = [f"{what}_{rank}" for rank in ranks for what in ("label", "class", "score")]
        yield ["first_frame", "last_frame", "start_seconds", "end_seconds", *columns]
        windows = zip(self.firsts, self.starts, self.ends, self.probabilities, strict=True)
        for first, start, end, probabilities in windows:
            best = [value for triple in classifier.best(probabilities, topk) for value in triple]
            yield [first, first + self.length - 1, f"{start:.6f}", f"{end:.6f}", *best]


def table_and_picture(path: Path) -> tuple[Path, Path]:
    """Return the paths of the CSV file and of the plot that a timeline is written to."""
    return path.with_suffix(".csv"), path.with_suffix(".png")


def build_timeline(
    classifier: VideoClassifier,
    record: VideoRecord,
    window: float | None = None,
    hop: float | None = None,
) -> Timeline:
    """Classify the windows of a video, which is decoded once, from its start to its end.

    Each window has the views of the test, of its frames alone. The last one ends with the video; a
    video that is shorter than a window is one window.

    Args:
        classifier: Classifier with the model.
        record: Record of the video.
        window: Length of a window, seconds; None for the span of a clip.
        hop: Seconds from one window to the next; None for half a window.

    Raises:
        ValueError: A clip has no span of its own, and no window is given.
        UnreadableVideoError: The video cannot be read to its end.
    """
    reader = open_frames(classifier.cfg, record)
    num_frames = len(reader)
    if not num_frames:
        raise UnreadableVideoError(f"{record.path}: no frames")
    cfg = at_rate(classifier.cfg, reader.fps)
    firsts, length = place_windows(cfg, num_frames, window, hop)
    offsets = np.unique(build_test_sampling(cfg, "test")(length))
    times: list[float] = []
    clips = firsts[:, None] + offsets
    frames = numbered_frames(reader, {*clips.ravel().tolist()}, times)

    def views_of(place: int, pictures: Pictures) -> Views:
        part = WindowReader(pictures, int(firsts[place]), length, reader.fps)
        whole = record._replace(num_frames=length)
        return build_test_views(cfg, [whole], "test", lambda _: part)[0]._replace(video=place)

    views = starmap(views_of, clips_in_passing(frames, clips))
    probabilities = []
    while batch := list(islice(views, cfg.VAL.VIDEOS_PER_GPU)):
        for _, scores, _ in classifier.results(batch):
            assert scores is not None  # the frames are at hand
            probabilities.append(classifier.probabilities(scores, record.path))
    if len(probabilities) < len(firsts):
        raise UnreadableVideoError(f"{record.path}: {len(times)} of {num_frames} frames decoded")
    seconds = np.array(times)
    starts, ends = seconds[firsts], seconds[firsts + length - 1]
    return Timeline(firsts, length, starts, ends, torch.stack(probabilities), 1 / reader.fps)
