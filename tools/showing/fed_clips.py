"""The clips that a model is fed, in training and in the tests, and what there is to say of each."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor
from yacs.config import CfgNode

from config.class_names import names_of
from datasets.annotations import VideoRecord, label_array
from datasets.clips import Clips, EpochSampler, TrainClips, collate_clips
from datasets.loaders import build_test_views, build_train_loader, num_test_clips, open_frames
from datasets.records import pick_frames
from engine.distributed import World
from engine.objective import build_mixer
from engine.run import to_device
from ops.mixing import Mix, batch_rng
from ops.pixels import denormalize

CPU = World(rank=0, size=1, local_rank=0, device=torch.device("cpu"))


@dataclass(frozen=True)
class FedClip:
    """A clip as the model gets it.

    Attributes:
        frames: Pixels of the clip, normalisation undone, uint8 (T, S, S, 3); none where the video
            is unreadable.
        video: Path of the video in the list.
        label: Class or classes of the clip, in words.
        what: Text that says how it was made; of an unreadable video the reason.
        indices: Indices of its frames in the video, (T,).
    """

    frames: np.ndarray
    video: str
    label: str
    what: str
    indices: Sequence[int] = ()

    @property
    def is_readable(self) -> bool:
        """Whether there is a clip."""
        return len(self.frames) > 0


def training_clips(
    cfg: CfgNode, records: list[VideoRecord], names: Sequence[str], epoch: int, number: int
) -> Iterator[FedClip]:
    """Yield the first clips of an epoch, as a run of one process would be fed them.

    Args:
        cfg: Config of the experiment.
        records: Records of the training videos.
        names: Names of the classes.
        epoch: Number of the epoch, 0-based.
        number: Number of clips.

    Raises:
        ValueError: There are fewer videos than a batch takes.
    """
    loader, mixer = build_train_loader(cfg, records, rank=0, world_size=1), build_mixer(cfg)
    sampler, dataset = loader.sampler, loader.dataset
    assert isinstance(sampler, EpochSampler)
    assert isinstance(dataset, TrainClips)
    sampler.set_epoch(epoch)
    size = cfg.TRAIN.CLIPS_PER_GPU
    keys = list(sampler)[: len(sampler) // size * size]  # the rest makes no batch
    mixes = bool(mixer.mixup_alpha or mixer.cutmix_alpha)
    for start in range(0, min(number, len(keys)), size):
        wanted = min(size, number - start)
        of_batch = keys[start : start + (size if mixes else wanted)]  # a mix takes all of its batch
        samples = [dataset[key] for key in of_batch]
        good = [key for key, sample in zip(of_batch, samples, strict=True) if not sample.errors]
        batch = collate_clips(samples)
        for index, reason in batch.errors.items():
            yield _unreadable(records[index], names, cfg, reason)
        if not good:
            continue
        rng = batch_rng(cfg.SEED, epoch, start // size, CPU.rank)
        mix = mixer.draw(batch.clips.shape, rng)
        seen = _seen(batch.clips, cfg, mix)
        for place in range(min(wanted, len(good))):
            record = records[good[place][1]]
            draws = np.random.default_rng((cfg.SEED, *good[place]))
            indices = pick_frames(record, dataset.maker.sample, dataset.maker.open_video, draws)
            label, what = _said(batch, mix, place, names, records)
            yield FedClip(seen[place], record.path, label, what, indices.tolist())


def views_of_test(
    cfg: CfgNode, records: list[VideoRecord], names: Sequence[str], split: str, number: int
) -> Iterator[FedClip]:
    """Yield every distinct view of videos that are spread evenly over a list.

    Args:
        cfg: Config of the experiment.
        records: Records of the list.
        names: Names of the classes.
        split: ``val`` or ``test``.
        number: Number of videos.
    """
    places = np.linspace(0, len(records) - 1, min(number, len(records))).round().astype(int)
    chosen = [records[place] for place in places]
    dataset = build_test_views(cfg, chosen, split, partial(open_frames, cfg))
    num_clips = num_test_clips(cfg, split)
    for place, record in enumerate(chosen):
        views = dataset[place]
        if views.error:
            yield _unreadable(record, names, cfg, views.error)
            continue
        clips = pick_frames(record, dataset.sample, dataset.open_video)  # (clips, T)
        seen, view_of = _seen(views.distinct, cfg), views.view_of.tolist()
        grid = (num_clips, len(dataset.mirrorings), dataset.num_crops)
        for number_of_view, frames in enumerate(seen):
            nominal = [v for v, distinct in enumerate(view_of) if distinct == number_of_view]
            clip, mirrored, crop = (int(i) for i in np.unravel_index(nominal[0], grid))
            what = f"clip {clip + 1} of {grid[0]}, crop {crop + 1} of {grid[2]}"
            what += ", mirrored" if mirrored else ""
            if len(nominal) > 1:
                what += f"; {len(nominal)} of {len(view_of)} views are equal to it"
            yield FedClip(
                frames, record.path, _label_of(record, names, cfg), what, clips[clip].tolist()
            )


def _seen(clips: Tensor, cfg: CfgNode, mix: Mix | None = None) -> np.ndarray:
    """Return what a model gets of clips (B, T, 3, H, W) as pixels, uint8 (B, T, H, W, 3)."""
    fed = to_device(clips, cfg, CPU)
    fed = mix.apply(fed) if mix else fed
    pixels = denormalize(fed, cfg.DATA.PIXEL_MEAN, cfg.DATA.PIXEL_STD)
    return pixels.permute(0, 1, 3, 4, 2).numpy()


def _said(
    batch: Clips, mix: Mix | None, place: int, names: Sequence[str], records: list[VideoRecord]
) -> tuple[str, str]:
    """Return the classes of a clip of a batch, and how it was made."""
    labels = [names_of(label, names) for label in batch.labels.tolist()]
    what = "mirrored" if batch.are_mirrored[place] else "not mirrored"
    if mix is None:
        return labels[place], what
    other = int(mix.order[place])
    share = f"{mix.share:.2f} {labels[place]} + {1 - mix.share:.2f} {labels[other]}"
    kind = "a box of it is from" if mix.box else "mixed with"
    return share, f"{what}; {kind} {records[int(batch.indices[other])].path}"


def _label_of(record: VideoRecord, names: Sequence[str], cfg: CfgNode) -> str:
    (row,) = label_array([record], cfg.MODEL.NUM_CLASSES)
    return names_of(row.tolist(), names)


def _unreadable(record: VideoRecord, names: Sequence[str], cfg: CfgNode, reason: str) -> FedClip:
    return FedClip(np.empty(0, np.uint8), record.path, _label_of(record, names, cfg), reason)
