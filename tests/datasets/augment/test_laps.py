"""Pixels of TokShift's second version."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from datasets.augment.laps import LAPS_CHANGES, LapsTransform, laps_boxes
from datasets.augment.scale_jitter import jitter_scale
from datasets.augment.short_side import ColourChanges, crop
from ops.pixels import normalize
from tests.conftest import golden_arrays

PIXELS = "laps/pixels.npz"
HALF = [0.5] * 3
RANGES = ((0.5, 2.0), (0.5, 3.0), (0.8, 1.2), (-0.5, 0.5))
TOLERANCE = 2e-6  # float32: normalised before the resize in the release; measured 3e-7

Golden = Callable[[str], dict[str, Any]]


def frames_of(data: dict[str, Any], name: str) -> Tensor:
    return torch.from_numpy(data[f"{name}.frames"]).permute(0, 3, 1, 2)  # (T, 3, H, W)


def assert_normalised(ours: Tensor, theirs: Any, atol: float = TOLERANCE) -> None:
    expected = torch.from_numpy(theirs).transpose(0, 1)  # (T, 3, P, P)
    torch.testing.assert_close(normalize(ours, HALF, HALF), expected, rtol=0, atol=atol)


@pytest.mark.parametrize(("name", "place"), golden_arrays(PIXELS, r"(c\d+)\.test(\d)"))
def test_test_crops_are_the_releases(golden: Golden, name: str, place: int) -> None:
    data = golden(PIXELS)
    size = data["meta"]["S"]
    frames = jitter_scale(frames_of(data, name).float(), size)
    centre, *ends = laps_boxes(*frames.shape[-2:], size, num_crops=3)
    box = (ends[0], centre, ends[1])[place]
    assert_normalised(crop(frames, box, size), data[f"{name}.test{place}"])


@pytest.mark.parametrize(("name", "seed"), golden_arrays(PIXELS, r"(c\d+)\.spatial_s(\d+)"))
def test_random_crops_and_their_draws_are_the_releases(
    golden: Golden, legacy_rng: Any, name: str, seed: int
) -> None:
    data, rng = golden(PIXELS), legacy_rng(seed)
    transform = LapsTransform(data["meta"]["S"], data["meta"]["jitter"])
    clip, _ = transform.augment(frames_of(data, name), rng, may_mirror=True)
    key = f"{name}.spatial_s{seed}"
    assert_normalised(clip, data[key])
    (drawn,) = (row[-1] for row in data["meta"]["rows"] if row[0] == key)
    assert rng.integers(1 << 30) == drawn


@pytest.mark.parametrize(("name", "seed"), golden_arrays(PIXELS, r"(c\d+)\.colour_s(\d+)"))
def test_colours_are_the_releases(golden: Golden, legacy_rng: Any, name: str, seed: int) -> None:
    data, rng = golden(PIXELS), legacy_rng(seed)
    key = f"{name}.colour_s{seed}"
    changed = ColourChanges(10, *RANGES, LAPS_CHANGES)(frames_of(data, name), rng)
    difference = changed.int() - torch.from_numpy(data[key]).int()
    assert difference.abs().max() <= 1  # 0 with the same torchvision
    (drawn,) = (row[-1] for row in data["meta"]["rows"] if row[0] == key)
    assert rng.integers(1 << 30) == drawn


def test_boxes_by_hand() -> None:
    assert laps_boxes(10, 17, 10, 3) == [(0, 4), (0, 0), (0, 7)]  # the centre is rounded up
    assert laps_boxes(17, 10, 10, 3) == [(4, 0), (0, 0), (7, 0)]
    assert laps_boxes(11, 11, 10, 3) == [(1, 1), (1, 0), (1, 1)]
    assert laps_boxes(17, 10, 10, 1) == [(4, 0)]


def test_frames_are_not_rounded_and_mirrored_where_they_may_be(legacy_rng: Any) -> None:
    frames = torch.randint(0, 256, (2, 3, 20, 31), dtype=torch.uint8)
    transform = LapsTransform(16, (18, 18))
    for seed in range(4):
        clip, is_mirrored = transform.augment(frames, legacy_rng(seed))
        plain, was_mirrored = transform.augment(frames, legacy_rng(seed), may_mirror=False)
        assert not was_mirrored
        assert torch.equal(clip, plain.flip(-1) if is_mirrored else plain)
    assert bool((clip != clip.round()).any())
