import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from datasets.augment.multi_scale import (
    MultiScaleTransform,
    crop_places,
    crop_sizes,
    tsm_crop_boxes,
    tsm_resize,
)
from datasets.augment.short_side import crop, normalize

Golden = Callable[[str], dict[str, Any]]

# Pillow and torchvision round the same weights at different places: at most 2 as measured.
MOST_GREY_LEVELS = 2


class PythonRng:
    """Python's generator, which the release draws crops from, under numpy's names."""

    def __init__(self, seed: int) -> None:
        self.state = random.Random(seed)

    def integers(self, end: int) -> int:
        return self.state.randrange(end)  # the draw inside random.choice

    def random(self) -> float:
        return self.state.random()


@pytest.fixture(scope="module")
def tables(golden_root: Path) -> dict[str, Any]:
    path = golden_root / "tsm/data/transforms.json"
    if not path.exists():
        pytest.skip("tsm/data/transforms.json is not in the part of the golden data that is here")
    return json.loads(path.read_text())


@pytest.fixture(scope="module")
def pixels(golden: Golden) -> dict[str, Any]:
    return golden("tsm/data/transforms.npz")


def frames_of(array: np.ndarray) -> Tensor:
    return torch.from_numpy(array).permute(0, 3, 1, 2)


def grey_levels_apart(ours: Tensor, released: np.ndarray) -> int:
    ours_THWC = ours.permute(0, 2, 3, 1).numpy().astype(int)
    assert ours_THWC.shape == released.shape
    return int(np.abs(ours_THWC - released.astype(int)).max())


def test_sizes_and_places_are_the_releases(tables: dict[str, Any]) -> None:
    for row in tables["crop_tables_224"]:
        width, height = row["image_wh"]
        sizes = crop_sizes(height, width, 224, row["scales"])
        assert [[wide, tall] for tall, wide in sizes] == row["pairs_wh"]
        for tall, wide in sizes:
            places = [[box.left, box.top] for box in crop_places(height, width, tall, wide)]
            assert places == row["offsets13"][f"{wide}x{tall}"]
        if "offsets5_224" in row:
            boxes = tsm_crop_boxes(height, width, 224, num_crops=5)
            assert [[left, top] for top, left in boxes] == row["offsets5_224"]


def test_full_resolution_crops_go_left_right_centre(tables: dict[str, Any]) -> None:
    for row in tables["full_res_offsets"]:
        width, height = row["image_wh"]
        boxes = tsm_crop_boxes(height, width, row["crop"], num_crops=3)
        assert [[left, top] for top, left in boxes] == row["offsets_left_right_center"]


def test_draws_are_the_releases(tables: dict[str, Any]) -> None:
    transform = MultiScaleTransform(224)
    for seed, *expected in tables["sampled_crops_python_seed"]["rows"]:
        rng = PythonRng(seed)
        for (width, height), crop_of in zip(((340, 256), (320, 240)), expected, strict=True):
            top, left, tall, wide = transform.draw_box(height, width, rng)  # type: ignore[arg-type]
            assert [wide, tall, left, top] == crop_of


def test_crops_of_a_released_run_are_among_ours(golden_root: Path) -> None:
    path = golden_root / "tsm/e2e/train_run.json"
    frames = golden_root / "tsm/e2e/dataset/something/v1/20bn-something-something-v1"
    if not path.exists() or not frames.exists():
        pytest.skip("tsm/e2e is not in the part of the golden data that is here")
    run = json.loads(path.read_text())["run"]
    assert run["samples_flip"] == []  # its data set is one that the release never mirrors
    videos = [video for split, video, _ in run["samples"] if split == "train"]
    for video, (wide, tall, left, top) in zip(videos, run["samples_crop"], strict=True):
        with Image.open(frames / video / "00001.jpg") as image:
            width, height = image.size
        assert (tall, wide) in crop_sizes(height, width, 224)
        assert (top, left, tall, wide) in crop_places(height, width, tall, wide)


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("clip", [0, 1])
def test_training_crops_hold_the_releases_pixels(
    pixels: dict[str, Any], tables: dict[str, Any], clip: int, seed: int
) -> None:
    frames, size = frames_of(pixels[f"clip{clip}"]), tables["crop_size"]
    transform = MultiScaleTransform(size, flip=False)
    ours = transform.augment(frames, PythonRng(seed))[0]  # type: ignore[arg-type]
    expected = pixels[f"msc{clip}_seed{seed}"]
    assert grey_levels_apart(ours, expected) <= MOST_GREY_LEVELS
    height, width = frames.shape[-2:]
    box = transform.draw_box(height, width, PythonRng(seed))  # type: ignore[arg-type]
    drawn = tables["random_draws"][f"msc{clip}_seed{seed}"]
    assert [box.width, box.height, box.left, box.top] == drawn


@pytest.mark.parametrize("clip", [0, 1])
def test_crop_and_mirror_draw_in_the_releases_order(pixels: dict[str, Any], clip: int) -> None:
    expected = pixels[f"trainaug{clip}_seed31"]
    transform = MultiScaleTransform(expected.shape[1])
    ours = transform.augment(frames_of(pixels[f"clip{clip}"]), PythonRng(31))[0]  # type: ignore[arg-type]
    assert grey_levels_apart(ours, expected) <= MOST_GREY_LEVELS


@pytest.mark.parametrize("clip", [0, 1])
@pytest.mark.parametrize(
    ("name", "num_crops", "is_full"),
    [
        ("center{}", 1, False),
        ("fullres{}", 3, False),
        ("fullres_full{}", 3, True),
        ("over5_{}", 5, False),
    ],
)
def test_test_crops_hold_the_releases_pixels(
    pixels: dict[str, Any],
    tables: dict[str, Any],
    clip: int,
    name: str,
    num_crops: int,
    is_full: bool,
) -> None:
    key = name.format(clip)
    if key not in pixels:
        pytest.skip(f"{key} is not in the part of the golden data that is here")
    resized = tsm_resize(frames_of(pixels[f"clip{clip}"]), tables["scale_size"])
    assert grey_levels_apart(resized, pixels[f"scale{clip}"]) <= MOST_GREY_LEVELS
    size = tables["scale_size" if is_full else "crop_size"]
    boxes = tsm_crop_boxes(*resized.shape[-2:], size, num_crops)
    views = torch.cat([crop(resized, box, size) for box in boxes])
    assert grey_levels_apart(views, pixels[key]) <= MOST_GREY_LEVELS


@pytest.mark.parametrize("clip", [0, 1])
def test_ten_crops_are_each_of_five_then_its_mirror_image(
    pixels: dict[str, Any], tables: dict[str, Any], clip: int
) -> None:
    if f"over10_{clip}" not in pixels:
        pytest.skip(f"over10_{clip} is not in the part of the golden data that is here")
    resized = tsm_resize(frames_of(pixels[f"clip{clip}"]), tables["scale_size"])
    size, views = tables["crop_size"], []
    for box in tsm_crop_boxes(*resized.shape[-2:], size, num_crops=5):
        view = crop(resized, box, size)
        views += [view, view.flip(-1)]
    assert grey_levels_apart(torch.cat(views), pixels[f"over10_{clip}"]) <= MOST_GREY_LEVELS


@pytest.mark.parametrize("clip", [0, 1])
def test_normalised_frames_are_the_releases(
    pixels: dict[str, Any], tables: dict[str, Any], clip: int
) -> None:
    if f"tensor{clip}" not in pixels:
        pytest.skip(f"tensor{clip} is not in the part of the golden data that is here")
    resized = tsm_resize(frames_of(pixels[f"clip{clip}"]), tables["scale_size"])
    size = tables["crop_size"]
    (box,) = tsm_crop_boxes(*resized.shape[-2:], size, num_crops=1)
    ours = normalize(crop(resized, box, size), (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    expected = torch.from_numpy(pixels[f"tensor{clip}"]).unflatten(0, (-1, 3))
    one_grey_level = 1 / 255 / 0.224
    torch.testing.assert_close(ours, expected, atol=1.01 * one_grey_level, rtol=0)


@pytest.mark.parametrize("seed", range(30, 36))
@pytest.mark.parametrize("clip", ["land", "port", "sq", "odd"])
def test_paddlevideos_crops_hold_its_pixels(golden: Golden, clip: str, seed: int) -> None:
    pixels = golden("paddlevideo/data/transforms.npz")
    if f"{clip}/in" not in pixels:
        pytest.skip(f"{clip} is not in the part of the golden data that is here")
    transform = MultiScaleTransform(28, flip=False, rounds_places=True)
    ours = transform.augment(frames_of(pixels[f"{clip}/in"]), PythonRng(seed))[0]  # type: ignore[arg-type]
    expected = pixels[f"{clip}/MultiScaleCrop28_seed{seed}"]
    assert grey_levels_apart(ours, expected) <= MOST_GREY_LEVELS


@pytest.mark.parametrize("clip", ["land", "port", "sq", "odd"])
def test_paddlevideos_test_frames_hold_its_pixels(golden: Golden, clip: str) -> None:
    pixels = golden("paddlevideo/data/transforms.npz")
    if f"{clip}/in" not in pixels:
        pytest.skip(f"{clip} is not in the part of the golden data that is here")
    frames = frames_of(pixels[f"{clip}/in"])
    for side in (32, 40):
        expected = pixels[f"{clip}/Scale{side}_keep"]
        assert grey_levels_apart(tsm_resize(frames, side), expected) <= MOST_GREY_LEVELS
    for side in (24, 31):
        (box,) = tsm_crop_boxes(*frames.shape[-2:], side, num_crops=1)
        assert grey_levels_apart(crop(frames, box, side), pixels[f"{clip}/CenterCrop{side}"]) == 0


def test_one_draw_serves_all_frames() -> None:
    frame = torch.randint(0, 256, (1, 3, 60, 80), dtype=torch.uint8)
    clip = MultiScaleTransform(32).augment(frame.expand(4, -1, -1, -1), np.random.default_rng(0))[0]
    assert clip.shape == (4, 3, 32, 32)
    assert all(torch.equal(clip[0], other) for other in clip)


def test_a_class_that_may_not_be_mirrored_draws_the_same_crop() -> None:
    frames = torch.randint(0, 256, (2, 3, 60, 80), dtype=torch.uint8)
    transform = MultiScaleTransform(32)
    for seed in range(8):
        free, is_mirrored = transform.augment(frames, np.random.default_rng(seed))
        kept, is_kept_mirrored = transform.augment(
            frames, np.random.default_rng(seed), may_mirror=False
        )
        assert not is_kept_mirrored
        assert torch.equal(kept, free.flip(-1) if is_mirrored else free)


def test_a_crop_snapped_beyond_the_frame_is_black_there() -> None:
    frames = torch.full((1, 3, 30, 30), 255, dtype=torch.uint8)
    clip = MultiScaleTransform(32, scales=[1.0], flip=False).augment(
        frames, np.random.default_rng(0)
    )[0]
    assert clip.shape == (1, 3, 32, 32)
    assert clip.min() == 0
