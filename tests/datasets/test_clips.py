import re
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DistributedSampler
from yacs.config import CfgNode

from datasets import sampling
from datasets.annotations import VideoRecord
from datasets.augment.short_side import TrainTransform
from datasets.clips import ClipMaker, collate_clips
from datasets.loaders import EpochSampler, TrainClips
from datasets.readers import FrameFolder, UnreadableVideoError
from tests.datasets.conftest import COLOUR_CHANGES, RESIZE_LEVELS, items_of, levels_apart

Golden = Callable[[str], dict[str, Any]]
Config = Callable[..., CfgNode]
Open = Callable[[VideoRecord], FrameFolder]


def build_clips(open_video: Open, records: list[VideoRecord], seed: int = 0) -> TrainClips:
    sample = partial(sampling.random_dense_clip, clip_len=4, stride=2)
    transform = TrainTransform(32, [32, 44], jitter_one_in=2)
    return TrainClips(records, ClipMaker(open_video, sample, transform), seed)


@pytest.mark.parametrize("kind", ["dense", "uniform"])
def test_training_clips_equal_the_released_items_within_8_bit_arithmetic(
    kind: str,
    arithmetic: str,
    released_cfg: Config,
    released_items: dict[str, Any],
    released_records: Callable[[str], list[VideoRecord]],
    open_released: Open,
    legacy_rng: type,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cfg, records = released_cfg(), released_records("train")
    amounts: list[tuple[str, float]] = []

    class Rng(legacy_rng):
        def uniform(self, *bounds: float) -> float:
            amounts.append((COLOUR_CHANGES[bounds], super().uniform(*bounds)))
            return amounts[-1][1]

    for _, index, name, shape, label, seed in items_of(released_items, kind):
        T, _, side, _ = shape
        sample = {
            "dense": partial(sampling.random_dense_clip, clip_len=T, stride=cfg.DATA.FRAME_STRIDE),
            "uniform": partial(sampling.tsn_uniform, num_segments=T),
        }[kind]
        transform = TrainTransform(side, cfg.AUG.SHORT_SIDE_RANGE)
        clips = TrainClips(records, ClipMaker(open_released, sample, transform), seed=0)
        amounts.clear()
        monkeypatch.setattr(np.random, "default_rng", lambda _, seed=seed: Rng(seed))
        clip = clips[0, index]
        assert (records[index].path.split("/")[-1], int(clip.labels)) == (name, label)
        expected = released_items[f"train.{kind}.{index}.s{seed}"].astype(int)
        assert list(clip.clips.shape) == list(expected.shape) == shape
        # one level where another libjpeg rounds
        start = 1 if arithmetic == "pillow" else RESIZE_LEVELS + 1
        allowed = levels_apart(amounts, start)
        assert np.abs(clip.clips.int().numpy() - expected).max() <= allowed, (name, seed, amounts)


# Training clips


def test_training_clip_is_sampled_and_transformed_with_draws_of_seed_epoch_and_index(
    open_video: Open, records: list[VideoRecord]
) -> None:
    clips = build_clips(open_video, records, seed=7)
    for epoch, index in ((0, 0), (0, 2), (3, 0)):
        rng = np.random.default_rng((7, epoch, index))
        maker = clips.maker
        indices = maker.sample(records[index].num_frames, rng=rng)
        frames = maker.open_video(records[index]).read(indices)
        expected = maker.transform.augment(torch.from_numpy(frames).permute(0, 3, 1, 2), rng)[0]
        clip = clips[epoch, index]
        assert torch.equal(clip.clips, expected)
        assert clip.clips.dtype == torch.uint8
        assert collate_clips([clip]).clips[0].permute(0, 2, 3, 1).is_contiguous()  # as decoded
        assert (clip.labels.item(), clip.indices.item()) == (records[index].label, index)


def test_training_clips_differ_with_epoch_index_and_seed(
    open_video: Open, records: list[VideoRecord]
) -> None:
    twins = [records[0], records[0]]
    clips, others = build_clips(open_video, twins), build_clips(open_video, twins, seed=1)
    reference = clips[0, 0].clips
    assert torch.equal(clips[0, 0].clips, reference)
    for other in (clips[1, 0], clips[0, 1], others[0, 0]):
        assert not torch.equal(other.clips, reference)


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (VideoRecord("gone", 5, 0, 1), r"gone: No such file or directory"),
        (VideoRecord("portrait", 9, 0, 1), r"portrait/img_0000\d\.png: no such frame.* 5 frames"),
    ],
)
def test_unreadable_video_is_told(record: VideoRecord, reason: str, open_video: Open) -> None:
    clips = build_clips(open_video, [record])
    # some start of twenty reaches the frames that are missing
    samples = [clips[epoch, 0] for epoch in range(20)]
    bad = [sample for sample in samples if sample.errors]
    assert all(re.search(reason, sample.errors[0]) for sample in bad)
    assert len(bad[0].clips) == 0
    with pytest.raises(UnreadableVideoError, match=reason):
        [clips.maker.make(record, np.random.default_rng(seed)) for seed in range(20)]


def test_batch_is_smaller_by_its_unreadable_videos(
    open_video: Open, records: list[VideoRecord]
) -> None:
    clips = build_clips(open_video, [records[0], VideoRecord("gone", 5, 2, 9), records[1]])
    batch = collate_clips([clips[0, 0], clips[0, 1], clips[0, 2]])
    assert batch.clips.shape == (2, 4, 3, 32, 32)
    assert torch.equal(batch.clips[1], clips[0, 2].clips)
    assert batch.labels.tolist() == [records[0].label, records[1].label]
    assert batch.indices.tolist() == [0, 2]
    assert list(batch.errors) == [1]
    assert "gone: No such file or directory" in batch.errors[1]
    nothing = collate_clips([clips[0, 1], clips[1, 1]])
    assert (len(nothing.clips), len(nothing.labels), list(nothing.errors)) == (0, 0, [1])


def test_video_whose_frames_are_not_counted_yet_is_counted_when_it_is_read(
    open_video: Open, records: list[VideoRecord]
) -> None:
    uncounted = build_clips(open_video, [records[0]._replace(num_frames=0)])
    assert torch.equal(uncounted[3, 0].clips, build_clips(open_video, records)[3, 0].clips)


def test_every_repeat_of_a_video_is_drawn_anew_and_the_first_as_without(
    open_video: Open, records: list[VideoRecord]
) -> None:
    clips = build_clips(open_video, records, seed=7)
    first, second, third = (clips[key].clips for key in ((0, 2), (0, 2, 1), (0, 2, 2)))
    assert not torch.equal(first, second)
    assert not torch.equal(second, third)
    expected, *_ = clips.maker.make(records[2], np.random.default_rng((7, 0, 2)))
    assert torch.equal(first, expected)


# Samplers


@pytest.mark.parametrize("world_size", [1, 2, 3])
@pytest.mark.parametrize("num_videos", [12, 13, 14])
def test_epoch_order_is_that_of_the_distributed_sampler(num_videos: int, world_size: int) -> None:
    for rank in range(world_size):
        ours = EpochSampler(num_videos, rank, world_size, seed=5)
        theirs = DistributedSampler(
            range(num_videos), world_size, rank, shuffle=True, seed=5, drop_last=True
        )
        for epoch in (0, 1, 4):
            ours.set_epoch(epoch)
            theirs.set_epoch(epoch)
            assert list(ours) == [(epoch, index) for index in theirs]
            assert len(list(ours)) == len(ours)


@pytest.mark.parametrize(("num_videos", "world_size"), [(12, 3), (13, 3), (14, 4)])
def test_processes_share_the_videos_of_an_epoch_without_overlap(
    num_videos: int, world_size: int
) -> None:
    samplers = [EpochSampler(num_videos, rank, world_size, seed=0) for rank in range(world_size)]
    dealt = [index for sampler in samplers for _, index in sampler]
    assert len(dealt) == len(set(dealt)) == num_videos // world_size * world_size
    assert set(dealt) <= set(range(num_videos))


def test_batches_of_two_processes_make_the_batch_of_one() -> None:
    one = [index for _, index in EpochSampler(16, 0, 1, seed=3)]
    halves = [[index for _, index in EpochSampler(16, rank, 2, seed=3)] for rank in range(2)]
    for first in range(0, 16, 8):
        half = slice(first // 2, first // 2 + 4)
        assert set(one[first : first + 8]) == {*halves[0][half], *halves[1][half]}


def test_every_epoch_shuffles_anew() -> None:
    sampler = EpochSampler(20, 0, 1, seed=0)
    orders = []
    for epoch in range(3):
        sampler.set_epoch(epoch)
        orders.append([index for _, index in sampler])
    assert all(sorted(order) == list(range(20)) for order in orders)
    assert orders[0] != orders[1] != orders[2] != orders[0]


@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_repeats_stand_side_by_side_in_the_order_of_the_epoch(world_size: int) -> None:
    for rank in range(world_size):
        once = list(EpochSampler(14, rank, world_size, seed=5))
        thrice = EpochSampler(14, rank, world_size, seed=5, num_repeats=3)
        keys = list(thrice)
        assert len(thrice) == len(keys) == 3 * len(once)
        assert keys[::3] == once
        for place, (epoch, index) in enumerate(once):
            assert keys[3 * place + 1 : 3 * place + 3] == [(epoch, index, 1), (epoch, index, 2)]


def test_batches_of_two_processes_make_the_batch_of_one_with_repeats_too() -> None:
    one = list(EpochSampler(16, 0, 1, seed=3, num_repeats=2))
    halves = [list(EpochSampler(16, rank, 2, seed=3, num_repeats=2)) for rank in range(2)]
    for first in range(0, 32, 8):
        half = slice(first // 2, first // 2 + 4)
        assert set(one[first : first + 8]) == {*halves[0][half], *halves[1][half]}


@pytest.mark.parametrize("num_repeats", [1, 3])
@pytest.mark.parametrize("sizes", [(1, 2), (2, 1), (2, 3), (3, 2), (2, 2), (4, 3, 1)])
def test_rest_of_a_broken_epoch_is_dealt_to_any_processes_without_loss_or_double(
    sizes: tuple[int, ...], num_repeats: int
) -> None:
    num_videos, batch, offset, trained = 43, 2, 0, []
    for number, world_size in enumerate(sizes):
        samplers = [
            EpochSampler(num_videos, rank, world_size, 5, num_repeats) for rank in range(world_size)
        ]
        for sampler in samplers:
            sampler.set_epoch(3, offset, dealt_to=sizes[0])
        streams = [list(sampler) for sampler in samplers]
        assert {len(stream) for stream in streams} == {len(samplers[0])}
        is_last = number + 1 == len(sizes)
        num_whole = len(samplers[0]) // batch
        num_batches = num_whole if is_last else min(num_whole, 2)
        trained += [key for stream in streams for key in stream[: num_batches * batch]]
        offset += num_batches * batch * world_size
    assert len(trained) == len(set(trained)) == offset
    dealt = num_videos // sizes[0] * sizes[0] * num_repeats
    assert dealt - offset < batch * sizes[-1]  # what makes no whole batch at the end
    assert {key[0] for key in trained} == {3}


def test_rest_of_an_epoch_for_the_same_processes_is_what_they_would_have_had() -> None:
    for rank in range(2):
        whole, rest = (EpochSampler(14, rank, 2, seed=5, num_repeats=2) for _ in range(2))
        rest.set_epoch(0, offset=12)
        assert list(rest) == list(whole)[6:]
        assert len(rest) == len(whole) - 6
        assert rest.num_whole == len(whole)
        rest.set_epoch(1)
        assert len(rest) == len(whole)


def test_several_classes_are_multi_hot_and_mirrored_with_the_clip(
    open_video: Open, records: list[VideoRecord]
) -> None:
    record = records[0]._replace(label=0, labels=(0, 3))
    clips = build_clips(open_video, [record])
    clips.num_classes, clips.maker.mirrored_labels = 4, [1, 0, 2, 3]  # left, right, up, down
    seen = {bool(clip.are_mirrored): clip.labels for clip in (clips[e, 0] for e in range(20))}
    assert seen[False].tolist() == [1.0, 0.0, 0.0, 1.0]
    assert seen[True].tolist() == [0.0, 1.0, 0.0, 1.0]
    batch = collate_clips([clips[0, 0], clips[1, 0]])
    assert batch.labels.shape == (2, 4)
    assert batch.labels.dtype is torch.float32
    clips.maker.mirrored_labels = [1, 0, 2, None]  # one of the classes has no mirror image
    assert not any(bool(clips[epoch, 0].are_mirrored) for epoch in range(20))
