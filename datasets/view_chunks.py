"""Test views through a model in chunks of one size, across the borders of the videos."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from datasets.views import Views

Result = tuple[int, np.ndarray | None, str]


VIEWS_ON_CPU, VIEWS_ON_GPU = 16, 64


def views_per_forward(asked: int, device: torch.device) -> int:
    """Return how many distinct views go through a model at once.

    Args:
        asked: Value of TEST.VIEWS_PER_FORWARD; 0 for what suits the device.
        device: Device of the model.
    """
    return asked or (VIEWS_ON_GPU if device.type == "cuda" else VIEWS_ON_CPU)


class Logits(Protocol):
    """Logits of a chunk, which the device may still be computing."""

    def tensor(self) -> Tensor:
        """Return them, (D, K), on the CPU; wait for them where they have not come."""


def classify_views(
    batches: Iterable[Sequence[Views]],
    classify: Callable[[Tensor], Logits],
    views_per_forward: int,
) -> Iterator[Result]:
    """Classify the views of videos, equal ones once, and keep the device busy meanwhile.

    All chunks but the last are full. The logits of a chunk are fetched when the next one is on its
    way, so that a device neither waits for the host nor for another size of batches.

    Args:
        batches: Views of each video, as a loader gives them.
        classify: Function from uint8 (D, T, 3, H, W) to logits (D, K).
        views_per_forward: Number of distinct views that go through the model at once.

    Yields:
        For each video its place in the list of records and its views' logits (V, K), or None and
        why it is unreadable; nearly in the order of the videos.
    """
    chunks = _Chunks(classify, views_per_forward)
    for batch in batches:
        for views in batch:
            if views.error:
                yield views.video, None, views.error
            else:
                chunks.add(views)
        yield from chunks.finished()
    chunks.end()
    yield from chunks.finished()


class _Chunks:
    """Views on their way: cut into chunks, classified, and put together again by video."""

    def __init__(self, classify: Callable[[Tensor], Logits], size: int) -> None:
        self.classify = classify
        self.size = size
        self._open: deque[Views] = deque()  # videos without all of their logits
        self._unsent: deque[Tensor] = deque()
        self._flying: Logits | None = None
        self._logits: list[Tensor] = []  # that no video has taken

    def add(self, views: Views) -> None:
        self._open.append(views)
        self._unsent.append(views.distinct)
        while sum(map(len, self._unsent)) >= self.size:
            self._send()

    def end(self) -> None:
        """Send what is left, and wait for all logits."""
        if self._unsent:
            self._send()
        self._land()

    def finished(self) -> Iterator[Result]:
        """Yield the videos whose logits have all come."""
        while self._open and sum(map(len, self._logits)) >= len(self._open[0].distinct):
            views, logits = self._open.popleft(), torch.cat(self._logits)
            own, rest = logits.tensor_split([len(views.distinct)])
            self._logits = [rest]
            yield views.video, own[views.view_of].numpy(), ""

    def _send(self) -> None:
        sent = self.classify(torch.cat(self._next_chunk()))
        self._land()
        self._flying = sent

    def _next_chunk(self) -> list[Tensor]:
        """Take views for a chunk from those that wait; what is left of a video is not copied."""
        pieces: list[Tensor] = []
        room = self.size
        while self._unsent and room:
            piece, rest = self._unsent.popleft().tensor_split([room])
            if len(rest):
                self._unsent.appendleft(rest)
            pieces.append(piece)
            room -= len(piece)
        return pieces

    def _land(self) -> None:
        if self._flying is not None:
            self._logits.append(self._flying.tensor())
        self._flying = None
