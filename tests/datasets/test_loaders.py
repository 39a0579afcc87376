from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from yacs.config import CfgNode

from datasets import loaders
from datasets.annotations import VideoRecord
from datasets.loaders import Clips
from datasets.readers import FrameFolder

Golden = Callable[[str], dict[str, Any]]
Config = Callable[..., CfgNode]
Open = Callable[[VideoRecord], FrameFolder]


def batches_of(loader: Any, epoch: int) -> list[Clips]:
    loader.sampler.set_epoch(epoch)
    return list(loader)


def test_training_clips_do_not_depend_on_the_number_of_workers(
    config: Config, records: list[VideoRecord]
) -> None:
    alone = loaders.build_train_loader(config(), records, rank=0, world_size=1)
    helped = loaders.build_train_loader(config(DATA__WORKERS=2), records, rank=0, world_size=1)
    epochs = [batches_of(alone, epoch) for epoch in (0, 1)]
    for epoch, expected in enumerate(epochs):
        for ours, theirs in zip(batches_of(helped, epoch), expected, strict=True):
            assert all(torch.equal(a, b) for a, b in zip(ours[:-1], theirs[:-1], strict=True))
    clips = [torch.cat([batch.clips for batch in batches]) for batches in epochs]
    order = [torch.cat([batch.indices for batch in batches]).argsort() for batches in epochs]
    for first, second in zip(clips[0][order[0]], clips[1][order[1]], strict=True):
        assert not torch.equal(first, second)


def test_views_do_not_depend_on_the_number_of_workers(
    config: Config, records: list[VideoRecord]
) -> None:
    by_workers = [
        list(loaders.build_view_loader(config(DATA__WORKERS=n), records, "test", 0, 1))
        for n in (0, 2)
    ]
    for ours, theirs in zip(*by_workers, strict=True):
        for a, b in zip(ours, theirs, strict=True):
            assert torch.equal(a.distinct, b.distinct)
            assert torch.equal(a.view_of, b.view_of)
            assert (a.video, a.error) == (b.video, b.error)


def test_training_batches_are_whole_and_hold_clips_labels_and_indices(
    config: Config, records: list[VideoRecord]
) -> None:
    loader = loaders.build_train_loader(config(TRAIN__CLIPS_PER_GPU=2), records, 0, 1)
    (batch,) = batches_of(loader, 0)  # three videos, two in the batch
    assert len(loader) == 1
    assert batch.clips.shape == (2, 4, 3, 32, 32)
    assert batch.labels.tolist() == [records[index].label for index in batch.indices]


@pytest.mark.parametrize("world_size", [1, 2, 5])
def test_processes_share_the_test_videos_without_padding(
    world_size: int, config: Config, records: list[VideoRecord]
) -> None:
    seen = [
        views.video
        for rank in range(world_size)
        for batch in loaders.build_view_loader(config(), records, "test", rank, world_size)
        for views in batch
    ]
    assert sorted(seen) == [0, 1, 2]


@pytest.mark.parametrize(
    ("split", "overrides", "num_views"),
    [
        ("val", {}, 1 * 3),
        ("val", {"VAL__NUM_CLIPS": 2, "VAL__NUM_CROPS": 5}, 2 * 5),
        ("test", {}, 10 * 3),
        ("test", {"TEST__NUM_CLIPS": 4, "TEST__NUM_CROPS": 1}, 4),
        ("test", {"TEST__FLIP": True}, 10 * 2 * 3),
        ("val", {"TEST__FLIP": True}, 1 * 2 * 3),
        ("test", {"DATA__SAMPLING": "uniform"}, 1 * 3),
        ("test", {"DATA__SAMPLING": "uniform", "DATA__UNIFORM_TWICE": True}, 2 * 3),
    ],
)
def test_number_of_views_is_that_of_the_split_s_protocol(
    split: str,
    overrides: dict[str, Any],
    num_views: int,
    config: Config,
    records: list[VideoRecord],
) -> None:
    cfg = config(**overrides)
    (batch, *_) = loaders.build_view_loader(cfg, records, split, 0, 1)
    assert len(batch[0].view_of) == num_views
    mirrorings, crops = 1 + cfg.TEST.FLIP, cfg[split.upper()].NUM_CROPS
    assert loaders.num_test_clips(cfg, split) * mirrorings * crops == num_views


def test_even_starts_reach_the_test_views(config: Config, records: list[VideoRecord]) -> None:
    released, even = (
        next(iter(loaders.build_view_loader(config(TEST__EVEN_STARTS=flag), records, "test", 0, 1)))
        for flag in (False, True)
    )
    # 23 frames, clips of 12: starts 0, 2, 4, 6, 9, 11, 12 against 0..11 in ten steps
    assert [len(views[0].distinct) for views in (released, even)] == [7 * 3, 10 * 3]


def test_draws_last_start_reaches_the_training_clips(config: Config) -> None:
    long = [VideoRecord("landscape", 4 * 3 + 1, 0, 1)]  # two full starts, the release draws one
    for flag, expected in ((False, 1), (True, 2)):
        cfg = config(DATA__DRAWS_LAST_START=flag)
        dataset = loaders.build_train_loader(cfg, long, 0, 1).dataset
        rngs = (np.random.default_rng(seed) for seed in range(50))
        starts = {int(dataset.maker.sample(13, rng=rng)[0]) for rng in rngs}
        assert len(starts) == expected


MODERN = {
    "AUG__CROP": "scale_jitter",
    "AUG__RANDAUG_NUM_OPS": 2,
    "AUG__ERASING_PROB": 0.5,
    "AUG__REPEATS": 2,
    "TRAIN__CLIPS_PER_GPU": 2,
}


def test_random_changes_do_not_depend_on_the_number_of_workers(
    config: Config, records: list[VideoRecord]
) -> None:
    alone, helped = (
        batches_of(loaders.build_train_loader(config(DATA__WORKERS=n, **MODERN), records, 0, 1), 1)
        for n in (0, 2)
    )
    for ours, theirs in zip(helped, alone, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(ours[:-1], theirs[:-1], strict=True))


def test_repeats_multiply_the_clips_and_stand_in_one_batch(
    config: Config, records: list[VideoRecord]
) -> None:
    loader = loaders.build_train_loader(config(**MODERN), records, 0, 1)
    batches = batches_of(loader, 0)
    assert len(loader) == len(batches) == 3  # three videos twice, two clips a batch
    for batch in batches:
        assert batch.indices[0] == batch.indices[1]
        assert not torch.equal(batch.clips[0], batch.clips[1])
    assert sorted(int(batch.indices[0]) for batch in batches) == [0, 1, 2]


def test_fewer_clips_than_a_batch_with_repeats_are_an_error(
    config: Config, records: list[VideoRecord]
) -> None:
    cfg = config(AUG__REPEATS=2, TRAIN__CLIPS_PER_GPU=8)
    with pytest.raises(ValueError, match=r"3 videos x AUG\.REPEATS=2, .*CLIPS_PER_GPU=8"):
        loaders.build_train_loader(cfg, records, 0, 1)


@pytest.mark.parametrize(
    ("overrides", "counts"),
    [
        ({"TEST__CROPS": "uniform"}, [3, 3, 1]),
        ({"TEST__CROPS": "multi_centre"}, [3, 1, 1]),  # of a portrait all three are the centre
        ({"TEST__CROPS": "uniform", "VAL__NUM_CROPS": 1}, [1, 1, 1]),
    ],
)
def test_paddlevideos_crops_reach_the_views(
    overrides: dict[str, Any], counts: list[int], config: Config, records: list[VideoRecord]
) -> None:
    cfg = config(VAL__VIDEOS_PER_GPU=3, **overrides)
    ((landscape, portrait, square),) = list(loaders.build_view_loader(cfg, records, "val", 0, 1))
    assert [len(views.distinct) for views in (landscape, portrait, square)] == counts


def test_validation_has_a_short_side_of_its_own(config: Config, records: list[VideoRecord]) -> None:
    one = {"VAL__NUM_CROPS": 1, "TEST__NUM_CROPS": 1, "TEST__NUM_CLIPS": 1}
    cfg = config(VAL__SHORT_SIDE=40, **one)
    same = config(DATA__TEST_SHORT_SIDE=40, **one)
    firsts = [
        next(iter(loaders.build_view_loader(c, records, split, 0, 1)))[0].distinct
        for c, split in ((cfg, "val"), (same, "val"), (cfg, "test"), (config(**one), "test"))
    ]
    assert torch.equal(firsts[0], firsts[1])
    assert torch.equal(firsts[2], firsts[3])
    assert not torch.equal(firsts[0], firsts[2])


@pytest.mark.parametrize(("clips", "world_size"), [(4, 1), (2, 2)])
def test_fewer_videos_than_a_batch_are_an_error(
    clips: int, world_size: int, config: Config, records: list[VideoRecord]
) -> None:
    reason = rf"3 videos, .*TRAIN\.CLIPS_PER_GPU={clips} on each of {world_size} processes"
    cfg = config(TRAIN__CLIPS_PER_GPU=clips)
    with pytest.raises(ValueError, match=reason):
        loaders.build_train_loader(cfg, records, rank=0, world_size=world_size)
