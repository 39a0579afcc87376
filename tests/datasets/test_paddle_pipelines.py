"""PaddleVideo's whole pipelines: file, window, indices, resize, crops, normalised clip."""

import functools
import random
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

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
from datasets.decode.video_file import VideoFile
from datasets.paddle_sampling import linspace_clip, paddle_window
from datasets.view_crops import VIEW_CROPS
from datasets.views import TestViews
from tests.conftest import golden_arrays, golden_names, stated_number

av = pytest.importorskip("av")

Golden = Callable[[str], dict[str, Any]]

DATA = "paddlevideo/data"
VIDEOS = [
    Path(name).name for suffix in ("mp4", "avi") for name in golden_names(f"{DATA}/*.{suffix}")
]
RECIPES = {
    "ppts": {
        "DATA.SAMPLING": "linspace",
        "TEST.CROPS": "uniform",
        "DATA.PIXEL_MEAN": [0.0, 0.0, 0.0],
        "DATA.PIXEL_STD": [1.0, 1.0, 1.0],
    },
    "tokenshift": {"DATA.SAMPLING": "paddle_dense", "TEST.CROPS": "multi_centre"},
}
NUM_CROPS = 3  # in a test of either
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


class Video(NamedTuple):
    """A golden video: all its frames, uint8 (F, H, W, 3), and how many a second has."""

    frames: np.ndarray
    fps: float


@pytest.fixture(scope="module")
def decoded(golden_path: Callable[[str], Path]) -> Callable[[str], Video]:
    @functools.cache
    def decode(name: str) -> Video:
        path = golden_path(f"{DATA}/{name}")
        frames = np.stack([np.asarray(image) for image in decode_frames(path)])
        return Video(frames, VideoFile(path).fps)

    return decode


def config(kind: str, video: Video, **settings: Any) -> CfgNode:
    """The config of a recipe on a video, with overrides given as SECTION__KEY=value."""
    words = {key.replace("__", "."): value for key, value in settings.items()}
    words = {"DATA.WINDOW": "paddle", "DATA.FPS": video.fps, **RECIPES[kind], **words}
    return load_cfg_text("", "test", [str(word) for pair in words.items() for word in pair])


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


@pytest.mark.parametrize("name", VIDEOS)
def test_decoded_frames_of_every_window_are_the_releases(
    decoded: Callable[[str], Video], golden_json: Callable[[str], Any], name: str
) -> None:
    video = decoded(name)
    rows = [row for row in golden_json(f"{DATA}/decoder.json") if row["video"] == name]
    assert rows
    for row in (row for row in rows if "mode" in row):
        rng: Any = PythonRng(row["seed"]) if row["mode"] != "test" else None
        window = paddle_window(len(video.frames), row["num_seg"], video.fps, rng)
        kept = video.frames[window.first : window.first + window.num_frames]
        # exact with the same FFmpeg; another may round a colour otherwise
        assert kept[0].mean() == pytest.approx(row["frame_mean_first"], abs=0.5)
        assert kept[-1].mean() == pytest.approx(row["frame_mean_last"], abs=0.5)
        if av.__version__ == "18.1.0":
            assert zlib.crc32(kept.tobytes()) == row["crc32"]


def test_whole_videos_have_the_means_of_the_other_decoders(
    decoded: Callable[[str], Video], golden_json: Callable[[str], Any]
) -> None:
    for row in (row for row in golden_json(f"{DATA}/decoder.json") if "backend" in row):
        frames = decoded(row["video"]).frames
        assert len(frames) == row["frames_len"]
        np.testing.assert_allclose(frames.mean((0, 1, 2)), row["channel_means"], atol=0.5)


@pytest.mark.parametrize(
    ("source", "key", "kind", "name"),
    [
        *(
            ("pipelines", "{}_test/{}", *case)
            for case in golden_arrays(f"{DATA}/pipelines.npz", rf"({'|'.join(RECIPES)})_test/(.+)")
        ),
        *(
            ("predict", "helper/{}/{}", *case)
            for case in golden_arrays(f"{DATA}/predict.npz", rf"helper/({'|'.join(RECIPES)})/(.+)")
        ),
    ],
)
def test_test_views_are_the_releases(
    decoded: Callable[[str], Video], golden: Golden, source: str, key: str, kind: str, name: str
) -> None:
    array = golden(f"{DATA}/{source}.npz")[key.format(kind, name)]
    expected = released_views(array if array.ndim == 4 else array[0], NUM_CROPS)
    T, side, video = expected.shape[1], expected.shape[-1], decoded(name)
    # the crops are as large as the short side, as in the recipes
    cfg = config(
        *(kind, video),
        DATA__NUM_FRAMES=T,
        DATA__IMAGE_SIZE=side,
        DATA__TEST_SHORT_SIDE=side,
        MODEL__VIT__PATCH_SIZE=side,
        TEST__NUM_CROPS=NUM_CROPS,
    )
    order = list(RELEASED_ORDER[kind])
    exact = float_views(cfg, video.frames, NUM_CROPS)[order]
    assert_within(exact, expected, atol=FLOAT_TOLERANCE)
    views = views_of(cfg, video.frames, "test", NUM_CROPS)[order]
    mean, std = cfg.DATA.PIXEL_MEAN, cfg.DATA.PIXEL_STD
    assert_within(normalize(views, mean, std), expected, atol=HALF_A_LEVEL / std[0])


@pytest.mark.parametrize("name", golden_arrays(f"{DATA}/pipelines.npz", r"ppts_valid/(.+)"))
def test_validation_clips_are_the_releases_from_its_random_start(
    decoded: Callable[[str], Video], golden: Golden, name: str
) -> None:
    arrays = golden(f"{DATA}/pipelines.npz")
    expected = torch.from_numpy(arrays[f"ppts_valid/{name}"]).transpose(0, 1)  # (T, 3, H, W)
    T, side, (frames, fps) = len(expected), expected.shape[-1], decoded(name)
    [short_side] = {arrays[key].shape[-1] for key in arrays if key.startswith("ppts_test/")}
    seed = stated_number("paddlevideo", r"both RNGs seeded with (\d+) first", default=70)
    clip = linspace_clip(len(frames), T, fps, PythonRng(seed))  # type: ignore[arg-type]
    images = torch.from_numpy(frames[clip]).permute(0, 3, 1, 2).float() / 255
    resized = jitter_scale(images, short_side)
    (box,) = uniform_boxes(*resized.shape[-2:], side, num_crops=1)
    assert_within(crop(resized, box, side), expected, atol=FLOAT_TOLERANCE)


@pytest.mark.parametrize("name", VIDEOS)
def test_our_validation_is_the_same_crop_from_the_first_frame(
    decoded: Callable[[str], Video], name: str
) -> None:
    frames, fps = video = decoded(name)
    cfg = config(
        *("ppts", video),
        DATA__IMAGE_SIZE=28,
        DATA__TEST_SHORT_SIDE=28,
        VAL__SHORT_SIDE=32,
        VAL__NUM_CROPS=1,
        MODEL__VIT__PATCH_SIZE=14,  # a divisor of 28
    )
    (view,) = views_of(cfg, frames, "val", num_crops=1)
    clip = linspace_clip(len(frames), cfg.DATA.NUM_FRAMES, fps)
    resized = jitter_scale(torch.from_numpy(frames[clip]).permute(0, 3, 1, 2), 32)
    (box,) = uniform_boxes(*resized.shape[-2:], 28, num_crops=1)
    assert torch.equal(view, crop(resized, box, 28))
