import itertools
from collections import Counter

import numpy as np
import pytest
import torch

from config import load_cfg_text
from datasets.annotations import VideoRecord
from datasets.balance import ClassBalance, build_balance, clip_shares
from datasets.loaders import EpochSampler

LABELS = [0] * 27 + [2] * 9 + [1] * 3 + [2]  # 27, 3 and 10 videos


def drawn(temperature: float, epoch: int, labels: list[int] = LABELS) -> list[int]:
    generator = torch.Generator().manual_seed(epoch)
    return ClassBalance(labels, temperature).order(generator)


@pytest.mark.parametrize(
    ("temperature", "shares"),
    [
        (0.0, [27 / 40, 3 / 40, 10 / 40]),
        (1.0, [1 / 3, 1 / 3, 1 / 3]),
        (0.5, np.sqrt([27, 3, 10]) / np.sqrt([27, 3, 10]).sum()),
    ],
)
def test_shares_worked_by_hand(temperature: float, shares: list[float]) -> None:
    np.testing.assert_allclose(ClassBalance(LABELS, temperature).shares, shares, rtol=1e-14)


def test_without_temperature_each_video_is_drawn_once() -> None:
    assert sorted(drawn(0.0, epoch=3)) == list(range(40))


@pytest.mark.parametrize("temperature", [0.3, 0.7, 1.0])
def test_draws_are_dealt_evenly_in_every_epoch(temperature: float) -> None:
    shares, over_epochs = ClassBalance(LABELS, temperature).shares, Counter[int]()
    for epoch in range(200):
        order = drawn(temperature, epoch)
        assert len(order) == 40
        of_class = Counter(LABELS[video] for video in order)
        for label, share in enumerate(shares):
            assert abs(of_class[label] - 40 * share) < 1  # rounded down or up
            times = Counter(order)
            of_videos = [times[v] for v, own in enumerate(LABELS) if own == label]
            assert max(of_videos) - min(of_videos) <= 1
        over_epochs.update(order)
    expected = 200 * 40 * shares[LABELS] / np.bincount(LABELS)[LABELS]
    found = [over_epochs[video] for video in range(40)]
    # what is drawn once more or not is a coin a video and epoch: 200 of them, 5 deviations
    np.testing.assert_allclose(found, expected, atol=5 * np.sqrt(200 / 4))


def test_order_is_of_seed_and_epoch_alone_and_shuffled() -> None:
    assert drawn(1.0, 1) == drawn(1.0, 1) != drawn(1.0, 2)
    labels = [LABELS[video] for video in drawn(1.0, 1)]
    assert sum(a != b for a, b in itertools.pairwise(labels)) > 15  # classes are mixed


def test_single_class_is_as_it_is() -> None:
    assert sorted(drawn(1.0, 0, labels=[5] * 7)) == list(range(7))


@pytest.mark.parametrize("num_repeats", [1, 3])
@pytest.mark.parametrize("sizes", [(1, 2), (2, 1), (2, 3), (4, 3, 1)])
def test_rest_of_a_balanced_epoch_is_dealt_to_any_processes_without_loss_or_double(
    sizes: tuple[int, ...], num_repeats: int
) -> None:
    balance, batch, offset, trained = ClassBalance(LABELS, 1.0), 2, 0, []
    for number, world_size in enumerate(sizes):
        samplers = [
            EpochSampler(40, rank, world_size, 5, num_repeats, balance)
            for rank in range(world_size)
        ]
        for sampler in samplers:
            sampler.set_epoch(3, offset, dealt_to=sizes[0])
        streams = [list(sampler) for sampler in samplers]
        is_last = number + 1 == len(sizes)
        num_whole = len(samplers[0]) // batch
        num_batches = num_whole if is_last else min(num_whole, 2)
        for i in range(num_batches * batch):
            trained += [stream[i] for stream in streams]
        offset += num_batches * batch * world_size
    unbroken = EpochSampler(40, 0, 1, 5, num_repeats, balance)
    unbroken.set_epoch(3, dealt_to=sizes[0])
    assert trained == list(unbroken)[:offset]
    assert len(set(trained)) == offset
    times = Counter(index for _, index, *_ in list(unbroken))
    assert max(times.values()) > 3 * num_repeats  # of a rare class, so a video comes again


def test_every_draw_of_a_video_has_draws_of_its_own() -> None:
    keys = list(EpochSampler(40, 0, 1, 5, num_repeats=2, balance=ClassBalance(LABELS, 1.0)))
    of_rare = sorted(key[2:] or (0,) for key in keys if key[1] == 36)
    assert of_rare == [(number,) for number in range(len(of_rare))]
    assert len(of_rare) in (8, 10)


def test_config_without_balance_has_none() -> None:
    records = [VideoRecord(str(i), 9, label, i) for i, label in enumerate(LABELS)]
    assert build_balance(load_cfg_text("{}", "test"), records) is None
    built = build_balance(load_cfg_text("DATA: {BALANCE: 0.5}", "test"), records)
    assert built
    assert built.describe(["walk", "fall", "sit"]) == (
        "DATA.BALANCE 0.5: of 40 clips drawn an epoch 6.9 are of 'fall', which has 3 videos, "
        "20.6 are of 'walk', which has 27 videos"
    )


def test_shares_of_clips_follow_balance_and_mirror() -> None:
    np.testing.assert_allclose(clip_shares(LABELS, 4), [27 / 40, 3 / 40, 10 / 40, 0])
    np.testing.assert_allclose(clip_shares(LABELS, 4, 1.0), [1 / 3, 1 / 3, 1 / 3, 0])
    mirrored = [1, 0, None, 3]  # 0 and 1 are left and right; 2 is not mirrored
    np.testing.assert_allclose(
        clip_shares(LABELS, 4, 0.0, mirrored), [15 / 40, 15 / 40, 10 / 40, 0]
    )
