"""Clips of whole videos in one pass over each, with their times: those of the test, or windows."""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.data import DataLoader, IterableDataset, get_worker_info
from yacs.config import CfgNode

from datasets.annotations import VideoRecord
from datasets.loaders import build_test_views
from datasets.protocols import build_test_sampling
from datasets.readers import UnreadableVideoError, VideoReader
from datasets.records import count_frames, open_frames, pick_frames
from datasets.views import Views
from datasets.workers import num_workers, start_worker
from tools.predicting.sliding_windows import (
    WindowReader,
    at_rate,
    clips_in_passing,
    numbered_frames,
    place_windows,
)


class Windows(NamedTuple):
    """Windows that slide over a video.

    Attributes:
        hop: Seconds from one to the next; None for half a window.
        length: Seconds of each; None for the span of a clip.
    """

    hop: float | None = None
    length: float | None = None


class StreamedClip(NamedTuple):
    """A clip in time of a video; one that is alike in several places comes once.

    Attributes:
        views: Crops and mirror images of the clip; or the video's place, and why it cannot be read
            on.
        rows: Places of the clip among the clips of the video.
        num_rows: Number of clips of the video.
        indices: Indices of its frames in the video, (T,).
        seconds: Times at which they are shown, since the first frame, (T,).
    """

    views: Views
    rows: Sequence[int] = ()
    num_rows: int = 0
    indices: np.ndarray = np.empty(0, np.int64)
    seconds: np.ndarray = np.empty(0)


class ClipStream(IterableDataset[StreamedClip]):
    """The clips of videos; the workers of a loader share the videos.

    Each video is decoded once, to its last clip, and no more frames are held than those of clips
    that are not complete.

    Args:
        cfg: Config of the experiment; TEST has the clips, crops and mirror images.
        records: Records of the videos.
        places: Places, among the records, of the videos that are read.
        windows: Windows to take, each with the first clip of the test; None: the clips of the test.
    """

    def __init__(
        self,
        cfg: CfgNode,
        records: Sequence[VideoRecord],
        places: Sequence[int],
        windows: Windows | None = None,
    ) -> None:
        self.cfg = cfg
        self.records = records
        self.places = places
        self.windows = windows

    def __iter__(self) -> Iterator[StreamedClip]:
        """Yield the clips of each video; one that breaks off ends with an error."""
        worker = get_worker_info()
        first, step = (worker.id, worker.num_workers) if worker else (0, 1)
        for place in self.places[first::step]:
            try:
                yield from self._clips_of(place)
            except UnreadableVideoError as error:
                yield StreamedClip(Views(torch.empty(0), torch.empty(0), place, str(error)))

    def _clips_of(self, place: int) -> Iterator[StreamedClip]:
        record = self.records[place]
        reader = open_frames(self.cfg, record)
        clips = self._indices(record, reader)  # (num_rows, T)
        distinct, row_of = np.unique(clips, axis=0, return_inverse=True)
        times: list[float] = []
        frames = numbered_frames(reader, {*distinct.ravel().tolist()}, times)
        num_done = 0
        for number, pictures in clips_in_passing(frames, distinct):
            clip = distinct[number]
            part = WindowReader(pictures, 0, len(reader), reader.fps)
            views = build_test_views(
                *(self.cfg, [record], "test", lambda _, part=part: part),
                sample=lambda _, clip=clip: clip[None],
            )[0]
            rows = np.flatnonzero(row_of.ravel() == number).tolist()
            seconds = np.array([times[index] for index in clip])
            yield StreamedClip(views._replace(video=place), rows, len(clips), clip, seconds)
            num_done += 1
        if num_done < len(distinct):
            raise UnreadableVideoError(
                f"{record.path}: {len(times)} of {len(reader)} frames decoded"
            )

    def _indices(self, record: VideoRecord, reader: VideoReader) -> np.ndarray:
        """Return the frames of the clips of a video, (num_clips, T)."""
        open_video = partial(open_frames, self.cfg)
        if self.windows is None:
            return pick_frames(record, build_test_sampling(self.cfg, "test"), open_video)
        cfg = at_rate(self.cfg, reader.fps)
        num_frames = record.num_frames or count_frames(record, open_video)
        firsts, length = place_windows(cfg, num_frames, self.windows.length, self.windows.hop)
        return firsts[:, None] + build_test_sampling(cfg, "test")(length)[0]


def build_clip_loader(stream: ClipStream) -> DataLoader[StreamedClip]:
    """Build the loader of a stream's clips, one by one; loader processes as DATA.WORKERS says."""
    num_videos = len(stream.places)
    workers = min(num_workers(stream.cfg.DATA.WORKERS), num_videos) if num_videos > 1 else 0
    return DataLoader(
        stream,
        batch_size=None,
        num_workers=workers,
        generator=torch.Generator(),
        collate_fn=_as_it_is,
        pin_memory=torch.cuda.is_available(),
        worker_init_fn=start_worker,
        timeout=60 * stream.cfg.TRAIN.TIMEOUT_MINUTES if workers else 0,
    )


def _as_it_is(clip: Any) -> Any:
    return clip
