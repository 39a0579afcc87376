"""Videos through a model: the features of their clips, put together video by video."""

from collections import deque
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from datasets.view_chunks import classify_views, views_per_forward
from datasets.views import Views
from engine.fetching import Fetched
from engine.run import Run, to_device
from models.feature_extractor import FeatureExtractor
from tools.features.clip_stream import ClipStream, StreamedClip, build_clip_loader
from tools.features.feature_files import Features

Part = tuple[StreamedClip, np.ndarray]  # a clip with its features, (S, C)


@torch.inference_mode()
def extract(
    extractor: FeatureExtractor, stream: ClipStream, run: Run
) -> Iterator[tuple[int, Features | None, str]]:
    """Yield the features of each video of a stream as soon as it is through.

    Args:
        extractor: Feature extractor on the device of the run.
        stream: Stream of this process's videos.
        run: Test that the clips are of.

    Yields:
        The place of a video among the records, its features, or None and why it is unreadable.

    Raises:
        FloatingPointError: Features are not finite.
    """
    waiting: dict[int, deque[StreamedClip]] = {place: deque() for place in stream.places}
    parts: dict[int, list[Part]] = {place: [] for place in stream.places}

    def views() -> Iterator[list[Views]]:
        for clip in build_clip_loader(stream):
            if not clip.views.error:
                waiting[clip.views.video].append(clip)
            yield [clip.views]

    def features_of(clips: Tensor) -> Fetched:
        with run.autocast():
            return Fetched(extractor(to_device(clips, run.cfg, run.world)))

    size = views_per_forward(run.cfg.TEST.VIEWS_PER_FORWARD, run.world.device)
    for place, values, error in classify_views(views(), features_of, size):
        if place not in parts:  # of a video that broke off: clips that were on their way
            continue
        if values is not None:
            clip = waiting[place].popleft()
            parts[place].append((clip, values.mean(0)))  # over the crops, (S, C)
            if sum(len(part.rows) for part, _ in parts[place]) < clip.num_rows:
                continue
        found = parts.pop(place)
        yield place, (None if error else _joined(found, stream.records[place].path)), error


def _joined(parts: list[Part], path: str) -> Features:
    """Put the clips of a video together; see `tools.features.feature_files.ARRAYS`."""
    clip, values = parts[0]
    N, T = clip.num_rows, len(clip.indices)
    frames = np.empty((N, *values.shape), np.float32)
    indices, seconds = np.empty((N, T), np.int64), np.empty((N, T))
    for clip, values in parts:
        frames[clip.rows], indices[clip.rows], seconds[clip.rows] = (
            values,
            clip.indices,
            clip.seconds,
        )
    if not np.isfinite(frames).all():
        raise FloatingPointError(f"{path}: features are not finite; try TRAIN.AMP none")
    return {"clips": frames.mean(1), "frames": frames, "indices": indices, "seconds": seconds}
