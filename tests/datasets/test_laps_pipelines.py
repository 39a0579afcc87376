"""Whole items of TokShift's second version: file, window, colours, resize, crop."""

import random
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from yacs.config import CfgNode

from config import load_cfg_text
from datasets.annotations import VideoRecord
from datasets.loaders import build_clip_maker, build_test_views
from datasets.records import open_frames
from datasets.video_suffixes import VIDEO_SUFFIXES
from ops.pixels import normalize
from tests.conftest import golden_arrays

pytest.importorskip("av")

ITEMS = "laps/items.npz"
RELEASED_ORDER = (1, 0, 2)  # left or top, centre, right or bottom, of our crops: the centre first
# Half precision near 1; another FFmpeg may round a colour otherwise, and a change enlarge it.
TOLERANCE = 1e-3

Golden = Callable[[str], dict[str, Any]]


class ReleasedRng:
    """The release's two generators: python's draws the start, numpy's all that follows."""

    def __init__(self, seed: int, legacy_rng: Any) -> None:
        self.python, self.numpy = random.Random(seed), legacy_rng(seed)
        self.integers = self.numpy.integers
        self.is_started = False

    def uniform(self, *bounds: float) -> float:
        if not self.is_started:
            self.is_started = True
            return self.python.uniform(*bounds)
        return self.numpy.uniform(*bounds)


def config(meta: dict[str, Any], num_crops: int = 3) -> CfgNode:
    size = str(meta["crop"])
    words = {
        "DATA.SAMPLING": "laps",
        "AUG.CROP": "laps",
        "TEST.CROPS": "laps",
        "DATA.NUM_FRAMES": str(meta["T"]),
        "DATA.FRAME_STRIDE": str(meta["step"]),
        "DATA.IMAGE_SIZE": size,
        "DATA.TEST_SHORT_SIDE": size,
        "AUG.SHORT_SIDE_RANGE": str(meta["train_scales"]),
        "TEST.NUM_CROPS": str(num_crops),
    }
    return load_cfg_text("", "test", [word for pair in words.items() for word in pair])


def assert_item(ours: Tensor, theirs: Any) -> None:
    expected = torch.from_numpy(theirs).float().transpose(0, 1)  # (T, 3, P, P)
    ours = normalize(ours, [0.5] * 3, [0.5] * 3)
    torch.testing.assert_close(ours, expected, rtol=0, atol=TOLERANCE)


@pytest.fixture
def record(golden: Golden, golden_path: Callable[[str], Path]) -> Callable[[int], VideoRecord]:
    def find(video: int) -> VideoRecord:
        path = golden_path(f"laps/videos/{golden(ITEMS)['meta']['videos'][video]}")
        assert path.suffix in VIDEO_SUFFIXES
        return VideoRecord(str(path), 0, video, 1)

    return find


@pytest.mark.parametrize(
    ("kind", "video", "view"), golden_arrays(ITEMS, r"(test|test1crop)\.(\d+)\.(\d+)")
)
def test_views_are_the_releases(
    golden: Golden, record: Callable[[int], VideoRecord], kind: str, video: int, view: int
) -> None:
    data = golden(ITEMS)
    num_crops = 1 if kind == "test1crop" else 3
    cfg = config(data["meta"], num_crops)
    views = build_test_views(cfg, [record(video)], "test", partial(open_frames, cfg))[0]
    assert not views.error
    clip, place = divmod(view, num_crops)
    ours = clip * num_crops + (RELEASED_ORDER[place] if num_crops == 3 else 0)
    assert_item(views.distinct[views.view_of[ours]], data[f"{kind}.{video}.{view}"])


@pytest.mark.parametrize(("video", "seed"), golden_arrays(ITEMS, r"train\.(\d+)\.s(\d+)"))
def test_training_clips_and_their_draws_are_the_releases(
    golden: Golden, record: Callable[[int], VideoRecord], legacy_rng: Any, video: int, seed: int
) -> None:
    data = golden(ITEMS)
    rng: Any = ReleasedRng(seed, legacy_rng)
    clip, label, _ = build_clip_maker(config(data["meta"])).make(record(video), rng)
    assert label == video
    assert_item(clip, data[f"train.{video}.s{seed}"])
    (drawn,) = (row[-2:] for row in data["meta"]["rows"] if row[:3] == ["train", video, seed])
    assert [rng.numpy.integers(1 << 30), rng.python.random()] == drawn
