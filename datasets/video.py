"""Videos as samples: a record becomes indices, frames, and one training clip or all test views."""

import logging
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler, Subset
from yacs.config import CfgNode

from datasets.annotations import VideoRecord, read_list
from datasets.crops import MultiScaleTransform, tsm_crop_boxes, tsm_resize
from datasets.flips import build_mirrored_labels
from datasets.protocols import (
    build_test_sampling,
    build_train_sampling,
    build_train_transform,
    describe_protocol,
    num_test_clips,
    test_image_size,
)
from datasets.readers import FrameFolder, UnreadableVideoError
from datasets.transforms import Box, TrainTransform, crop, crop_boxes, resize_short_side

__all__ = [
    "Clips",
    "EpochSampler",
    "TestViews",
    "TrainClips",
    "Views",
    "build_train_loader",
    "build_view_loader",
    "describe_protocol",
    "num_test_clips",
    "open_frames",
    "read_records",
]

COUNTING_THREADS = 16

_log = logging.getLogger(__name__)

OpenVideo = Callable[[VideoRecord], FrameFolder]


class Clips(NamedTuple):
    """A training sample, or a batch of them.

    Attributes:
        clips: uint8 (T, 3, H, W), in a batch (B, T, 3, H, W).
        labels: Class; (B,).
        indices: Place in the list of records; (B,).
    """

    clips: Tensor
    labels: Tensor
    indices: Tensor


class Views(NamedTuple):
    """All test views of one video; equal views are kept once.

    Attributes:
        distinct: Views that differ, uint8 (D, T, 3, H, W); (0,) when the video is unreadable.
        view_of: For each nominal view, in the order clip, mirror, crop: its place in distinct,
            (V,).
        video: Place in the list of records.
        error: Why the video is unreadable; empty if it is not.
    """

    distinct: Tensor
    view_of: Tensor
    video: int
    error: str


class TrainClips(Dataset[Clips]):
    """One random clip of each video; the draws depend on seed, epoch and index alone.

    Args:
        records: Videos, frames counted.
        open_video: From a record to a reader.
        sample: From (number of frames, rng=generator) to indices (T,).
        transform: Its ``augment`` makes the clip of frames uint8 (T, 3, H, W).
        seed: Of the run.
        mirrored_labels: For each class that of its mirror image, None where it has none and is
            not mirrored; None as a whole: mirrored clips keep their class.
    """

    def __init__(
        self,
        records: list[VideoRecord],
        open_video: OpenVideo,
        sample: Callable[..., np.ndarray],
        transform: TrainTransform | MultiScaleTransform,
        seed: int,
        mirrored_labels: Sequence[int | None] | None = None,
    ) -> None:
        self.records = records
        self.open_video = open_video
        self.sample = sample
        self.transform = transform
        self.seed = seed
        self.mirrored_labels = mirrored_labels

    def __len__(self) -> int:
        """Count the videos."""
        return len(self.records)

    def __getitem__(self, key: tuple[int, int]) -> Clips:
        """Return the clip of (epoch, index); see `EpochSampler`."""
        epoch, index = key
        record = self.records[index]
        rng = np.random.default_rng((self.seed, epoch, index))
        indices = self.sample(record.num_frames, rng=rng)
        frames = _to_tensor(self.open_video(record).read(indices))
        mirrored_label = self._mirrored_label(record.label)
        may_mirror = mirrored_label is not None
        clip, is_mirrored = self.transform.augment(frames, rng, may_mirror=may_mirror)
        label = mirrored_label if is_mirrored else record.label
        return Clips(clip.contiguous(), torch.tensor(label), torch.tensor(index))

    def _mirrored_label(self, label: int) -> int | None:
        return label if self.mirrored_labels is None else self.mirrored_labels[label]


class TestViews(Dataset[Views]):
    """Every test view of each video; a frame is decoded once and resized once.

    Args:
        records: Videos, frames counted.
        open_video: From a record to a reader.
        sample: From the number of frames to indices (num_clips, T).
        short_side: Of the resized frames, pixels.
        image_size: Side of the crops, pixels.
        num_crops: 1, 3 or 5, see `crop_boxes`.
        adds_mirrored: After the crops of a clip come those of its mirror image.
        crops_as_tsm: Resize, crop and mirror as the TSM release does, see `datasets.crops`; the
            centre comes first all the same. False: as TokShift's.
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
        crops_as_tsm: bool = False,
    ) -> None:
        self.records = records
        self.open_video = open_video
        self.sample = sample
        self.short_side = short_side
        self.image_size = image_size
        self.num_crops = num_crops
        self.mirrorings = (False, True) if adds_mirrored else (False,)
        self.crops_as_tsm = crops_as_tsm

    def __len__(self) -> int:
        """Count the videos."""
        return len(self.records)

    def __getitem__(self, index: int) -> Views:
        """Return the views of a video; an unreadable one is returned as such, not raised."""
        record = self.records[index]
        try:
            num_frames = record.num_frames or _count(record, self.open_video)
            clips = self.sample(num_frames)  # (num_clips, T)
            distinct_clips, clip_of = np.unique(clips, axis=0, return_inverse=True)
            used, place = np.unique(distinct_clips, return_inverse=True)
            frames = _to_tensor(self.open_video(record).read(used))
        except UnreadableVideoError as error:
            return Views(torch.empty(0), torch.empty(0), index, str(error))
        streams = [self._resized(frames, is_mirrored) for is_mirrored in self.mirrorings]
        height, width = streams[0].shape[-2:]
        boxes = self._boxes(height, width)
        distinct_boxes = list(dict.fromkeys(boxes))
        distinct = self._cut(streams, place.reshape(distinct_clips.shape), distinct_boxes)
        box_of = np.array([distinct_boxes.index(box) for box in boxes])
        grid = np.arange(len(distinct)).reshape(-1, len(streams), len(distinct_boxes))
        view_of = torch.from_numpy(grid[clip_of.ravel()][:, :, box_of].ravel())  # (V,)
        return Views(distinct, view_of, index, "")

    def _resized(self, frames: Tensor, is_mirrored: bool) -> Tensor:
        # mirrored before the resize, as TokShift does: rounding makes the order matter
        if is_mirrored and not self.crops_as_tsm:
            frames = frames.flip(-1)
        resize = tsm_resize if self.crops_as_tsm else resize_short_side
        return resize(frames, self.short_side)

    def _boxes(self, height: int, width: int) -> list[Box]:
        if not self.crops_as_tsm:
            return crop_boxes(height, width, self.image_size, self.num_crops)
        *others, centre = tsm_crop_boxes(height, width, self.image_size, self.num_crops)
        return [centre, *others]

    def _cut(self, streams: list[Tensor], clips: np.ndarray, boxes: list[Box]) -> Tensor:
        views = []
        for clip in clips:
            for stream, is_mirrored in zip(streams, self.mirrorings, strict=True):
                frames = stream[torch.from_numpy(clip)]
                cuts = [crop(frames, box, self.image_size) for box in boxes]
                mirrors_cuts = is_mirrored and self.crops_as_tsm
                views += [cut.flip(-1) for cut in cuts] if mirrors_cuts else cuts
        return torch.stack(views)  # (D, T, 3, H, W)


class EpochSampler(Sampler[tuple[int, int]]):
    """Deals each epoch's shuffle to the processes, as (epoch, index).

    The order is that of torch's ``DistributedSampler``; videos that do not go round are left out
    for the epoch. Batch i of all processes together is batch i of one process with the whole batch.

    Args:
        num_videos: Of the data set.
        rank: This process.
        world_size: Number of processes.
        seed: Of the run.
    """

    def __init__(self, num_videos: int, rank: int, world_size: int, seed: int) -> None:
        self.num_videos = num_videos
        self.rank = rank
        self.world_size = world_size
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the shuffle; without it every epoch repeats the first."""
        self.epoch = epoch

    def __len__(self) -> int:
        """Count the videos of this process."""
        return self.num_videos // self.world_size

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """Yield (epoch, index) for each video of this process."""
        generator = torch.Generator().manual_seed(self.seed + self.epoch)
        order = torch.randperm(self.num_videos, generator=generator).tolist()
        dealt = order[: len(self) * self.world_size]
        return ((self.epoch, index) for index in dealt[self.rank :: self.world_size])


def read_records(cfg: CfgNode, split: str) -> list[VideoRecord]:
    """Read the list of a split and count the frames where it does not.

    Args:
        cfg: The config.
        split: ``train``, ``val`` or ``test``.

    Raises:
        ValueError: The list is not set, missing or malformed, or a video to count has no frames.
    """
    key = f"{split.upper()}_LIST"
    path = cfg.DATA[key] or (cfg.DATA.VAL_LIST if split == "test" else "")
    if not path:
        raise ValueError(f"DATA.{key} is not set; it names the list file of the {split} videos")
    if cfg.MODEL.NAME == "tsm" and (
        cfg.MODEL.TSM.MODALITY != "RGB" or cfg.MODEL.TSM.NEW_LENGTH > 1
    ):
        raise ValueError(
            f"MODEL.TSM.MODALITY={cfg.MODEL.TSM.MODALITY!r}, "
            f"MODEL.TSM.NEW_LENGTH={cfg.MODEL.TSM.NEW_LENGTH}: the loaders read one "
            "RGB image a frame; flow is for the model alone"
        )
    if not Path(cfg.DATA.ROOT or ".").is_dir():
        raise ValueError(f"DATA.ROOT={cfg.DATA.ROOT!r} is not a folder")
    records = read_list(path, cfg.MODEL.NUM_CLASSES, cfg.DATA.USE_SUBSET)
    if split == "train" or not cfg.TEST.SKIPS_UNREADABLE:  # else they are counted when read
        records = _with_counts(records, partial(open_frames, cfg))
    least = cfg.DATA.MIN_FRAMES
    long_enough = [record for record in records if not 0 < record.num_frames < least]
    if len(long_enough) < len(records):
        _log.warning(
            "%s: left out %d of %d videos, which have fewer frames than DATA.MIN_FRAMES=%d",
            *(path, len(records) - len(long_enough), len(records), cfg.DATA.MIN_FRAMES),
        )
    if not long_enough:
        raise ValueError(f"{path}: no video has DATA.MIN_FRAMES={cfg.DATA.MIN_FRAMES} frames")
    return long_enough


def open_frames(cfg: CfgNode, record: VideoRecord) -> FrameFolder:
    """Return the reader of a record's frames."""
    path = Path(cfg.DATA.ROOT) / record.path
    return FrameFolder(path, cfg.DATA.FRAME_TEMPLATE, cfg.DATA.FIRST_FRAME)


def build_train_loader(
    cfg: CfgNode, records: list[VideoRecord], rank: int, world_size: int
) -> DataLoader[Clips]:
    """Build the loader of one process's share of the training clips, in batches of whole size.

    Raises:
        ValueError: There are fewer videos than one batch of all processes.
    """
    batch = cfg.TRAIN.CLIPS_PER_GPU
    if len(records) // world_size < batch:
        raise ValueError(
            f"the training list has {len(records)} videos, one batch takes TRAIN.CLIPS_PER_GPU="
            f"{batch} on each of {world_size} processes; lower it or add videos"
        )
    dataset = TrainClips(
        records,
        partial(open_frames, cfg),
        build_train_sampling(cfg),
        build_train_transform(cfg),
        cfg.SEED,
        build_mirrored_labels(cfg),
    )
    return DataLoader(
        dataset,
        batch_size=batch,
        sampler=EpochSampler(len(records), rank, world_size, cfg.SEED),
        num_workers=cfg.DATA.WORKERS,
        generator=torch.Generator(),  # its own: the model's draws must not depend on the workers
        drop_last=True,
        pin_memory=torch.cuda.is_available(),
        persistent_workers=cfg.DATA.WORKERS > 0,
        worker_init_fn=_use_one_thread,
    )


def build_view_loader(
    cfg: CfgNode, records: list[VideoRecord], split: str, rank: int, world_size: int
) -> DataLoader[Views]:
    """Build the loader of one process's share of the videos, each once, with the split's views.

    Args:
        cfg: The config.
        records: All videos of the split.
        split: ``val`` or ``test``.
        rank: This process.
        world_size: Number of processes.
    """
    protocol = cfg.VAL if split == "val" else cfg.TEST
    dataset = TestViews(
        records,
        partial(open_frames, cfg),
        build_test_sampling(cfg, split),
        short_side=cfg.DATA.TEST_SHORT_SIDE,
        image_size=test_image_size(cfg, split),
        num_crops=protocol.NUM_CROPS,
        adds_mirrored=cfg.TEST.FLIP,
        crops_as_tsm=cfg.TEST.CROPS == "tsm",
    )
    return DataLoader(
        Subset(dataset, range(rank, len(records), world_size)),
        batch_size=cfg.VAL.VIDEOS_PER_GPU,
        num_workers=cfg.DATA.WORKERS,
        generator=torch.Generator(),
        collate_fn=list,
        pin_memory=torch.cuda.is_available(),
        worker_init_fn=_use_one_thread,
    )


def _with_counts(records: list[VideoRecord], open_video: OpenVideo) -> list[VideoRecord]:
    """Fill in the frame counts that the list leaves open, from the disk."""

    def counted(record: VideoRecord) -> VideoRecord:
        return record._replace(num_frames=record.num_frames or _count(record, open_video))

    try:
        with ThreadPoolExecutor(COUNTING_THREADS) as pool:
            return list(pool.map(counted, records))
    except UnreadableVideoError as error:
        raise ValueError(str(error)) from error  # every process meets it: said once


def _count(record: VideoRecord, open_video: OpenVideo) -> int:
    num_frames = len(open_video(record))
    if not num_frames:
        raise UnreadableVideoError(f"line {record.line}: {record.path!r} holds no frames")
    return num_frames


def _to_tensor(frames: np.ndarray) -> Tensor:
    return torch.from_numpy(frames).permute(0, 3, 1, 2)  # (T, 3, H, W), channels last in memory


def _use_one_thread(worker: int) -> None:
    torch.set_num_threads(1)
