"""From the config to a split's sampling and augmentation; `datasets.loaders` builds the loaders."""

from collections.abc import Callable
from functools import partial

import numpy as np
from yacs.config import CfgNode

from datasets import paddle_sampling, sampling
from datasets.augment.multi_scale import MultiScaleTransform
from datasets.augment.random_changes import ClipTransform, RandomChanges
from datasets.augment.scale_jitter import ScaleJitterTransform
from datasets.augment.short_side import ColourChanges, TrainTransform

SEGMENT_SAMPLINGS = ("uniform", "tsn")
PADDLE_SAMPLINGS = ("linspace", "paddle_dense")


def num_test_clips(cfg: CfgNode, split: str) -> int:
    """Count the clips in time of each video in a split's protocol, ``val`` or ``test``."""
    if cfg.DATA.SAMPLING == "tsn" and split == "val":
        return 1
    if cfg.DATA.SAMPLING in SEGMENT_SAMPLINGS:
        return 2 if cfg.DATA.UNIFORM_TWICE else 1
    if cfg.DATA.SAMPLING in PADDLE_SAMPLINGS:
        return 1
    return cfg.VAL.NUM_CLIPS if split == "val" else cfg.TEST.NUM_CLIPS


def test_image_size(cfg: CfgNode, split: str) -> int:
    """Return the side of a split's crops, ``val`` or ``test``, in pixels."""
    return (split == "test" and cfg.TEST.IMAGE_SIZE) or cfg.DATA.IMAGE_SIZE


def test_short_side(cfg: CfgNode, split: str) -> int:
    """Return the short side that a split's frames are resized to, ``val`` or ``test``, pixels."""
    return (split == "val" and cfg.VAL.SHORT_SIDE) or cfg.DATA.TEST_SHORT_SIDE


def describe_protocol(cfg: CfgNode) -> str:
    """Say in one line what the test's views are and how they are combined."""
    data, clips = cfg.DATA, num_test_clips(cfg, "test")
    frames = f"{data.NUM_FRAMES}"
    if data.SAMPLING == "dense":
        frames += f"x{data.FRAME_STRIDE}"
    seconds = paddle_sampling.window_seconds(data.NUM_FRAMES)
    window = f" of the first {seconds:.2f} s" if data.WINDOW == "paddle" else ""
    spreads = cfg.TEST.EVEN_STARTS and data.SAMPLING == "dense"
    return (
        f"{clips}x{cfg.TEST.NUM_CROPS} views{' and their mirror images' if cfg.TEST.FLIP else ''}, "
        f"{data.SAMPLING} {frames}{window}, short side {data.TEST_SHORT_SIDE}, "
        f"crop {test_image_size(cfg, 'test')}, "
        f"{'logits' if cfg.TEST.AVERAGE_LOGITS else 'probabilities'} averaged"
        f"{', clips spread evenly' if spreads else ''}"
        f"{f', videos of {data.MIN_FRAMES} frames or more' if data.MIN_FRAMES > 1 else ''}"
    )


def build_train_transform(cfg: CfgNode) -> ClipTransform:
    """Build the augmentation of the training clips."""
    aug = cfg.AUG
    transform = _build_crop(cfg)
    if not (aug.RANDAUG_NUM_OPS or aug.ERASING_PROB):
        return transform
    return RandomChanges(
        transform,
        num_ops=aug.RANDAUG_NUM_OPS,
        magnitude=aug.RANDAUG_MAGNITUDE,
        erasing_prob=aug.ERASING_PROB,
        fill=cfg.DATA.PIXEL_MEAN,
    )


def _build_crop(cfg: CfgNode) -> ClipTransform:
    """Build what AUG.CROP names, with its mirror and colours."""
    aug, image_size = cfg.AUG, cfg.DATA.IMAGE_SIZE
    colours = (aug.JITTER_ONE_IN, aug.BRIGHTNESS, aug.SATURATION, aug.GAMMA, aug.HUE)
    if aug.CROP == "short_side":
        return TrainTransform(image_size, aug.SHORT_SIDE_RANGE, aug.FLIP, *colours)
    if aug.CROP == "scale_jitter":
        return ScaleJitterTransform(
            image_size, aug.SHORT_SIDE_RANGE, aug.FLIP, ColourChanges(*colours)
        )
    return MultiScaleTransform(
        image_size,
        aug.CROP_SCALES,
        flip=aug.FLIP,
        rounds_places=aug.CROP == "multi_scale_rounded",
        colours=ColourChanges(*colours),
    )


def build_train_sampling(cfg: CfgNode) -> Callable[..., np.ndarray]:
    """Build the function from (number of frames, rng=generator) to a training clip's indices."""
    data = cfg.DATA
    if data.SAMPLING == "dense":
        return partial(
            sampling.random_dense_clip,
            clip_len=data.NUM_FRAMES,
            stride=data.FRAME_STRIDE,
            draws_last_start=data.DRAWS_LAST_START,
        )
    if data.SAMPLING == "tsm_dense":
        return partial(
            sampling.tsm_dense_clip,
            num_segments=data.NUM_FRAMES,
            draws_last_start=data.DRAWS_LAST_START,
        )
    if data.SAMPLING == "paddle_dense":
        return partial(
            paddle_sampling.dense_clip,
            num_segments=data.NUM_FRAMES,
            fps=_window_fps(cfg),
            draws_last_start=data.DRAWS_LAST_START,
        )
    if data.WINDOW == "paddle":
        fps = _window_fps(cfg)
        return partial(paddle_sampling.linspace_clip, num_segments=data.NUM_FRAMES, fps=fps)
    pick = sampling.tsm_segments if data.SAMPLING == "tsn" else sampling.tsn_uniform
    return partial(pick, num_segments=data.NUM_FRAMES)


def build_test_sampling(cfg: CfgNode, split: str) -> Callable[[int], np.ndarray]:
    """Build the function from the number of frames to a video's indices, (num_clips, T).

    Args:
        cfg: The config.
        split: ``val`` or ``test``.
    """
    data, num_clips = cfg.DATA, num_test_clips(cfg, split)
    if data.SAMPLING == "dense":
        return partial(
            sampling.dense_clips,
            clip_len=data.NUM_FRAMES,
            stride=data.FRAME_STRIDE,
            num_clips=num_clips,
            even_starts=cfg.TEST.EVEN_STARTS,
        )
    if data.SAMPLING == "uniform":
        return partial(
            sampling.tsn_uniform_clips,
            num_segments=data.NUM_FRAMES,
            twice=data.UNIFORM_TWICE,
            as_released=data.UNIFORM_AS_RELEASED,
        )
    if data.SAMPLING in PADDLE_SAMPLINGS:
        return _build_paddle_test_sampling(cfg)
    if data.SAMPLING == "tsn":
        return _build_tsn_test_sampling(cfg, split)
    if split == "val" and num_clips == 1:
        return partial(_validation_window, num_segments=data.NUM_FRAMES, seed=cfg.SEED)
    return partial(sampling.tsm_dense_clips, num_segments=data.NUM_FRAMES, num_clips=num_clips)


def _build_paddle_test_sampling(cfg: CfgNode) -> Callable[[int], np.ndarray]:
    is_spread = cfg.DATA.SAMPLING == "linspace"
    pick: Callable[..., np.ndarray] = (
        paddle_sampling.linspace_clip if is_spread else paddle_sampling.uniform_clip
    )
    fps = _window_fps(cfg)
    return partial(_one_clip, pick=partial(pick, num_segments=cfg.DATA.NUM_FRAMES, fps=fps))


def _build_tsn_test_sampling(cfg: CfgNode, split: str) -> Callable[[int], np.ndarray]:
    T = cfg.DATA.NUM_FRAMES
    if split == "test":
        return partial(sampling.tsm_clips, num_segments=T, twice=cfg.DATA.UNIFORM_TWICE)
    return partial(_one_clip, pick=partial(sampling.tsm_centres, num_segments=T))


def _window_fps(cfg: CfgNode) -> float | None:
    """Return the frames a second that PaddleVideo's window goes by; None for the whole video."""
    return cfg.DATA.FPS if cfg.DATA.WINDOW == "paddle" else None


def _one_clip(num_frames: int, pick: Callable[[int], np.ndarray]) -> np.ndarray:
    return pick(num_frames)[None]  # (1, T)


def _validation_window(num_frames: int, num_segments: int, seed: int) -> np.ndarray:
    """Draw the start of a dense validation clip, as released, but the same one in every epoch."""
    rng = np.random.default_rng((seed, num_frames))
    return sampling.tsm_dense_clip(num_frames, num_segments, rng)[None]
