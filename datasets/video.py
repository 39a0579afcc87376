"""Videos as samples: a record becomes indices, frames, and one training clip or all test views."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler, Subset
from yacs.config import CfgNode

from datasets import sampling
from datasets.annotations import VideoRecord, read_list
from datasets.readers import FrameFolder, UnreadableVideoError
from datasets.sampling import Rng
from datasets.transforms import Box, TrainTransform, crop, crop_boxes, resize_short_side

COUNTING_THREADS = 16

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
        transform: From (frames uint8 (T, 3, H, W), generator) to the clip.
        seed: Of the run.
    """

    def __init__(
        self,
        records: list[VideoRecord],
        open_video: OpenVideo,
        sample: Callable[..., np.ndarray],
        transform: Callable[[Tensor, Rng], Tensor],
        seed: int,
    ) -> None:
        self.records = records
        self.open_video = open_video
        self.sample = sample
        self.transform = transform
        self.seed = seed

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
        clip = self.transform(frames, rng).contiguous()
        return Clips(clip, torch.tensor(record.label), torch.tensor(index))


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
    ) -> None:
        self.records = records
        self.open_video = open_video
        self.sample = sample
        self.short_side = short_side
        self.image_size = image_size
        self.num_crops = num_crops
        self.mirrorings = (False, True) if adds_mirrored else (False,)

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
        boxes = crop_boxes(height, width, self.image_size, self.num_crops)
        distinct_boxes = list(dict.fromkeys(boxes))
        distinct = self._cut(streams, place.reshape(distinct_clips.shape), distinct_boxes)
        box_of = np.array([distinct_boxes.index(box) for box in boxes])
        grid = np.arange(len(distinct)).reshape(-1, len(streams), len(distinct_boxes))
        view_of = torch.from_numpy(grid[clip_of.ravel()][:, :, box_of].ravel())  # (V,)
        return Views(distinct, view_of, index, "")

    def _resized(self, frames: Tensor, is_mirrored: bool) -> Tensor:
        # mirrored before the resize, as released: rounding makes the order matter
        return resize_short_side(frames.flip(-1) if is_mirrored else frames, self.short_side)

    def _cut(self, streams: list[Tensor], clips: np.ndarray, boxes: list[Box]) -> Tensor:
        views = [
            crop(stream[torch.from_numpy(clip)], box, self.image_size)
            for clip in clips
            for stream in streams
            for box in boxes
        ]
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
    if not Path(cfg.DATA.ROOT or ".").is_dir():
        raise ValueError(f"DATA.ROOT={cfg.DATA.ROOT!r} is not a folder")
    records = read_list(path, cfg.MODEL.NUM_CLASSES, cfg.DATA.USE_SUBSET)
    if split != "train" and cfg.TEST.SKIPS_UNREADABLE:
        return records  # counted one by one, when they are read
    return _with_counts(records, partial(open_frames, cfg))


def describe_protocol(cfg: CfgNode) -> str:
    """Say in one line what the test's views are and how they are combined."""
    data, clips = cfg.DATA, num_test_clips(cfg, "test")
    frames = (
        data.NUM_FRAMES if data.SAMPLING == "uniform" else f"{data.NUM_FRAMES}x{data.FRAME_STRIDE}"
    )
    return (
        f"{clips}x{cfg.TEST.NUM_CROPS} views{' and their mirror images' if cfg.TEST.FLIP else ''}, "
        f"{data.SAMPLING} {frames}, short side {data.TEST_SHORT_SIDE}, crop {data.IMAGE_SIZE}, "
        f"{'logits' if cfg.TEST.AVERAGE_LOGITS else 'probabilities'} averaged"
        f"{', clips spread evenly' if cfg.TEST.EVEN_STARTS else ''}"
    )


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
        _train_sampling(cfg),
        TrainTransform(
            cfg.DATA.IMAGE_SIZE,
            cfg.AUG.SHORT_SIDE_RANGE,
            flip=cfg.AUG.FLIP,
            jitter_one_in=cfg.AUG.JITTER_ONE_IN,
            brightness=cfg.AUG.BRIGHTNESS,
            saturation=cfg.AUG.SATURATION,
            gamma=cfg.AUG.GAMMA,
            hue=cfg.AUG.HUE,
        ),
        cfg.SEED,
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
        _test_sampling(cfg, protocol.NUM_CLIPS),
        short_side=cfg.DATA.TEST_SHORT_SIDE,
        image_size=cfg.DATA.IMAGE_SIZE,
        num_crops=protocol.NUM_CROPS,
        adds_mirrored=cfg.TEST.FLIP,
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


def num_test_clips(cfg: CfgNode, split: str) -> int:
    """Count the clips in time of each video in a split's protocol, ``val`` or ``test``."""
    if cfg.DATA.SAMPLING == "uniform":
        return 2 if cfg.DATA.UNIFORM_TWICE else 1
    return cfg.VAL.NUM_CLIPS if split == "val" else cfg.TEST.NUM_CLIPS


def _train_sampling(cfg: CfgNode) -> Callable[..., np.ndarray]:
    if cfg.DATA.SAMPLING == "uniform":
        return partial(sampling.tsn_uniform, num_segments=cfg.DATA.NUM_FRAMES)
    return partial(
        sampling.random_dense_clip,
        clip_len=cfg.DATA.NUM_FRAMES,
        stride=cfg.DATA.FRAME_STRIDE,
        draws_last_start=cfg.DATA.DRAWS_LAST_START,
    )


def _test_sampling(cfg: CfgNode, num_clips: int) -> Callable[[int], np.ndarray]:
    if cfg.DATA.SAMPLING == "uniform":
        return partial(
            sampling.tsn_uniform_clips,
            num_segments=cfg.DATA.NUM_FRAMES,
            twice=cfg.DATA.UNIFORM_TWICE,
            as_released=cfg.DATA.UNIFORM_AS_RELEASED,
        )
    return partial(
        sampling.dense_clips,
        clip_len=cfg.DATA.NUM_FRAMES,
        stride=cfg.DATA.FRAME_STRIDE,
        num_clips=num_clips,
        even_starts=cfg.TEST.EVEN_STARTS,
    )


def _with_counts(records: list[VideoRecord], open_video: OpenVideo) -> list[VideoRecord]:
    """Fill in the frame counts that the list leaves open, from the disk."""

    def counted(record: VideoRecord) -> VideoRecord:
        return record._replace(num_frames=record.num_frames or _count(record, open_video))

    with ThreadPoolExecutor(COUNTING_THREADS) as pool:
        return list(pool.map(counted, records))


def _count(record: VideoRecord, open_video: OpenVideo) -> int:
    num_frames = len(open_video(record))
    if not num_frames:
        raise UnreadableVideoError(f"line {record.line}: {record.path!r} holds no frames")
    return num_frames


def _to_tensor(frames: np.ndarray) -> Tensor:
    return torch.from_numpy(frames).permute(0, 3, 1, 2)  # (T, 3, H, W), channels last in memory


def _use_one_thread(worker: int) -> None:
    torch.set_num_threads(1)
