from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from yacs.config import CfgNode

from config import load_cfg_text
from config.checks import CHOICES
from datasets import paddle_sampling, sampling
from datasets.annotations import VideoRecord
from datasets.augment.multi_scale import MultiScaleTransform, tsm_crop_boxes, tsm_resize
from datasets.augment.random_changes import RandomChanges
from datasets.augment.scale_jitter import ScaleJitterTransform
from datasets.augment.short_side import crop
from datasets.loaders import TestViews, build_train_loader, build_view_loader, read_records
from datasets.protocols import (
    SAMPLINGS,
    TRAIN_CROPS,
    build_test_sampling,
    build_train_sampling,
    build_train_transform,
    describe_protocol,
    num_test_clips,
)
from datasets.readers import FrameFolder
from datasets.view_crops import VIEW_CROPS


def config(**overrides: Any) -> CfgNode:
    words = [str(word) for pair in overrides.items() for word in pair]
    return load_cfg_text("", "test", [word.replace("__", ".") for word in words])


def test_tables_hold_the_choices_of_the_config() -> None:
    tables = {"DATA.SAMPLING": SAMPLINGS, "AUG.CROP": TRAIN_CROPS, "TEST.CROPS": VIEW_CROPS}
    assert {key: CHOICES[key] for key in tables} == {key: (*tables[key],) for key in tables}


@pytest.mark.parametrize("num_frames", [1, 7, 100])
@pytest.mark.parametrize("split", ["val", "test"])
@pytest.mark.parametrize("twice", [False, True])
@pytest.mark.parametrize(
    "name", ["dense", "mmaction_dense", "uniform", "tsn", "tsm_dense", "linspace", "paddle_dense"]
)
def test_the_protocol_has_as_many_clips_as_it_says(
    name: str, twice: bool, split: str, num_frames: int
) -> None:
    cfg = config(DATA__SAMPLING=name, DATA__UNIFORM_TWICE=twice)
    clips = build_test_sampling(cfg, split)(num_frames)
    assert clips.shape == (num_test_clips(cfg, split), 8)
    assert clips.dtype == np.int64
    assert build_train_sampling(cfg)(num_frames, rng=np.random.default_rng(0)).shape == (8,)


def test_tsm_samples_as_released_and_twice_in_the_test_alone() -> None:
    cfg = config(DATA__SAMPLING="tsn", DATA__UNIFORM_TWICE=True)
    assert build_test_sampling(cfg, "val")(8).tolist() == [[0] * 8]
    assert build_test_sampling(cfg, "test")(8).tolist() == [list(range(8))] * 2
    assert describe_protocol(cfg).startswith("2x3 views, tsn 8, short side 224, crop 224")


def test_dense_validation_starts_at_random_but_the_same_every_time() -> None:
    starts = [
        int(build_test_sampling(config(DATA__SAMPLING="tsm_dense", SEED=seed), "val")(300)[0, 0])
        for seed in (0, 0, 1, 2, 3)
    ]
    assert starts[0] == starts[1]
    assert len(set(starts)) > 2
    test_clips = build_test_sampling(config(DATA__SAMPLING="tsm_dense"), "test")(300)
    np.testing.assert_array_equal(test_clips, sampling.tsm_dense_clips(300, 8))


def test_paddlevideos_samplings_take_the_whole_video_or_its_decoders_window() -> None:
    spread = {"DATA__SAMPLING": "linspace"}
    dense = {"DATA__SAMPLING": "paddle_dense"}
    window = {"DATA__WINDOW": "paddle", "DATA__FPS": 25.0}
    for split in ("val", "test"):

        def clip(split: str = split, **overrides: Any) -> list[int]:
            (indices,) = build_test_sampling(config(**overrides), split)(600)
            return indices.tolist()

        assert clip(**spread) == paddle_sampling.linspace_clip(600, 8).tolist()
        assert clip(**spread, **window) == paddle_sampling.linspace_clip(600, 8, 25.0).tolist()
        assert clip(**dense) == paddle_sampling.uniform_clip(600, 8).tolist()
        assert clip(**dense, **window) == paddle_sampling.uniform_clip(600, 8, 25.0).tolist()


def test_paddlevideos_samplings_train_on_random_clips() -> None:
    def clip(seed: int, **overrides: Any) -> list[int]:
        rng = np.random.default_rng(seed)
        return build_train_sampling(config(**overrides))(600, rng=rng).tolist()

    for seed in range(5):
        rng = np.random.default_rng(seed)
        spread = clip(seed, DATA__SAMPLING="linspace")
        assert spread == sampling.tsn_uniform(600, 8, rng).tolist()
        rng = np.random.default_rng(seed)
        windowed = clip(seed, DATA__SAMPLING="linspace", DATA__WINDOW="paddle", DATA__FPS=25.0)
        assert windowed == paddle_sampling.linspace_clip(600, 8, 25.0, rng).tolist()
        for window, fps in (("whole", None), ("paddle", 30.0)):
            rng = np.random.default_rng(seed)
            dense = clip(seed, DATA__SAMPLING="paddle_dense", DATA__WINDOW=window)
            assert dense == paddle_sampling.dense_clip(600, 8, rng, fps).tolist()


def test_sixteen_frames_take_one_key() -> None:
    for name in ("linspace", "paddle_dense"):
        for window in ("whole", "paddle"):
            cfg = config(DATA__SAMPLING=name, DATA__WINDOW=window, DATA__NUM_FRAMES=16)
            assert build_test_sampling(cfg, "test")(600).shape == (1, 16)
            assert build_train_sampling(cfg)(600, rng=np.random.default_rng(0)).shape == (16,)
    spread = config(DATA__SAMPLING="linspace", DATA__WINDOW="paddle", DATA__NUM_FRAMES=16)
    assert "16 of the first 17.07 s" in describe_protocol(spread)


def test_every_augmentation_can_be_followed_by_random_changes() -> None:
    for name in ("short_side", "multi_scale", "scale_jitter"):
        plain = config(AUG__CROP=name, AUG__ERASING_PROB=0.0)
        assert not isinstance(build_train_transform(plain), RandomChanges)
        for changes in ({"AUG__ERASING_PROB": 0.25}, {"AUG__RANDAUG_NUM_OPS": 2}):
            transform = build_train_transform(config(AUG__CROP=name, **changes))
            assert isinstance(transform, RandomChanges)
            assert type(transform.first) is type(build_train_transform(plain))


def test_the_config_chooses_the_augmentation() -> None:
    cfg = config(AUG__CROP="multi_scale_rounded", AUG__CROP_SCALES=[1, 0.5], AUG__FLIP=False)
    transform = build_train_transform(cfg)
    assert isinstance(transform, MultiScaleTransform)
    assert transform.rounds_places
    assert not transform.flip
    assert transform.scales == [1, 0.5]
    cfg = config(AUG__CROP="scale_jitter", AUG__SHORT_SIDE_RANGE=[256, 320], AUG__FLIP=False)
    jitter = build_train_transform(cfg)
    assert isinstance(jitter, ScaleJitterTransform)
    assert jitter.short_side_range == [256, 320]
    assert not jitter.flip


@pytest.fixture
def noise(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for name, (height, width), count in (("wide", (50, 83), 12), ("tall", (70, 53), 2)):
        (tmp_path / name).mkdir()
        for number in range(1, count + 1):
            frame = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
            Image.fromarray(frame).save(tmp_path / name / f"{number:05d}.png")
    (tmp_path / "list.txt").write_text("wide 12 0\ntall 2 1\n")
    return tmp_path


Open = Callable[[VideoRecord], FrameFolder]


@pytest.mark.parametrize("num_crops", [1, 3, 5])
@pytest.mark.parametrize("video", [0, 1])
def test_views_are_the_crops_by_definition_the_centre_first(
    noise: Path, num_crops: int, video: int
) -> None:
    records = [VideoRecord("wide", 12, 0, 1), VideoRecord("tall", 2, 1, 2)]
    open_video: Open = lambda record: FrameFolder(noise / record.path, "{:05d}.png")  # noqa: E731
    sample = partial(sampling.tsm_clips, num_segments=4, twice=True)
    dataset = TestViews(records, open_video, sample, 40, 32, num_crops, True, VIEW_CROPS["tsm"])
    views = dataset[video]
    expected = []
    for clip in sample(records[video].num_frames):
        frames = torch.from_numpy(open_video(records[video]).read(clip)).permute(0, 3, 1, 2)
        resized = tsm_resize(frames, 40)
        boxes = tsm_crop_boxes(*resized.shape[-2:], 32, num_crops)
        cuts = [crop(resized, box, 32) for box in (boxes[-1], *boxes[:-1])]
        expected += cuts + [cut.flip(-1) for cut in cuts]
    assert torch.equal(views.distinct[views.view_of], torch.stack(expected))


def test_loaders_follow_the_config(noise: Path, caplog: pytest.LogCaptureFixture) -> None:
    cfg = config(
        MODEL__NAME="tsm",
        MODEL__BACKBONE="resnet50",
        MODEL__NUM_CLASSES=2,
        DATA__ROOT=noise,
        DATA__TRAIN_LIST=noise / "list.txt",
        DATA__VAL_LIST=noise / "list.txt",
        DATA__FRAME_TEMPLATE="{:05d}.png",
        DATA__SAMPLING="tsn",
        DATA__NUM_FRAMES=4,
        DATA__MIN_FRAMES=3,
        DATA__IMAGE_SIZE=32,
        DATA__TEST_SHORT_SIDE=48,
        DATA__WORKERS=0,
        AUG__CROP="multi_scale",
        AUG__JITTER_ONE_IN=0,
        TRAIN__CLIPS_PER_GPU=1,
        VAL__NUM_CROPS=1,
        TEST__CROPS="tsm",
        TEST__IMAGE_SIZE=48,
    )
    records = read_records(cfg, "train")
    assert [record.path for record in records] == ["wide"]
    assert "left out 1 of 2 videos" in caplog.text
    (batch,) = build_train_loader(cfg, records, 0, 1)
    assert batch.clips.shape == (1, 4, 3, 32, 32)
    shapes = [
        next(iter(build_view_loader(cfg, records, split, 0, 1)))[0].distinct.shape
        for split in ("val", "test")
    ]
    assert shapes == [(1, 4, 3, 32, 32), (3, 4, 3, 48, 48)]


@pytest.mark.parametrize(
    ("overrides", "text"),
    [
        ({"AUG__CROP": "multiscale"}, "AUG.CROP"),
        ({"AUG__CROP_SCALES": [1.5]}, "AUG.CROP_SCALES"),
        ({"DATA__SAMPLING": "tsm_dense", "DATA__NUM_FRAMES": 65}, "DATA.NUM_FRAMES"),
        ({"TEST__IMAGE_SIZE": 256}, "TEST.IMAGE_SIZE"),
        ({"TEST__CROPS": "paddle"}, "TEST.CROPS"),
        ({"DATA__MIN_FRAMES": 0}, "DATA.MIN_FRAMES"),
        ({"TEST__CROPS": "tsm", "DATA__TEST_SHORT_SIDE": 200}, "DATA.TEST_SHORT_SIDE"),
    ],
)
def test_values_that_cannot_work_are_refused(overrides: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        config(**overrides)


SMALL = {
    "DATA__NUM_FRAMES": 4,
    "DATA__FRAME_STRIDE": 3,
    "DATA__IMAGE_SIZE": 32,
    "DATA__TEST_SHORT_SIDE": 32,
}


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({}, "10x3 views, dense 4x3, short side 32, crop 32, logits averaged"),
        (
            {"TEST__FLIP": True, "TEST__AVERAGE_LOGITS": False, "TEST__EVEN_STARTS": True},
            "10x3 views and their mirror images, dense 4x3, short side 32, crop 32, "
            "probabilities averaged, clips spread evenly",
        ),
        (
            {"DATA__SAMPLING": "uniform", "DATA__UNIFORM_TWICE": True, "TEST__NUM_CROPS": 5},
            "2x5 views, uniform 4, short side 32, crop 32, logits averaged",
        ),
        (
            {"DATA__SAMPLING": "linspace", "DATA__WINDOW": "paddle", "TEST__CROPS": "uniform"},
            "1x3 views, linspace 4 of the first 4.27 s, short side 32, crop 32, logits averaged",
        ),
    ],
)
def test_protocol_is_told_in_words(overrides: dict[str, Any], words: str) -> None:
    assert describe_protocol(config(**SMALL, **overrides)) == words
