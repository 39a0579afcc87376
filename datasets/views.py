"""Test views: every clip, mirror image and crop of a video, equal ones made once."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from datasets.annotations import VideoRecord
from datasets.augment.short_side import Box, crop
from datasets.readers import UnreadableVideoError
from datasets.records import OpenVideo, pick_frames, read_frames
from datasets.view_crops import TOKSHIFT_CROPS, ViewCrops


class Views(NamedTuple):
    """All test views of one video; equal views are kept once.

    Attributes:
        distinct: Views that differ, (D, T, 3, H, W), uint8 or, as TEST.CROPS laps has them,
            float32 in 0..255; (0,) when the video is unreadable.
        view_of: Index into distinct of each nominal view, in the order clip, mirror, crop, (V,).
        video: Place of the video in the list of records.
        error: Reason why the video is unreadable; empty if it is not.
    """

    distinct: Tensor
    view_of: Tensor
    video: int
    error: str


class TestViews(Dataset[Views]):
    """Every test view of each video; a frame is decoded once and resized once.

    Args:
        records: Videos with their frames counted.
        open_video: Function from a record to a reader.
        sample: Function from the number of frames to indices (num_clips, T).
        short_side: Short side of the resized frames, pixels.
        image_size: Side of the crops, pixels.
        num_crops: Number of crops of each clip: 1, 3 or 5, of those that `crops` can make.
        adds_mirrored: Whether the crops of a clip are followed by those of its mirror image.
        crops: Functions that resize and crop the frames, and the order of mirroring and resizing.
    """

    __test__ = False  # not a test case, whatever its name says to pytest

    def __init__(
        self,
        records: list[VideoRecord],
        open_video: OpenVideo,
        sample: Callable[[int], np.ndarray],
        short_side: int,
        image_size: int,
        num_crops: int,
        adds_mirrored: bool = False,
        crops: ViewCrops = TOKSHIFT_CROPS,
    ) -> None:
        self.records = records
        self.open_video = open_video
        self.sample = sample
        self.short_side = short_side
        self.image_size = image_size
        self.num_crops = num_crops
        self.mirrorings = (False, True) if adds_mirrored else (False,)
        self.crops = crops

    def __len__(self) -> int:
        """Count the videos."""
        return len(self.records)

    def __getitem__(self, index: int) -> Views:
        """Return the views of a video; an unreadable one is returned as such, not raised."""
        record = self.records[index]
        try:
            clips = pick_frames(record, self.sample, self.open_video)  # (num_clips, T)
            # Ten dense clips of 300 frames at 8x32 are three different ones: each is made and
            # forwarded once, and counts as often as the published protocol names it.
            distinct_clips, clip_of = np.unique(clips, axis=0, return_inverse=True)
            # 24 of the 80 frames there; clips that overlap share them.
            used, place = np.unique(distinct_clips, return_inverse=True)
            frames = read_frames(record, used, self.open_video)
        except UnreadableVideoError as error:
            return Views(torch.empty(0), torch.empty(0), index, str(error))
        streams = [self._resized(frames, is_mirrored) for is_mirrored in self.mirrorings]
        height, width = streams[0].shape[-2:]
        boxes = self.crops.boxes(height, width, self.image_size, self.num_crops)
        # In a square frame of the crop's size all crops are one. The centre stays first.
        distinct_boxes = list(dict.fromkeys(boxes))
        distinct = self._cut(streams, place.reshape(distinct_clips.shape), distinct_boxes)
        box_of = np.array([distinct_boxes.index(box) for box in boxes])
        # Clips, then mirrorings, then crops: `Scores.averaged` takes the views apart by this order.
        grid = np.arange(len(distinct)).reshape(-1, len(streams), len(distinct_boxes))
        view_of = torch.from_numpy(grid[clip_of.ravel()][:, :, box_of].ravel())  # (V,)
        return Views(distinct, view_of, index, "")

    def _resized(self, frames: Tensor, is_mirrored: bool) -> Tensor:
        # The order matters, since pixels and places are rounded: each protocol has its own.
        if is_mirrored and self.crops.mirrors_before_resize:
            frames = frames.flip(-1)
        if self.crops.resizes_floats:
            frames = frames.float()
        return self.crops.resize(frames, self.short_side)

    def _cut(self, streams: list[Tensor], clips: np.ndarray, boxes: list[Box]) -> Tensor:
        views = []
        for clip in clips:
            for stream, is_mirrored in zip(streams, self.mirrorings, strict=True):
                frames = stream[torch.from_numpy(clip)]
                cuts = [crop(frames, box, self.image_size) for box in boxes]
                mirrors_cuts = is_mirrored and not self.crops.mirrors_before_resize
                views += [cut.flip(-1) for cut in cuts] if mirrors_cuts else cuts
        return torch.stack(views)  # (D, T, 3, H, W)
