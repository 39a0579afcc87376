"""Loaders of training clips and of test views, as the config says."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Subset
from yacs.config import CfgNode

from datasets.annotations import VideoRecord
from datasets.augment.flips import build_mirrored_labels
from datasets.balance import build_balance
from datasets.clips import ClipMaker, Clips, EpochSampler, TrainClips, collate_clips
from datasets.clock import changed
from datasets.protocols import (
    build_test_sampling,
    build_train_sampling,
    build_train_transform,
    describe_protocol,
    num_test_clips,
    test_image_size,
    test_short_side,
)
from datasets.readers import UnreadableVideoError
from datasets.records import OpenVideo, open_frames, read_records
from datasets.view_crops import VIEW_CROPS
from datasets.views import TestViews, Views
from datasets.workers import num_workers, start_worker
from ops.pixels import normalize

__all__ = [
    "Clips",
    "EpochSampler",
    "TestViews",
    "TrainClips",
    "Views",
    "build_clip_maker",
    "build_test_views",
    "build_train_loader",
    "build_view_loader",
    "describe_protocol",
    "num_test_clips",
    "open_frames",
    "read_records",
    "read_test_clips",
]


def build_clip_maker(cfg: CfgNode) -> ClipMaker:
    """Build what makes the training clips."""
    return ClipMaker(
        partial(open_frames, cfg),
        build_train_sampling(cfg),
        build_train_transform(cfg),
        build_mirrored_labels(cfg),
    )


def build_train_loader(
    cfg: CfgNode,
    records: list[VideoRecord],
    rank: int,
    world_size: int,
    teacher_cfg: CfgNode | None = None,
) -> DataLoader[Clips]:
    """Build the loader of one process's share of the training clips, in batches of whole size.

    Args:
        cfg: Config of the run.
        records: All training videos.
        rank: Rank of this process.
        world_size: Number of processes.
        teacher_cfg: Config of a teacher that may have its own view, as DISTILL.SEES says.

    Raises:
        ValueError: There are fewer videos than one batch of all processes.
    """
    batch = cfg.TRAIN.CLIPS_PER_GPU
    balance = build_balance(cfg, records)
    sampler = EpochSampler(len(records), rank, world_size, cfg.SEED, cfg.AUG.REPEATS, balance)
    # drop_last would leave no batch at all; the release ends such an epoch in a crash.
    if len(sampler) < batch:
        repeats = f" x AUG.REPEATS={cfg.AUG.REPEATS}" if cfg.AUG.REPEATS > 1 else ""
        raise ValueError(
            f"the training list has {len(records)} videos{repeats}, one batch takes "
            f"TRAIN.CLIPS_PER_GPU={batch} on each of {world_size} processes; lower it or add videos"
        )
    teacher_views = _build_teacher_views(cfg, teacher_cfg, records)
    workers = num_workers(cfg.DATA.WORKERS)
    return DataLoader(
        TrainClips(records, build_clip_maker(cfg), cfg.SEED, teacher_views, cfg.MODEL.NUM_CLASSES),
        batch_size=batch,
        sampler=sampler,
        num_workers=workers,
        collate_fn=collate_clips,
        generator=torch.Generator(),  # its own: the model's draws must not depend on the workers
        # A smaller batch would weigh its clips more in the step; the release drops it as well.
        drop_last=True,
        pin_memory=torch.cuda.is_available(),
        persistent_workers=workers > 0,
        worker_init_fn=start_worker,
        timeout=_timeout(cfg, workers),
    )


def build_view_loader(
    cfg: CfgNode,
    records: list[VideoRecord],
    split: str,
    rank: int,
    world_size: int,
    open_video: OpenVideo | None = None,
) -> DataLoader[Views]:
    """Build the loader of one process's share of the videos, each once, with the split's views.

    Args:
        cfg: Config of the run.
        records: All videos of the split.
        split: ``val`` or ``test``.
        rank: Rank of this process.
        world_size: Number of processes.
        open_video: Function from a record to a reader, in place of that of the config.
    """
    dataset = build_test_views(cfg, records, split, open_video or partial(open_frames, cfg))
    workers = num_workers(cfg.DATA.WORKERS)
    return DataLoader(
        # Without padding: the release counts a padded sampler's duplicates, so that the same 8
        # videos score 50.0, 55.6 and 60.0 on 1, 3 and 5 processes.
        Subset(dataset, range(rank, len(records), world_size)),
        # Of videos. The chunks that go through the model are cut later, across videos.
        batch_size=cfg.VAL.VIDEOS_PER_GPU,
        num_workers=workers,
        # Its own as well: else each validation would move the draws of the training after it.
        generator=torch.Generator(),
        # Videos differ in how many of their views are distinct, so that they cannot be stacked.
        collate_fn=list,
        pin_memory=torch.cuda.is_available(),
        worker_init_fn=start_worker,
        timeout=_timeout(cfg, workers),
    )


def build_test_views(
    cfg: CfgNode,
    records: list[VideoRecord],
    split: str,
    open_video: OpenVideo,
    sample: Callable[..., np.ndarray] | None = None,
) -> TestViews:
    """Build the views of a split, ``val`` or ``test``, of videos that a function opens.

    Args:
        cfg: Config of the run.
        records: Videos to make views of.
        split: ``val`` or ``test``.
        open_video: Function from a record to a reader.
        sample: Function from the number of frames to indices, (num_clips, T), in place of the
            split's.
    """
    return TestViews(
        records,
        open_video,
        sample or build_test_sampling(cfg, split),
        short_side=test_short_side(cfg, split),
        image_size=test_image_size(cfg, split),
        num_crops=cfg.VAL.NUM_CROPS if split == "val" else cfg.TEST.NUM_CROPS,
        adds_mirrored=cfg.TEST.FLIP,
        crops=VIEW_CROPS[cfg.TEST.CROPS],
    )


def read_test_clips(path: str | Path, cfg: CfgNode) -> Tensor:
    """Return every test view of one video, as the model takes them: normalised (V, T, 3, H, W).

    Args:
        path: A video file, or a folder of frames.
        cfg: The experiment; its TEST section says which views.

    Raises:
        UnreadableVideoError: The video cannot be read; the text says why.
    """
    record = VideoRecord(str(Path(path).resolve()), num_frames=0, label=0, line=0)
    views = build_test_views(cfg, [record], "test", partial(open_frames, cfg))[0]
    if views.error:
        raise UnreadableVideoError(views.error)
    # Equal views come as often as the protocol names them, so that a plain mean is the test's.
    return normalize(views.distinct[views.view_of], cfg.DATA.PIXEL_MEAN, cfg.DATA.PIXEL_STD)


def _timeout(cfg: CfgNode, workers: int) -> float:
    """Return the seconds after which a worker that gives no batch counts as lost."""
    # 0 waits for ever, which is what a hanging disk would make of a run.
    return 60 * cfg.TRAIN.TIMEOUT_MINUTES if workers else 0


def _build_teacher_views(
    cfg: CfgNode, teacher_cfg: CfgNode | None, records: list[VideoRecord]
) -> TestViews | None:
    """Build a teacher's own views: its validation's, a clip's centre crop, of our stored frames."""
    if teacher_cfg is None or cfg.DISTILL.SEES != "own_clip":
        return None
    return TestViews(
        records,
        partial(open_frames, cfg),
        # Only the teacher's first clip: its frames are read beside the student's in every epoch.
        changed(build_test_sampling(teacher_cfg, "val"), _first_clip),
        short_side=test_short_side(teacher_cfg, "val"),
        image_size=test_image_size(teacher_cfg, "val"),
        num_crops=1,
        crops=VIEW_CROPS[teacher_cfg.TEST.CROPS],
    )


def _first_clip(clips: np.ndarray) -> np.ndarray:
    return clips[:1]  # (1, T)
