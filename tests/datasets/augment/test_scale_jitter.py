import math
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from datasets.augment.scale_jitter import (
    ScaleJitterTransform,
    jitter_scale,
    multi_centre_boxes,
    uniform_boxes,
)
from datasets.augment.short_side import Box, ColourChanges, crop, normalize
from tests.conftest import golden_arrays

Golden = Callable[[str], dict[str, Any]]
Boxes = Callable[[int, int, int, int], list[Box]]

PIXELS = "paddlevideo/data/transforms.npz"
BOXES: dict[str, tuple[Boxes, tuple[int, ...]]] = {
    "UniformCrop": (uniform_boxes, (1, 2, 0)),  # left, right, centre; ours the centre first
    "MultiCenterCrop": (multi_centre_boxes, (0, 1, 2)),
    "CenterCrop": (uniform_boxes, (0,)),
}
# Paddle and torch order the same float32 operations otherwise: 5e-7 as measured, in units of 1.
FLOAT_TOLERANCE = 1e-6
HALF_A_LEVEL = 0.501 / 255  # what the rounding to uint8 can cost; of 0.5 measured 0.50002


class ReleasedRng:
    """numpy's legacy generator, and Python's for the mirror; the last offset is never drawn."""

    def __init__(self, seed: int) -> None:
        self.state = np.random.RandomState(seed)
        self.mirror = random.Random(seed)

    def uniform(self, low: float, high: float) -> float:
        return self.state.uniform(low, high)

    def integers(self, low: int, high: int) -> int:
        return self.state.randint(low, high - 1)

    def random(self) -> float:
        return self.mirror.random()


@pytest.fixture(scope="module")
def pixels(golden: Golden) -> dict[str, Any]:
    return golden(PIXELS)


def expected_of(pixels: dict[str, Any], name: str) -> Tensor:
    return torch.from_numpy(pixels[name]).transpose(0, 1)  # (T, 3, H, W)


def frames_of(pixels: dict[str, Any], clip: str) -> Tensor:
    if f"{clip}/in" not in pixels:
        pytest.skip(f"{clip}/in is not in the part of the golden data that is here")
    return torch.from_numpy(pixels[f"{clip}/in"]).permute(0, 3, 1, 2)


def normalized(frames: Tensor, mean: float, std: float) -> Tensor:
    return normalize(frames, [mean] * 3, [std] * 3)


def assert_near(ours: Tensor, expected: Tensor, tolerance: float) -> None:
    torch.testing.assert_close(ours, expected, atol=tolerance, rtol=0)


# Golden pixels


@pytest.mark.parametrize("clip", golden_arrays(PIXELS, r"(.+)/pyav_norm_cthw"))
def test_normalised_frames_are_the_releases(pixels: dict[str, Any], clip: str) -> None:
    expected = expected_of(pixels, f"{clip}/pyav_norm_cthw")
    assert_near(normalized(frames_of(pixels, clip), 0.45, 0.225), expected, FLOAT_TOLERANCE)


@pytest.mark.parametrize(("clip", "side"), golden_arrays(PIXELS, r"(.+)/pyav_JitterScale(\d+)"))
def test_resized_frames_are_the_releases(pixels: dict[str, Any], clip: str, side: int) -> None:
    expected = expected_of(pixels, f"{clip}/pyav_JitterScale{side}")
    frames = frames_of(pixels, clip)
    assert_near(jitter_scale(normalized(frames, 0, 1), side), expected, FLOAT_TOLERANCE)
    assert_near(normalized(jitter_scale(frames, side), 0, 1), expected, HALF_A_LEVEL)


@pytest.mark.parametrize(
    ("clip", "side", "name"),
    golden_arrays(PIXELS, rf"(.+)/pyav_JitterScale(\d+)_({'|'.join(BOXES)})"),
)
def test_crops_are_the_releases(pixels: dict[str, Any], clip: str, side: int, name: str) -> None:
    expected = expected_of(pixels, f"{clip}/pyav_JitterScale{side}_{name}")
    resized = jitter_scale(normalized(frames_of(pixels, clip), 0, 1), side)
    boxes, order = BOXES[name]
    ours = boxes(*resized.shape[-2:], side, len(order))
    views = torch.cat([crop(resized, ours[place], side) for place in order])  # (3T, 3, H, W)
    assert_near(views, expected, FLOAT_TOLERANCE)


@pytest.mark.parametrize(
    ("clip", "low", "high", "side", "seed"),
    golden_arrays(PIXELS, r"(.+)/pyav_Jitter(\d+)_(\d+)_RandomCrop(\d+)_Flip_seed(\d+)"),
)
def test_training_clips_are_the_releases(
    pixels: dict[str, Any], clip: str, low: int, high: int, side: int, seed: int
) -> None:
    name = f"{clip}/pyav_Jitter{low}_{high}_RandomCrop{side}_Flip_seed{seed}"
    expected = expected_of(pixels, name)
    transform, frames = ScaleJitterTransform(side, [low, high]), frames_of(pixels, clip)
    rng: Any = ReleasedRng(seed)
    assert_near(transform.augment(normalized(frames, 0.5, 0.5), rng)[0], expected, FLOAT_TOLERANCE)
    rng = ReleasedRng(seed)
    ours = normalized(transform.augment(frames, rng)[0], 0.5, 0.5)
    assert_near(ours, expected, HALF_A_LEVEL / 0.5)


# By hand and by definition


def slow_resize(frame: np.ndarray, height: int, width: int) -> np.ndarray:
    """Bilinear interpolation between pixel centres, nothing averaged; a loop over the result."""
    H, W = frame.shape
    out = np.empty((height, width))
    for row in range(height):
        for column in range(width):
            y = max((row + 0.5) * H / height - 0.5, 0)
            x = max((column + 0.5) * W / width - 0.5, 0)
            top, left = int(y), int(x)
            bottom, right = min(top + 1, H - 1), min(left + 1, W - 1)
            dy, dx = y - top, x - left
            upper = frame[top, left] * (1 - dx) + frame[top, right] * dx
            lower = frame[bottom, left] * (1 - dx) + frame[bottom, right] * dx
            out[row, column] = upper * (1 - dy) + lower * dy
    return out


@pytest.mark.parametrize(("height", "width"), [(9, 14), (15, 7), (10, 10)])
@pytest.mark.parametrize("side", [4, 11])
def test_resize_is_a_loop_over_pixels(height: int, width: int, side: int) -> None:
    frames = np.random.default_rng(0).random((2, 3, height, width))
    ours = jitter_scale(torch.from_numpy(frames).float(), side)
    long = math.floor(max(height, width) / min(height, width) * side)
    size = (side, long) if width > height else (long, side)
    assert ours.shape == (2, 3, *size)
    expected = slow_resize(frames[1, 2], *size)
    # float32 against float64
    np.testing.assert_allclose(ours[1, 2].numpy(), expected, atol=1e-6)


def test_frames_that_have_the_short_side_are_kept() -> None:
    frames = torch.randint(0, 256, (2, 3, 20, 31), dtype=torch.uint8)
    assert jitter_scale(frames, 20) is frames


def test_uint8_frames_are_rounded_to_the_nearest_level() -> None:
    frames = torch.tensor([0, 1, 1, 0], dtype=torch.uint8).reshape(1, 1, 2, 2) * 3
    resized = jitter_scale(frames.expand(1, 3, 2, 2), 1)
    assert resized.dtype == torch.uint8
    assert resized.unique().tolist() == [2]  # of 1.5


@pytest.mark.parametrize(
    ("height", "width", "expected"),
    [
        (20, 31, [(0, 5), (0, 0), (0, 10)]),  # 11 to spare: the far one ends a pixel early
        (30, 20, [(5, 0), (0, 0), (10, 0)]),
        (20, 20, [(0, 0)] * 3),
    ],
)
def test_uniform_boxes_by_hand(height: int, width: int, expected: list[Box]) -> None:
    assert uniform_boxes(height, width, 20, num_crops=3) == expected


def test_one_uniform_box_is_the_release_s_rounded_centre() -> None:
    assert uniform_boxes(27, 33, 20, num_crops=1) == [(4, 6)]  # of 3.5 and 6.5, halves to even


def test_multi_centre_boxes_by_hand() -> None:
    assert multi_centre_boxes(25, 31, 20, num_crops=3) == [(2, 5), (2, 0), (2, 11)]
    assert multi_centre_boxes(25, 31, 20, num_crops=1) == [(2, 5)]
    assert multi_centre_boxes(31, 20, 20, num_crops=3) == [(5, 0)] * 3


def test_every_offset_is_drawn_the_last_included() -> None:
    rows, columns = torch.meshgrid(torch.arange(5), torch.arange(6), indexing="ij")
    frames = (10 * rows + columns).to(torch.uint8).expand(1, 3, 5, 6)
    transform = ScaleJitterTransform(4, [5, 5], flip=False)
    corners = {
        int(transform.augment(frames, np.random.default_rng(seed))[0][0, 0, 0, 0])
        for seed in range(100)
    }
    assert corners == {0, 1, 2, 10, 11, 12}


def test_a_crop_as_large_as_the_frame_is_the_frame() -> None:
    frames = torch.randint(0, 256, (2, 3, 16, 16), dtype=torch.uint8)
    transform = ScaleJitterTransform(16, [16, 16], flip=False)
    assert torch.equal(transform.augment(frames, np.random.default_rng(0))[0], frames)


def test_short_sides_come_from_low_to_high_the_ends_half_as_often(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sides: list[int] = []

    def resize(frames: Tensor, short_side: int) -> Tensor:
        sides.append(short_side)
        return frames

    monkeypatch.setattr("datasets.augment.scale_jitter.jitter_scale", resize)
    rng, frames = np.random.default_rng(0), torch.zeros(1, 3, 8, 8, dtype=torch.uint8)
    for _ in range(4000):
        ScaleJitterTransform(8, [20, 24]).augment(frames, rng)[0]
    counts = np.bincount(sides)[20:]
    # four standard deviations of the number of 4000 draws that fall on a quarter of the sides
    np.testing.assert_allclose(counts, [500, 1000, 1000, 1000, 500], atol=110)


def test_one_draw_serves_all_frames() -> None:
    frame = torch.randint(0, 256, (1, 3, 40, 50), dtype=torch.uint8)
    colours = ColourChanges(1, [0.5, 2.0], [0.5, 3.0], [0.8, 1.2], [-0.5, 0.5])
    transform = ScaleJitterTransform(16, [20, 30], colours=colours)
    clip = transform.augment(frame.expand(4, -1, -1, -1), np.random.default_rng(0))[0]
    assert clip.shape == (4, 3, 16, 16)
    assert clip.dtype == torch.uint8
    assert all(torch.equal(clip[0], other) for other in clip)


def test_mirror_and_colours_come_to_the_same_in_either_order() -> None:
    frames = torch.randint(0, 256, (2, 3, 24, 24), dtype=torch.uint8)
    colours = ColourChanges(1, [0.5, 2.0], [0.5, 3.0], [0.8, 1.2], [-0.5, 0.5])
    after = colours(frames, np.random.default_rng(3)).flip(-1)
    assert torch.equal(colours(frames.flip(-1), np.random.default_rng(3)), after)


def test_a_class_that_may_not_be_mirrored_draws_the_same_crop() -> None:
    frames = torch.randint(0, 256, (2, 3, 30, 40), dtype=torch.uint8)
    transform, mirrored = ScaleJitterTransform(16, [20, 30]), 0
    for seed in range(16):
        free, is_mirrored = transform.augment(frames, np.random.default_rng(seed))
        kept, is_kept_mirrored = transform.augment(
            frames, np.random.default_rng(seed), may_mirror=False
        )
        mirrored += is_mirrored
        assert not is_kept_mirrored
        assert torch.equal(kept, free.flip(-1) if is_mirrored else free)
    assert 0 < mirrored < 16


@pytest.mark.parametrize("size", [(331, 441), (240, 320), (97, 61), (1, 1)])
@pytest.mark.parametrize("short_side", [64, 256, 331])
def test_layout_in_memory_changes_no_pixel(size: tuple[int, int], short_side: int) -> None:
    values = np.random.default_rng(0).integers(0, 256, (3, *size, 3), dtype=np.uint8)
    frames = torch.from_numpy(values).permute(0, 3, 1, 2)
    assert torch.equal(
        jitter_scale(frames, short_side), jitter_scale(frames.contiguous(), short_side)
    )
