"""Training clips: what is drawn of each video in each epoch, and which process gets it."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler, default_collate

from datasets.annotations import VideoRecord
from datasets.augment.random_changes import ClipTransform
from datasets.balance import ClassBalance
from datasets.readers import UnreadableVideoError
from datasets.records import OpenVideo, pick_frames, read_frames
from datasets.sampling import Rng
from datasets.views import TestViews


class Clips(NamedTuple):
    """A training sample, or a batch of them.

    Attributes:
        clips: uint8 (T, 3, H, W), in a batch (B, T, 3, H, W).
        labels: Class of the clip; in a batch (B,). Where a video may have several, multi-hot
            float32 (K,); in a batch (B, K).
        indices: Place of the video in the list of records; in a batch (B,).
        are_mirrored: Whether the clip shows the video's mirror image, bool; in a batch (B,).
        teacher_clips: The view of a teacher that has its own, uint8 (T', 3, H', W'), mirrored as
            the clip is; (B, T', 3, H', W'). Otherwise empty, (0,); (B, 0).
        errors: Why a video is unreadable, by its place in the list; such a sample has no clip, and
            is not in the batch.
    """

    clips: Tensor
    labels: Tensor
    indices: Tensor
    are_mirrored: Tensor
    teacher_clips: Tensor
    errors: dict[int, str]


class ClipMaker:
    """Makes a random training clip of a video: frames drawn, read, augmented, the label with them.

    Args:
        open_video: Function from a record to a reader.
        sample: Function from (number of frames, rng=generator) to indices (T,).
        transform: Augmentation that makes the clip of the frames.
        mirrored_labels: Class of each class's mirror image; None for a class that has none and is
            not mirrored. None as a whole: mirrored clips keep their class.
    """

    def __init__(
        self,
        open_video: OpenVideo,
        sample: Callable[..., np.ndarray],
        transform: ClipTransform,
        mirrored_labels: Sequence[int | None] | None = None,
    ) -> None:
        self.open_video = open_video
        self.sample = sample
        self.transform = transform
        self.mirrored_labels = mirrored_labels

    def make(self, record: VideoRecord, rng: Rng) -> tuple[Tensor, int | tuple[int, ...], bool]:
        """Return a clip, uint8 (T, 3, H, W), its class, and whether it is mirrored.

        Every draw comes from rng. Where a video may have several classes, they come as a tuple.

        Raises:
            UnreadableVideoError: A frame that was drawn is missing or broken.
        """
        indices = pick_frames(record, self.sample, self.open_video, rng)
        frames = read_frames(record, indices, self.open_video)
        mirrored = self._mirrored(record.classes)
        # A class that must not be mirrored draws the mirror all the same: the draws that follow do
        # not depend on the class.
        clip, is_mirrored = self.transform.augment(frames, rng, may_mirror=bool(mirrored))
        classes = mirrored if is_mirrored and mirrored else record.classes
        return clip, classes if record.labels else classes[0], is_mirrored

    def _mirrored(self, classes: tuple[int, ...]) -> tuple[int, ...]:
        """Return the classes of a mirror image; none where one of them has none."""
        if self.mirrored_labels is None:
            return classes
        mirrored = [self.mirrored_labels[label] for label in classes]
        found = tuple(label for label in mirrored if label is not None)
        return found if len(found) == len(classes) else ()


class TrainClips(Dataset[Clips]):
    """Random clips of each video; the draws depend on the seed and the key alone.

    Args:
        records: Videos with their frames counted.
        maker: Maker of the clips.
        seed: Seed of the run.
        teacher_views: Views of the same records for a teacher that has its own: it sees the first
            one of each. None: the teacher sees the clips, or there is none.
        num_classes: Number of classes, K, where a video may have several; else it is not needed.
    """

    def __init__(
        self,
        records: list[VideoRecord],
        maker: ClipMaker,
        seed: int,
        teacher_views: TestViews | None = None,
        num_classes: int = 0,
    ) -> None:
        self.records = records
        self.maker = maker
        self.seed = seed
        self.teacher_views = teacher_views
        self.num_classes = num_classes

    def __len__(self) -> int:
        """Count the videos."""
        return len(self.records)

    def __getitem__(self, key: tuple[int, ...]) -> Clips:
        """Return the clip of (epoch, index), or of a further repeat; see `EpochSampler`.

        An unreadable video is returned as such, not raised.
        """
        # The key is what the draws come from: neither worker nor process number is in it, so that
        # both may change in the middle of a run.
        index = key[1]
        # Not numpy's global generator, which the releases draw from: forked workers all began with
        # one state of it, and again in each epoch.
        rng = np.random.default_rng((self.seed, *key))
        try:
            clip, label, is_mirrored = self.maker.make(self.records[index], rng)
            teacher_clip = self._teacher_clip(index, is_mirrored)
        # Raised in a worker, it would end the run for one broken file.
        except UnreadableVideoError as error:
            nothing = torch.empty(0)
            return Clips(nothing, nothing, nothing, nothing, nothing, {index: str(error)})
        return Clips(
            clip,
            self._target(label),
            torch.tensor(index),
            torch.tensor(is_mirrored),
            teacher_clip,
            errors={},
        )

    def _target(self, label: int | tuple[int, ...]) -> Tensor:
        if isinstance(label, int):
            return torch.tensor(label)
        multi_hot = torch.zeros(self.num_classes)
        multi_hot[list(label)] = 1
        return multi_hot

    def _teacher_clip(self, index: int, is_mirrored: bool) -> Tensor:
        if self.teacher_views is None:
            return torch.empty(0)
        views = self.teacher_views[index]
        if views.error:
            raise UnreadableVideoError(views.error)
        # The first view is the centre crop. The student's clip may be of the mirrored class, so the
        # teacher has to see the mirror image, too.
        clip = views.distinct[views.view_of[0]]
        return clip.flip(-1) if is_mirrored else clip


def collate_clips(samples: Sequence[Clips]) -> Clips:
    """Batch the samples that have a clip; without one, the tensors are empty.

    The clips stay channels last in memory, as frames are decoded: it is for the device to change.
    """
    errors = {index: text for sample in samples for index, text in sample.errors.items()}
    readable = [sample for sample in samples if not sample.errors]
    # An empty batch still counts: the other processes wait for this one in DDP.
    if not readable:
        return samples[0]._replace(errors=errors)
    # Frames are decoded as (H, W, 3): stacked so, the bytes are copied once and in their order.
    pixels = [s._replace(clips=s.clips.permute(0, 2, 3, 1), errors={}) for s in readable]
    batch = default_collate(pixels)  # clips (B, T, H, W, 3)
    return batch._replace(clips=batch.clips.permute(0, 1, 4, 2, 3), errors=errors)


class EpochSampler(Sampler[tuple[int, ...]]):
    """Deals each epoch's shuffle to the processes, as keys of `TrainClips`.

    The order is that of torch's ``DistributedSampler``; videos that do not go round are left out
    for the epoch. Batch i of all processes together is batch i of one process with the whole batch.
    The key of a video's first clip is (epoch, index), of repeat r >= 1 (epoch, index, r); repeated
    augmentation (arXiv:1901.09335) has all of them side by side. Under a class balance a video may
    be drawn several times in an epoch; its repeats count on, so that no key stands there twice.

    Process r of W takes clips r, r + W, r + 2W ... of one sequence. So what all have been trained
    on is a beginning of it, and the rest can be dealt to any number of processes.

    Args:
        num_videos: Number of videos in the data set.
        rank: Rank of this process.
        world_size: Number of processes.
        seed: Seed of the run.
        num_repeats: Clips of a video each time that it is drawn.
        balance: Class balance that draws the videos; None: each is drawn once in an epoch.
    """

    def __init__(
        self,
        num_videos: int,
        rank: int,
        world_size: int,
        seed: int,
        num_repeats: int = 1,
        balance: ClassBalance | None = None,
    ) -> None:
        self.num_videos = num_videos
        self.rank = rank
        self.world_size = world_size
        self.seed = seed
        self.num_repeats = num_repeats
        self.balance = balance
        self.set_epoch(0)

    def set_epoch(self, epoch: int, offset: int = 0, dealt_to: int = 0) -> None:
        """Choose the shuffle; without it every epoch repeats the first.

        Args:
            epoch: Number of the epoch, 0-based.
            offset: Number of the epoch's clips, over all processes, that were trained on before.
            dealt_to: Number of processes when the epoch began; 0 = as many as now.
        """
        self.epoch = epoch
        self.offset = offset
        self.dealt_to = dealt_to or self.world_size

    @property
    def num_whole(self) -> int:
        """Number of clips of this process in a whole epoch."""
        # No padding with videos that come twice: the rest waits for another shuffle.
        return self.num_videos // self.world_size * self.num_repeats

    def __len__(self) -> int:
        """Count the clips of this process that the epoch still has."""
        # By the number of processes at the epoch's start: the rest that was left out then stays
        # out.
        num_clips = self.num_videos // self.dealt_to * self.dealt_to * self.num_repeats
        return (num_clips - self.offset) // self.world_size

    def __iter__(self) -> Iterator[tuple[int, ...]]:
        """Yield the key of each clip of this process that the epoch still has."""
        # Counted in clips that were trained on, not fetched: loaders run ahead of the training.
        rest = self._sequence()[self.offset :]
        return iter(rest[self.rank : len(self) * self.world_size : self.world_size])

    def _sequence(self) -> list[tuple[int, ...]]:
        """Return the keys of the epoch, in turn of the processes to which it was dealt first."""
        order, drawn = self._order(), Counter[int]()
        keys: list[tuple[int, ...]] = []
        for start in range(0, self.num_videos // self.dealt_to * self.dealt_to, self.dealt_to):
            firsts = []
            for index in order[start : start + self.dealt_to]:
                firsts.append((index, drawn[index]))
                drawn[index] += self.num_repeats
            # All first clips of a round, then all second ones: dealt in turns, each process has the
            # clips of one video in a row.
            for repeat in range(self.num_repeats):
                keys += [self._key(index, first + repeat) for index, first in firsts]
        return keys

    def _order(self) -> list[int]:
        """Return the videos of the epoch in the order of its shuffle, of seed and epoch alone."""
        # As DistributedSampler seeds it: with SEED 0, the default, this is the release's shuffle.
        generator = torch.Generator().manual_seed(self.seed + self.epoch)
        # Drawn from the same generator: seed and epoch decide here, too.
        if self.balance:
            return self.balance.order(generator)
        return torch.randperm(self.num_videos, generator=generator).tolist()

    def _key(self, index: int, repeat: int) -> tuple[int, ...]:
        # The first clip draws the same with and without repeats.
        return (self.epoch, index, repeat) if repeat else (self.epoch, index)
