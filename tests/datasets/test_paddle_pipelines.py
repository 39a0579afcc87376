"""PaddleVideo's whole pipelines: file, window, indices, resize, crops, normalised clip."""

import json
import random
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from yacs.config import CfgNode

from config import load_cfg_text
from datasets import protocols
from datasets.annotations import VideoRecord
from datasets.augment.scale_jitter import jitter_scale, uniform_boxes
from datasets.augment.short_side import crop, normalize
from datasets.decode.pyav_frames import decode_frames
from datasets.paddle_sampling import linspace_clip, paddle_window
from datasets.view_crops import VIEW_CROPS
from datasets.views import TestViews

av = pytest.importorskip("av")

Golden = Callable[[str], dict[str, Any]]

VIDEOS = {"v300_30fps.mp4": 30.0, "v100_25fps.mp4": 25.0, "v20_30fps.mp4": 30.0}
RECIPES = {  # reduced as the golden data are: short side 32 for 224, crops of 32
    "ppts": {
        "DATA.SAMPLING": "linspace",
        "TEST.CROPS": "uniform",
        "DATA.PIXEL_MEAN": [0.0, 0.0, 0.0],
        "DATA.PIXEL_STD": [1.0, 1.0, 1.0],
    },
    "tokenshift": {"DATA.SAMPLING": "paddle_dense", "TEST.CROPS": "multi_centre"},
}
RELEASED_ORDER = {"ppts": (1, 2, 0), "tokenshift": (0, 1, 2)}  # of our crops, the centre first
FLOAT_TOLERANCE = 1e-6  # float32 in another order: 9e-7 as measured
HALF_A_LEVEL = 0.501 / 255  # in units of 0..1, from the rounding to uint8; measured 0.50004


class Decoded:
    """A reader of frames that are decoded already."""

    def __init__(self, frames: np.ndarray) -> None:
        self.frames = frames

    def __len__(self) -> int:
        return len(self.frames)

    def read(self, indices: np.ndarray) -> np.ndarray:
        return self.frames[indices]


class PythonRng:
    """Python's generator, which the decoder draws its start from, under numpy's names."""

    def __init__(self, seed: int) -> None:
        self.state = random.Random(seed)

    def uniform(self, low: float, high: float) -> float:
        return self.state.uniform(low, high)


@pytest.fixture(scope="module")
def decoded(golden_root: Path) -> dict[str, np.ndarray]:
    paths = {name: golden_root / "paddlevideo/data" / name for name in VIDEOS}
    if not all(path.exists() for path in paths.values()):
        pytest.skip("the golden videos are not here")
    return {
        name: np.stack([np.asarray(image) for image in decode_frames(path)])
        for name, path in paths.items()
    }


def config(kind: str, video: str, **overrides: Any) -> CfgNode:
    settings = {
        "DATA.WINDOW": "paddle",
        "DATA.FPS": VIDEOS[video],
        "DATA.IMAGE_SIZE": 32,
        "DATA.TEST_SHORT_SIDE": 32,
        "TEST.NUM_CROPS": 3,
        **RECIPES[kind],
        **{key.replace("__", "."): value for key, value in overrides.items()},
    }
    return load_cfg_text("", "test", [str(word) for pair in settings.items() for word in pair])


def released_views(array: np.ndarray, num_crops: int) -> Tensor:
    """The released (3, crops * T, H, W) as (crops, T, 3, H, W)."""
    return torch.from_numpy(array).transpose(0, 1).unflatten(0, (num_crops, -1))


def views_of(cfg: CfgNode, frames: np.ndarray, split: str, num_crops: int) -> Tensor:
    """Our views, uint8 (crops, T, 3, H, W), through the data set of the test."""
    open_video: Any = lambda record: Decoded(frames)  # noqa: E731
    dataset = TestViews(
        [VideoRecord("video", len(frames), 0, 1)],
        open_video,
        protocols.build_test_sampling(cfg, split),
        short_side=protocols.test_short_side(cfg, split),
        image_size=cfg.DATA.IMAGE_SIZE,
        num_crops=num_crops,
        crops=VIEW_CROPS[cfg.TEST.CROPS],
    )
    views = dataset[0]
    assert not views.error
    return views.distinct[views.view_of]


def float_views(cfg: CfgNode, frames: np.ndarray, num_crops: int) -> Tensor:
    """The views in the release's float arithmetic: normalised before the resize."""
    (clip,) = protocols.build_test_sampling(cfg, "test")(len(frames))
    images = torch.from_numpy(frames[clip]).permute(0, 3, 1, 2)  # (T, 3, H, W)
    images = normalize(images, cfg.DATA.PIXEL_MEAN, cfg.DATA.PIXEL_STD)
    crops, side = VIEW_CROPS[cfg.TEST.CROPS], cfg.DATA.IMAGE_SIZE
    resized = crops.resize(images, cfg.DATA.TEST_SHORT_SIDE)
    boxes = crops.boxes(*resized.shape[-2:], side, num_crops)
    return torch.stack([crop(resized, box, side) for box in boxes])


assert_within = partial(torch.testing.assert_close, rtol=0)


@pytest.mark.parametrize("video", VIDEOS)
def test_decoded_frames_of_every_window_are_the_releases(
    decoded: dict[str, np.ndarray], golden_root: Path, video: str
) -> None:
    frames = decoded[video]
    rows = json.loads((golden_root / "paddlevideo/data/decoder.json").read_text())
    rows = [row for row in rows if row["video"] == video and "mode" in row]
    assert len(rows) == 10
    for row in rows:
        rng: Any = PythonRng(row["seed"]) if row["mode"] != "test" else None
        first, length, _ = paddle_window(len(frames), row["num_seg"], VIDEOS[video], rng)
        kept = frames[first : first + length]
        # exact with the same FFmpeg; another may round a colour otherwise
        assert kept[0].mean() == pytest.approx(row["frame_mean_first"], abs=0.5)
        assert kept[-1].mean() == pytest.approx(row["frame_mean_last"], abs=0.5)
        if av.__version__ == "18.1.0":
            assert zlib.crc32(kept.tobytes()) == row["crc32"]


def test_whole_videos_have_the_means_of_the_other_decoders(
    decoded: dict[str, np.ndarray], golden_root: Path
) -> None:
    rows = json.loads((golden_root / "paddlevideo/data/decoder.json").read_text())
    for row in (row for row in rows if "backend" in row):
        frames = decoded[row["video"]]
        assert len(frames) == row["frames_len"]
        np.testing.assert_allclose(frames.mean((0, 1, 2)), row["channel_means"], atol=0.5)


@pytest.mark.parametrize("video", VIDEOS)
@pytest.mark.parametrize(
    ("source", "name"),
    [("pipelines", "{}_test/{}"), ("predict", "helper/{}/{}")],
)
@pytest.mark.parametrize("kind", RECIPES)
def test_test_views_are_the_releases(
    decoded: dict[str, np.ndarray], golden: Golden, kind: str, source: str, name: str, video: str
) -> None:
    arrays, key = golden(f"paddlevideo/data/{source}.npz"), name.format(kind, video)
    if key not in arrays:
        pytest.skip(f"{key} is not in the part of the golden data that is here")
    cfg, array = config(kind, video), arrays[key]
    expected = released_views(array if array.ndim == 4 else array[0], num_crops=3)
    order = list(RELEASED_ORDER[kind])
    exact = float_views(cfg, decoded[video], num_crops=3)[order]
    assert_within(exact, expected, atol=FLOAT_TOLERANCE)
    views = views_of(cfg, decoded[video], "test", num_crops=3)[order]
    mean, std = cfg.DATA.PIXEL_MEAN, cfg.DATA.PIXEL_STD
    assert_within(normalize(views, mean, std), expected, atol=HALF_A_LEVEL / std[0])


@pytest.mark.parametrize("video", VIDEOS)
def test_validation_clips_are_the_releases_from_its_random_start(
    decoded: dict[str, np.ndarray], golden: Golden, video: str
) -> None:
    arrays, key = golden("paddlevideo/data/pipelines.npz"), f"ppts_valid/{video}"
    if key not in arrays:
        pytest.skip(f"{key} is not in the part of the golden data that is here")
    expected = torch.from_numpy(arrays[key]).transpose(0, 1)  # (T, 3, 28, 28)
    frames, rng = decoded[video], PythonRng(70)
    clip = linspace_clip(len(frames), 8, VIDEOS[video], rng)  # type: ignore[arg-type]
    images = torch.from_numpy(frames[clip]).permute(0, 3, 1, 2).float() / 255
    resized = jitter_scale(images, 32)
    (box,) = uniform_boxes(*resized.shape[-2:], 28, num_crops=1)
    assert_within(crop(resized, box, 28), expected, atol=FLOAT_TOLERANCE)


@pytest.mark.parametrize("video", VIDEOS)
def test_our_validation_is_the_same_crop_from_the_first_frame(
    decoded: dict[str, np.ndarray], video: str
) -> None:
    overrides = {"DATA__IMAGE_SIZE": 28, "DATA__TEST_SHORT_SIDE": 28, "VAL__SHORT_SIDE": 32}
    patch = {"MODEL__VIT__PATCH_SIZE": 14}  # a divisor of 28
    cfg = config("ppts", video, VAL__NUM_CROPS=1, **overrides, **patch)
    frames = decoded[video]
    (view,) = views_of(cfg, frames, "val", num_crops=1)
    clip = linspace_clip(len(frames), 8, VIDEOS[video])
    resized = jitter_scale(torch.from_numpy(frames[clip]).permute(0, 3, 1, 2), 32)
    (box,) = uniform_boxes(*resized.shape[-2:], 28, num_crops=1)
    assert torch.equal(view, crop(resized, box, 28))
