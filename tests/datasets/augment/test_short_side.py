"""Our pixels are torchvision's on uint8 tensors, the release's are Pillow's on images.

Which pixels go where is exact: with Pillow's arithmetic in the place of torchvision's, ours are the
release's to the last bit. What lies between the two in grey levels, and why, is stated at each
bound; the golden images carry the levels of the resize through every later change.
"""

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import functional as on_images

from datasets.augment.short_side import (
    TrainTransform,
    crop,
    crop_boxes,
    normalize,
    resize_short_side,
    resized_size,
)
from tests.datasets.conftest import COLOUR_CHANGES, RESIZE_LEVELS, levels_apart

Golden = Callable[[str], dict[str, Any]]
Clip = dict[str, Any]

MEAN, STD = [0.5] * 3, [0.5] * 3


@pytest.fixture(scope="module")
def released(golden: Golden) -> dict[str, Any]:
    return golden("tokshift/e_augment.npz")


@pytest.fixture(scope="module")
def recorded_clips(released: dict[str, Any]) -> list[tuple[Clip, Tensor]]:
    """Geometry and frames, uint8 (T, 3, H, W), of each clip on record."""
    return [
        (clip, torch.from_numpy(released[f"{clip['name']}.frames"]).permute(0, 3, 1, 2))
        for clip in released["meta"]
    ]


@pytest.fixture
def frames() -> Tensor:
    """Noise, (4, 3, 40, 50), so that no two pixels or frames agree by chance."""
    rng = np.random.default_rng(0)
    return torch.from_numpy(rng.integers(0, 256, (4, 3, 40, 50), dtype=np.uint8))


def levels(normalised: np.ndarray) -> np.ndarray:
    """Normalised values of the record back as grey levels."""
    return np.rint((normalised * 0.5 + 0.5) * 255).astype(int)


def fired(draws: list[list[Any]]) -> list[tuple[str, float]]:
    """The colour changes among recorded draws, in order, with their amounts."""
    return [
        (COLOUR_CHANGES[(least, most)], amount)
        for kind, least, most, amount in (draw for draw in draws if draw[0] == "uniform")
    ]


class Once:
    """Answers every draw: which of the four changes fires, and by how much."""

    def __init__(self, change: str, amount: float) -> None:
        self.answers = iter(name != change for name in COLOUR_CHANGES.values())
        self.amount = amount

    def integers(self, low: int, high: int | None = None) -> int:
        if high is not None or low == 2:
            return low if high is not None else 1  # smallest side, no mirror
        return int(next(self.answers))

    def uniform(self, low: float, high: float) -> float:
        assert low <= self.amount < high
        return self.amount


def test_resized_sizes_equal_the_recorded_table(released: dict[str, Any]) -> None:
    for width, height, short_side, new_width, new_height in released["resize_table"].tolist():
        assert resized_size(height, width, short_side) == (new_height, new_width)


def test_recorded_clips_are_resized_to_the_recorded_size(
    recorded_clips: list[tuple[Clip, Tensor]],
) -> None:
    for clip, frames in recorded_clips:
        resized = resize_short_side(frames, clip["short"])
        assert [resized.shape[-1], resized.shape[-2]] == clip["resized"]
        assert resized.dtype == torch.uint8


@pytest.mark.parametrize("num_crops", [1, 3, 5])
def test_test_crops_are_the_releases_and_lie_within_the_resize_of_it(
    num_crops: int,
    arithmetic: str,
    released: dict[str, Any],
    recorded_clips: list[tuple[Clip, Tensor]],
) -> None:
    for clip, frames in recorded_clips:
        resized = resize_short_side(frames, clip["short"])
        boxes = crop_boxes(*resized.shape[-2:], clip["patch"], num_crops)
        views = torch.stack([crop(resized, box, clip["patch"]) for box in boxes]).int().numpy()
        expected = levels(released[f"{clip['name']}.test_mode{num_crops}"])
        assert views.shape == expected.shape
        allowed = 0 if arithmetic == "pillow" else RESIZE_LEVELS
        assert np.abs(views - expected).max() <= allowed, clip["name"]
        # a crop one pixel off differs by tens of levels; most pixels agree to the last
        assert (views == expected).mean() > 0.9


def test_training_consumes_the_recorded_draws(
    released: dict[str, Any], recorded_clips: list[tuple[Clip, Tensor]], legacy_rng: type
) -> None:
    for clip, frames in recorded_clips:
        for run in clip["train"]:
            rng = legacy_rng(run["seed"])
            TrainTransform(clip["patch"], clip["range"]).augment(frames, rng)[0]
            assert rng.state.randint(1 << 30) == run["next_randint"], (clip["name"], run["seed"])


def test_training_clips_are_the_releases_and_lie_within_8_bit_arithmetic_of_it(
    arithmetic: str,
    released: dict[str, Any],
    recorded_clips: list[tuple[Clip, Tensor]],
    legacy_rng: type,
) -> None:
    for clip, frames in recorded_clips:
        transform = TrainTransform(clip["patch"], clip["range"])
        for run in clip["train"]:
            ours = transform.augment(frames, legacy_rng(run["seed"]))[0].int().numpy()
            expected = levels(released[f"{clip['name']}.train_s{run['seed']}"])
            assert ours.shape == expected.shape
            changes = fired(run["draws"])
            allowed = 0 if arithmetic == "pillow" else levels_apart(changes)
            assert np.abs(ours - expected).max() <= allowed, (clip["name"], run["seed"], changes)


def test_every_colour_change_is_on_record(recorded_clips: list[tuple[Clip, Tensor]]) -> None:
    runs = [run for clip, _ in recorded_clips for run in clip["train"]]
    assert {name for run in runs for name, _ in fired(run["draws"])} == {*COLOUR_CHANGES.values()}


@pytest.mark.parametrize(
    ("change", "amounts", "bound"),
    [
        # The same multiplication and table: not a level apart.
        ("brightness", np.linspace(0.5, 1.99, 12), lambda _: 0),
        ("gamma", np.linspace(0.8, 1.19, 12), lambda _: 0),
        # Pillow rounds the weighted grey, torchvision cuts its fraction off: one level, weighted by
        # 1 - factor, and one more where the results are cut.
        ("saturation", np.linspace(0.5, 2.99, 12), lambda factor: np.floor(abs(1 - factor)) + 1),
        # Pillow keeps hue and saturation in 8 bits, rounded down, and goes round at 256, not 255:
        # two of 255 hues are up to 12 levels, one of 255 saturations is one.
        ("hue", np.linspace(-0.49, 0.49, 12), lambda _: 13),
    ],
)
def test_colour_change_equals_that_of_images_within_8_bit_arithmetic(
    change: str, amounts: np.ndarray, bound: Callable[[float], float], frames: Tensor
) -> None:
    transform = TrainTransform(40, [40, 41])
    plain = transform.augment(frames, Once("", 0.0))[0]  # (T, 3, 40, 40)
    images = [Image.fromarray(frame) for frame in plain.permute(0, 2, 3, 1).numpy()]
    on_image = getattr(on_images, f"adjust_{change}")
    for amount in amounts.tolist():
        ours = transform.augment(frames, Once(change, amount))[0].int().numpy()
        changed = np.stack([np.asarray(on_image(image, amount)) for image in images])
        difference = np.abs(ours - changed.transpose(0, 3, 1, 2).astype(int)).max()
        assert difference <= bound(amount), amount
        assert not np.array_equal(ours, plain.numpy())  # the change took place


@pytest.mark.parametrize(
    ("height", "width", "num_crops", "boxes"),
    [
        (32, 42, 1, [(0, 5)]),
        (32, 42, 3, [(0, 5), (0, 0), (0, 10)]),
        (45, 32, 3, [(6, 0), (6, 0), (6, 0)]),
        (35, 42, 5, [(1, 5), (0, 0), (0, 10), (3, 0), (3, 10)]),
        (20, 25, 5, [(0, 0)] * 5),
    ],
)
def test_crop_boxes_worked_by_hand(
    height: int, width: int, num_crops: int, boxes: list[tuple[int, int]]
) -> None:
    assert crop_boxes(height, width, 32, num_crops) == boxes


def test_crop_cuts_the_named_square(frames: Tensor) -> None:
    cut = crop(frames, (3, 7), 32)
    assert torch.equal(cut, frames[:, :, 3:35, 7:39])


@pytest.mark.parametrize(("height", "width"), [(20, 50), (40, 20), (20, 25)])
def test_frame_smaller_than_the_crop_is_padded_with_black_below_and_right(
    height: int, width: int, frames: Tensor
) -> None:
    small = frames[..., :height, :width].clamp(min=1)
    box = crop_boxes(height, width, 32, 1)[0]
    cut = crop(small, box, 32)
    assert cut.shape == (4, 3, 32, 32)
    rows, columns = min(height, 32), min(width, 32)
    top, left = box
    assert torch.equal(cut[..., :rows, :columns], small[..., top : top + 32, left : left + 32])
    assert cut.count_nonzero() == 4 * 3 * rows * columns


def test_training_crop_below_the_patch_is_padded_with_black(frames: Tensor) -> None:
    clip = TrainTransform(32, [20, 21], flip=False, jitter_one_in=0).augment(
        frames.clamp(min=1), np.random.default_rng(0)
    )[0]
    assert clip.shape == (4, 3, 32, 32)
    assert clip[..., 20:, :].count_nonzero() == clip[..., 25:].count_nonzero() == 0
    assert clip[..., :20, :25].count_nonzero() == 4 * 3 * 20 * 25


def test_resize_keeps_frames_of_the_wanted_size(frames: Tensor) -> None:
    assert resized_size(40, 50, 40) == (40, 50)
    assert torch.equal(resize_short_side(frames, 40), frames)


def test_float_order_costs_the_long_side_a_pixel_as_released() -> None:
    # 1.0 * 201 / 100 * 100 is 200.99999999999997
    assert resized_size(100, 201, 100) == (100, 200)
    assert resized_size(201, 100, 100) == (200, 100)


@pytest.mark.parametrize("seed", range(40))
def test_every_frame_of_a_clip_gets_the_same_draws(seed: int, frames: Tensor) -> None:
    transform = TrainTransform(32, [32, 44], jitter_one_in=2)
    clip = transform.augment(frames, np.random.default_rng(seed))[0]
    alone = [transform.augment(frame[None], np.random.default_rng(seed))[0] for frame in frames]
    assert torch.equal(clip, torch.cat(alone))


def test_same_generator_state_gives_the_same_clip_and_another_seed_another(frames: Tensor) -> None:
    transform = TrainTransform(32, [32, 44], jitter_one_in=2)
    clips = [transform.augment(frames, np.random.default_rng(seed))[0] for seed in (3, 3, 4)]
    assert torch.equal(clips[0], clips[1])
    assert not torch.equal(clips[0], clips[2])


def test_frames_are_not_changed_in_place(frames: Tensor) -> None:
    before = frames.clone()
    for seed in range(20):
        TrainTransform(32, [40, 44], jitter_one_in=1).augment(frames, np.random.default_rng(seed))[
            0
        ]
    assert torch.equal(frames, before)


def test_half_of_the_clips_are_mirrored_and_none_without_flip(frames: Tensor) -> None:
    square = frames[..., :40]
    for flip in (True, False):
        transform = TrainTransform(40, [40, 41], flip=flip, jitter_one_in=0)
        clips = [transform.augment(square, np.random.default_rng(seed))[0] for seed in range(100)]
        mirrored = sum(torch.equal(clip, square.flip(-1)) for clip in clips)
        assert mirrored + sum(torch.equal(clip, square) for clip in clips) == 100
        # 100 fair draws: 30..70 holds but for one seed in ten thousand
        assert 30 <= mirrored <= 70 if flip else mirrored == 0


def test_short_sides_and_offsets_exclude_their_upper_end(frames: Tensor) -> None:
    class Recorder:
        def __init__(self) -> None:
            self.drawn: list[tuple[int, ...]] = []

        def integers(self, *bounds: int) -> int:
            self.drawn.append(bounds)
            return bounds[-1] - 1

    rng = Recorder()
    TrainTransform(32, [32, 44], jitter_one_in=0).augment(frames, rng)[0]
    # mirror; side 43, so 43 x 53; the largest offset, 11 or 21, is never drawn
    assert rng.drawn == [(2,), (32, 44), (0, 11), (0, 21)]


def test_no_jitter_draws_nothing_for_it(frames: Tensor) -> None:
    class NoUniform:
        def __init__(self) -> None:
            self.draws = itertools.count()

        def integers(self, *bounds: int) -> int:
            next(self.draws)
            return bounds[0]

    rng = NoUniform()
    TrainTransform(32, [36, 44], jitter_one_in=0).augment(frames, rng)[0]
    assert next(rng.draws) == 4  # mirror, side, top, left


def test_each_colour_change_hits_one_clip_in_as_many_as_asked(frames: Tensor) -> None:
    class Counting:
        def __init__(self) -> None:
            self.rng = np.random.default_rng(0)
            self.amounts: list[tuple[float, float]] = []

        def integers(self, *bounds: int) -> Any:
            return self.rng.integers(*bounds)

        def uniform(self, low: float, high: float) -> float:
            self.amounts.append((low, high))
            return self.rng.uniform(low, high)

    rng = Counting()
    transform = TrainTransform(8, [8, 9], jitter_one_in=4)
    for _ in range(400):
        transform.augment(frames[:1, :, :8, :8], rng)
    for change in COLOUR_CHANGES:
        # 400 draws of 1 in 4: 100, standard deviation 8.7
        assert 65 <= rng.amounts.count(change) <= 135


def test_normalised_pixels_equal_the_formula() -> None:
    clip = torch.tensor([0, 51, 255], dtype=torch.uint8)[:, None, None].expand(2, 3, 1, 1)
    normalised = normalize(clip, mean=[0.5, 0.2, 0.4], std=[0.5, 0.25, 0.3])
    assert normalised.dtype == torch.float32
    # one rounding each of the division, the difference and the quotient in float32
    torch.testing.assert_close(
        normalised[0, :, 0, 0], torch.tensor([-1.0, 0.0, 2.0]), atol=1e-6, rtol=0
    )


@pytest.mark.parametrize("name", ["base", "base_defaultnorm"])
def test_normalised_centre_crop_equals_the_recorded_one(
    name: str, released: dict[str, Any], recorded_clips: list[tuple[Clip, Tensor]]
) -> None:
    mean, std = MEAN, STD
    if name == "base_defaultnorm":
        mean, std = [123 / 255, 117 / 255, 104 / 255], [0.229, 0.224, 0.225]
    for clip, frames in recorded_clips:
        resized = resize_short_side(frames, clip["short"])
        box = crop_boxes(*resized.shape[-2:], clip["patch"], 1)[0]
        ours = normalize(crop(resized, box, clip["patch"]), mean, std)
        level = RESIZE_LEVELS / 255 / min(std)  # of the resize, in normalised units
        difference = np.abs(ours.numpy() - released[f"{clip['name']}.{name}"])
        assert difference.max() <= level + 1e-6  # float32 rounding of values up to 2.7
        assert np.median(difference) < 1e-6
