import random
import re
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
from tests.conftest import golden_arrays

Golden = Callable[[str], dict[str, Any]]

PIXELS, PADDLE_PIXELS = "tsm/data/transforms.npz", "paddlevideo/data/transforms.npz"
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
def tables(golden_json: Callable[[str], Any]) -> dict[str, Any]:
    return golden_json("tsm/data/transforms.json")


@pytest.fixture(scope="module")
def table_size(tables: dict[str, Any]) -> int:
    """The side of the crops in the tables, which is part of their names."""
    [size] = (found[1] for key in tables if (found := re.fullmatch(r"crop_tables_(\d+)", key)))
    return int(size)


@pytest.fixture(scope="module")
def pixels(golden: Golden) -> dict[str, Any]:
    return golden(PIXELS)


def frames_of(array: np.ndarray) -> Tensor:
    return torch.from_numpy(array).permute(0, 3, 1, 2)


def grey_levels_apart(ours: Tensor, released: np.ndarray) -> int:
    ours_THWC = ours.permute(0, 2, 3, 1).numpy().astype(int)
    assert ours_THWC.shape == released.shape
    return int(np.abs(ours_THWC - released.astype(int)).max())


def test_sizes_and_places_are_the_releases(tables: dict[str, Any], table_size: int) -> None:
    for row in tables[f"crop_tables_{table_size}"]:
        width, height = row["image_wh"]
        sizes = crop_sizes(height, width, table_size, row["scales"])
        assert [[wide, tall] for tall, wide in sizes] == row["pairs_wh"]
        for tall, wide in sizes:
            places = [[box.left, box.top] for box in crop_places(height, width, tall, wide)]
            assert places == row["offsets13"][f"{wide}x{tall}"]
        if f"offsets5_{table_size}" in row:
            boxes = tsm_crop_boxes(height, width, table_size, num_crops=5)
            assert [[left, top] for top, left in boxes] == row[f"offsets5_{table_size}"]


def test_full_resolution_crops_go_left_right_centre(tables: dict[str, Any]) -> None:
    for row in tables["full_res_offsets"]:
        width, height = row["image_wh"]
        boxes = tsm_crop_boxes(height, width, row["crop"], num_crops=3)
        assert [[left, top] for top, left in boxes] == row["offsets_left_right_center"]


def test_draws_are_the_releases(tables: dict[str, Any], table_size: int) -> None:
    transform, table = MultiScaleTransform(table_size), tables["sampled_crops_python_seed"]
    images = [re.search(r"(\d+)x(\d+)", column) for column in table["columns"][1:]]
    for seed, *expected in table["rows"]:
        rng = PythonRng(seed)
        for image, crop_of in zip(images, expected, strict=True):
            width, height = map(int, image.groups())
            top, left, tall, wide = transform.draw_box(height, width, rng)  # type: ignore[arg-type]
            assert [wide, tall, left, top] == crop_of


def test_crops_of_a_released_run_are_among_ours(
    golden_json: Callable[[str], Any], golden_path: Callable[[str], Path]
) -> None:
    run = golden_json("tsm/e2e/train_run.json")["run"]
    frames = golden_path("tsm/e2e/dataset/something/v1/20bn-something-something-v1")
    assert run["samples_flip"] == []  # its data set is one that the release never mirrors
    videos = [video for split, video, _ in run["samples"] if split == "train"]
    for video, (wide, tall, left, top) in zip(videos, run["samples_crop"], strict=True):
        with Image.open(frames / video / "00001.jpg") as image:
            width, height = image.size
        assert (tall, wide) in crop_sizes(height, width, 224)
        assert (top, left, tall, wide) in crop_places(height, width, tall, wide)


@pytest.mark.parametrize(("clip", "seed"), golden_arrays(PIXELS, r"msc(\d+)_seed(\d+)"))
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


@pytest.mark.parametrize(("clip", "seed"), golden_arrays(PIXELS, r"trainaug(\d+)_seed(\d+)"))
def test_crop_and_mirror_draw_in_the_releases_order(
    pixels: dict[str, Any], clip: int, seed: int
) -> None:
    expected = pixels[f"trainaug{clip}_seed{seed}"]
    transform = MultiScaleTransform(expected.shape[1])
    ours = transform.augment(frames_of(pixels[f"clip{clip}"]), PythonRng(seed))[0]  # type: ignore[arg-type]
    assert grey_levels_apart(ours, expected) <= MOST_GREY_LEVELS


@pytest.mark.parametrize("clip", golden_arrays(PIXELS, r"clip(\d+)"))
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


@pytest.mark.parametrize("clip", golden_arrays(PIXELS, r"over10_(\d+)"))
def test_ten_crops_are_each_of_five_then_its_mirror_image(
    pixels: dict[str, Any], tables: dict[str, Any], clip: int
) -> None:
    resized = tsm_resize(frames_of(pixels[f"clip{clip}"]), tables["scale_size"])
    size, views = tables["crop_size"], []
    for box in tsm_crop_boxes(*resized.shape[-2:], size, num_crops=5):
        view = crop(resized, box, size)
        views += [view, view.flip(-1)]
    assert grey_levels_apart(torch.cat(views), pixels[f"over10_{clip}"]) <= MOST_GREY_LEVELS


@pytest.mark.parametrize("clip", golden_arrays(PIXELS, r"tensor(\d+)"))
def test_normalised_frames_are_the_releases(
    pixels: dict[str, Any], tables: dict[str, Any], clip: int
) -> None:
    resized = tsm_resize(frames_of(pixels[f"clip{clip}"]), tables["scale_size"])
    size = tables["crop_size"]
    (box,) = tsm_crop_boxes(*resized.shape[-2:], size, num_crops=1)
    ours = normalize(crop(resized, box, size), (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    expected = torch.from_numpy(pixels[f"tensor{clip}"]).unflatten(0, (-1, 3))
    one_grey_level = 1 / 255 / 0.224
    torch.testing.assert_close(ours, expected, atol=1.01 * one_grey_level, rtol=0)


@pytest.mark.parametrize(
    ("clip", "size", "seed"),
    golden_arrays(PADDLE_PIXELS, r"(.+)/MultiScaleCrop(\d+)_seed(\d+)"),
)
def test_paddlevideos_crops_hold_its_pixels(
    golden: Golden, clip: str, size: int, seed: int
) -> None:
    pixels = golden(PADDLE_PIXELS)
    transform = MultiScaleTransform(size, flip=False, rounds_places=True)
    ours = transform.augment(frames_of(pixels[f"{clip}/in"]), PythonRng(seed))[0]  # type: ignore[arg-type]
    expected = pixels[f"{clip}/MultiScaleCrop{size}_seed{seed}"]
    assert grey_levels_apart(ours, expected) <= MOST_GREY_LEVELS


@pytest.mark.parametrize(("clip", "side"), golden_arrays(PADDLE_PIXELS, r"(.+)/Scale(\d+)_keep"))
def test_paddlevideos_resized_frames_hold_its_pixels(golden: Golden, clip: str, side: int) -> None:
    pixels = golden(PADDLE_PIXELS)
    ours = tsm_resize(frames_of(pixels[f"{clip}/in"]), side)
    assert grey_levels_apart(ours, pixels[f"{clip}/Scale{side}_keep"]) <= MOST_GREY_LEVELS


@pytest.mark.parametrize(("clip", "side"), golden_arrays(PADDLE_PIXELS, r"(.+)/CenterCrop(\d+)"))
def test_paddlevideos_centre_crops_hold_its_pixels(golden: Golden, clip: str, side: int) -> None:
    pixels = golden(PADDLE_PIXELS)
    frames = frames_of(pixels[f"{clip}/in"])
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
