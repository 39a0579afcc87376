"""From the config to a split's sampling and augmentation; `datasets.video` builds the loaders."""

from collections.abc import Callable
from functools import partial

import numpy as np
from yacs.config import CfgNode

from datasets import sampling
from datasets.crops import MultiScaleTransform
from datasets.transforms import ColourChanges, TrainTransform

SEGMENT_SAMPLINGS = ("uniform", "tsn")


def num_test_clips(cfg: CfgNode, split: str) -> int:
    """Count the clips in time of each video in a split's protocol, ``val`` or ``test``."""
    if cfg.DATA.SAMPLING == "tsn" and split == "val":
        return 1
    if cfg.DATA.SAMPLING in SEGMENT_SAMPLINGS:
        return 2 if cfg.DATA.UNIFORM_TWICE else 1
    return cfg.VAL.NUM_CLIPS if split == "val" else cfg.TEST.NUM_CLIPS


def test_image_size(cfg: CfgNode, split: str) -> int:
    """Return the side of a split's crops, ``val`` or ``test``, in pixels."""
    return (split == "test" and cfg.TEST.IMAGE_SIZE) or cfg.DATA.IMAGE_SIZE


def describe_protocol(cfg: CfgNode) -> str:
    """Say in one line what the test's views are and how they are combined."""
    data, clips = cfg.DATA, num_test_clips(cfg, "test")
    frames = f"{data.NUM_FRAMES}"
    if data.SAMPLING == "dense":
        frames += f"x{data.FRAME_STRIDE}"
    spreads = cfg.TEST.EVEN_STARTS and data.SAMPLING == "dense"
    return (
        f"{clips}x{cfg.TEST.NUM_CROPS} views{' and their mirror images' if cfg.TEST.FLIP else ''}, "
        f"{data.SAMPLING} {frames}, short side {data.TEST_SHORT_SIDE}, "
        f"crop {test_image_size(cfg, 'test')}, "
        f"{'logits' if cfg.TEST.AVERAGE_LOGITS else 'probabilities'} averaged"
        f"{', clips spread evenly' if spreads else ''}"
        f"{f', videos of {data.MIN_FRAMES} frames or more' if data.MIN_FRAMES > 1 else ''}"
    )


def build_train_transform(cfg: CfgNode) -> TrainTransform | MultiScaleTransform:
    """Build the augmentation of the training clips."""
    aug = cfg.AUG
    colours = (aug.JITTER_ONE_IN, aug.BRIGHTNESS, aug.SATURATION, aug.GAMMA, aug.HUE)
    if aug.CROP == "short_side":
        return TrainTransform(cfg.DATA.IMAGE_SIZE, aug.SHORT_SIDE_RANGE, aug.FLIP, *colours)
    return MultiScaleTransform(
        cfg.DATA.IMAGE_SIZE,
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
    pick = sampling.tsn_uniform if data.SAMPLING == "uniform" else sampling.tsm_segments
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
    if data.SAMPLING == "tsn" and split == "test":
        return partial(sampling.tsm_clips, num_segments=data.NUM_FRAMES, twice=num_clips == 2)
    if data.SAMPLING == "tsn":
        return partial(_validation_centres, num_segments=data.NUM_FRAMES)
    if split == "val" and num_clips == 1:
        return partial(_validation_window, num_segments=data.NUM_FRAMES, seed=cfg.SEED)
    return partial(sampling.tsm_dense_clips, num_segments=data.NUM_FRAMES, num_clips=num_clips)


def _validation_centres(num_frames: int, num_segments: int) -> np.ndarray:
    return sampling.tsm_centres(num_frames, num_segments)[None]


def _validation_window(num_frames: int, num_segments: int, seed: int) -> np.ndarray:
    """Draw the start of a dense validation clip, as released, but the same one in every epoch."""
    rng = np.random.default_rng((seed, num_frames))
    return sampling.tsm_dense_clip(num_frames, num_segments, rng)[None]
