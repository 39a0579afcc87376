"""From the config to a split's sampling and augmentation; `datasets.loaders` builds the loaders."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from yacs.config import CfgNode

from config.checks import value_at
from config.values import counted
from datasets import laps_sampling, paddle_sampling, sampling
from datasets.augment.laps import LAPS_CHANGES, LapsTransform
from datasets.augment.multi_scale import MultiScaleTransform
from datasets.augment.random_changes import ClipTransform, RandomChanges
from datasets.augment.scale_jitter import ScaleJitterTransform
from datasets.augment.short_side import ColourChanges, TrainTransform
from datasets.clock import Clock, TimedSample, changed

Sample = Callable[..., np.ndarray]
BuildSample = Callable[[CfgNode], Sample]

T = "DATA.NUM_FRAMES"
LAST_START = "DATA.DRAWS_LAST_START"


@dataclass(frozen=True)
class Sampling:
    """The samplings that a choice of DATA.SAMPLING stands for; each function takes the config.

    Attributes:
        train: Function from the config to that from (number of frames, rng=generator) to a training
            clip's indices, (T,).
        val: Function from the config to that from the number of frames to the clips of a
            validation, (num_clips, T).
        test: The same for a test.
        stride: Function from the config to the frames from one frame of a clip to the next; None:
            they depend on the video, over which the clip is spread.
        span: Function from the config to the frames that a clip spans; None: it spans the video.
        reads_stride: Whether DATA.FRAME_STRIDE has a meaning.
        reads_even_starts: Whether TEST.EVEN_STARTS has a meaning.
    """

    train: BuildSample
    val: BuildSample
    test: BuildSample
    stride: Callable[[CfgNode], int | None] = lambda cfg: None
    span: Callable[[CfgNode], int | None] = lambda cfg: None
    reads_stride: bool = False
    reads_even_starts: bool = False


def num_test_clips(cfg: CfgNode, split: str) -> int:
    """Count the clips in time of each video in a split's protocol, ``val`` or ``test``."""
    return len(build_test_sampling(cfg, split)(1))  # as many of any video


def test_image_size(cfg: CfgNode, split: str) -> int:
    """Return the side of a split's crops, ``val`` or ``test``, in pixels."""
    return (split == "test" and cfg.TEST.IMAGE_SIZE) or cfg.DATA.IMAGE_SIZE


def test_short_side(cfg: CfgNode, split: str) -> int:
    """Return the short side that a split's frames are resized to, ``val`` or ``test``, pixels."""
    return (split == "val" and cfg.VAL.SHORT_SIDE) or cfg.DATA.TEST_SHORT_SIDE


def describe_protocol(cfg: CfgNode) -> str:
    """Say in one line what the test's views are and how they are combined."""
    data, clips = cfg.DATA, num_test_clips(cfg, "test")
    chosen = SAMPLINGS[data.SAMPLING]
    frames = f"{data.NUM_FRAMES}" + (f"x{data.FRAME_STRIDE}" if chosen.reads_stride else "")
    seconds = paddle_sampling.window_seconds(data.NUM_FRAMES)
    averaged = "sigmoids" if data.MULTI_LABEL else "probabilities"
    window = f" of the first {seconds:.2f} s" if data.WINDOW == "paddle" else ""
    num_batches = cfg.TRAIN.MAX_ITERATIONS
    smoke = f"smoke run of {counted(num_batches, 'batch', 'batches')}, " if num_batches else ""
    mirrored = " and their mirror images" if cfg.TEST.FLIP else ""
    return (
        f"{smoke}{clips}x{cfg.TEST.NUM_CROPS} views{mirrored}, "
        f"{data.SAMPLING} {frames}{window}, short side {data.TEST_SHORT_SIDE}, "
        f"crop {test_image_size(cfg, 'test')}, "
        f"{'logits' if cfg.TEST.AVERAGE_LOGITS else averaged} averaged"
        f"{', clips spread evenly' if cfg.TEST.EVEN_STARTS and chosen.reads_even_starts else ''}"
        f"{f', videos of {data.MIN_FRAMES} frames or more' if data.MIN_FRAMES > 1 else ''}"
    )


def build_train_transform(cfg: CfgNode) -> ClipTransform:
    """Build the augmentation of the training clips."""
    aug = cfg.AUG
    transform = TRAIN_CROPS[aug.CROP](cfg)
    if not (aug.RANDAUG_NUM_OPS or aug.ERASING_PROB):
        return transform
    return RandomChanges(
        transform,
        num_ops=aug.RANDAUG_NUM_OPS,
        magnitude=aug.RANDAUG_MAGNITUDE,
        erasing_prob=aug.ERASING_PROB,
        fill=cfg.DATA.PIXEL_MEAN,
    )


def build_train_sampling(cfg: CfgNode) -> Sample:
    """Build the function from (number of frames, rng=generator) to a training clip's indices."""
    return SAMPLINGS[cfg.DATA.SAMPLING].train(cfg)


def build_test_sampling(cfg: CfgNode, split: str) -> Sample:
    """Build the function from the number of frames to a video's indices, (num_clips, T).

    Args:
        cfg: Config of the run.
        split: ``val`` or ``test``.
    """
    chosen = SAMPLINGS[cfg.DATA.SAMPLING]
    return (chosen.val if split == "val" else chosen.test)(cfg)


def _pick(function: Sample, **keys: str) -> BuildSample:
    """Name the keys of the config that give a function of frame indices its arguments."""
    return lambda cfg: partial(function, **{name: value_at(cfg, key) for name, key in keys.items()})


def _in_window(function: Sample, **keys: str) -> BuildSample:
    """Do so for a function of PaddleVideo's, which picks from a window or from the whole video."""
    build = _pick(function, num_segments=T, **keys)

    def build_windowed(cfg: CfgNode) -> Sample:
        pick = build(cfg)
        if cfg.DATA.WINDOW != "paddle":
            return pick
        return TimedSample(partial(_by_clock, pick=pick), Clock(cfg.DATA.FPS))

    return build_windowed


def _by_clock(num_frames: int, clock: Clock, pick: Sample, **draws: sampling.Rng) -> np.ndarray:
    return pick(num_frames, fps=clock.fps, ticks=clock.ticks, **draws)


def _one(build: BuildSample) -> BuildSample:
    return lambda cfg: changed(build(cfg), _as_only_clip)


def _as_only_clip(clip: np.ndarray) -> np.ndarray:
    return clip[None]  # (1, T)


def _linspace_clip(cfg: CfgNode) -> Sample:
    if cfg.DATA.WINDOW == "paddle":
        return _in_window(paddle_sampling.linspace_clip)(cfg)
    return _pick(sampling.tsn_uniform, num_segments=T)(cfg)


def _tsm_dense_val(cfg: CfgNode) -> Sample:
    if cfg.VAL.NUM_CLIPS > 1:
        return _pick(sampling.tsm_dense_clips, num_segments=T, num_clips="VAL.NUM_CLIPS")(cfg)
    return partial(_validation_window, num_segments=cfg.DATA.NUM_FRAMES, seed=cfg.SEED)


def _validation_window(num_frames: int, num_segments: int, seed: int) -> np.ndarray:
    """Draw the start of a dense validation clip, as released, but the same one in every epoch."""
    rng = np.random.default_rng((seed, num_frames))
    return sampling.tsm_dense_clip(num_frames, num_segments, rng)[None]


def _laps(function: Sample, **keys: str) -> BuildSample:
    """Do so for a function of TokShift's second version, which goes by the ticks of each file."""
    build = _pick(function, clip_len=T, stride="DATA.FRAME_STRIDE", **keys)
    clock = Clock(fps=0.0)  # it has no use for the rate
    return lambda cfg: TimedSample(partial(_by_ticks, pick=build(cfg)), clock, needs_rate=False)


def _by_ticks(num_frames: int, clock: Clock, pick: Sample, **draws: sampling.Rng) -> np.ndarray:
    return pick(num_frames, ticks=clock.ticks, **draws)


def _window_span(cfg: CfgNode) -> int | None:
    if cfg.DATA.WINDOW != "paddle":
        return None
    return round(paddle_sampling.window_seconds(cfg.DATA.NUM_FRAMES) * cfg.DATA.FPS)


DENSE = {"clip_len": T, "stride": "DATA.FRAME_STRIDE"}
EVEN_STARTS = "TEST.EVEN_STARTS"
UNIFORM_CLIPS = _pick(
    sampling.tsn_uniform_clips,
    num_segments=T,
    twice="DATA.UNIFORM_TWICE",
    as_released="DATA.UNIFORM_AS_RELEASED",
)
LINSPACE_CLIP = _one(_in_window(paddle_sampling.linspace_clip))
MIDDLES_CLIP = _one(_in_window(paddle_sampling.uniform_clip))
SAMPLINGS = {
    "dense": Sampling(
        train=_pick(sampling.random_dense_clip, draws_last_start=LAST_START, **DENSE),
        val=_pick(
            sampling.dense_clips, num_clips="VAL.NUM_CLIPS", even_starts=EVEN_STARTS, **DENSE
        ),
        test=_pick(
            sampling.dense_clips, num_clips="TEST.NUM_CLIPS", even_starts=EVEN_STARTS, **DENSE
        ),
        stride=lambda cfg: cfg.DATA.FRAME_STRIDE,
        span=lambda cfg: cfg.DATA.NUM_FRAMES * cfg.DATA.FRAME_STRIDE,
        reads_stride=True,
        reads_even_starts=True,
    ),
    "mmaction_dense": Sampling(
        train=_pick(partial(sampling.random_dense_clip, draws_last_start=True), **DENSE),
        val=_pick(sampling.middle_dense_clips, num_clips="VAL.NUM_CLIPS", **DENSE),
        test=_pick(sampling.middle_dense_clips, num_clips="TEST.NUM_CLIPS", **DENSE),
        stride=lambda cfg: cfg.DATA.FRAME_STRIDE,
        span=lambda cfg: cfg.DATA.NUM_FRAMES * cfg.DATA.FRAME_STRIDE,
        reads_stride=True,
    ),
    "uniform": Sampling(
        train=_pick(sampling.tsn_uniform, num_segments=T), val=UNIFORM_CLIPS, test=UNIFORM_CLIPS
    ),
    "tsn": Sampling(
        train=_pick(sampling.tsm_segments, num_segments=T),
        val=_one(_pick(sampling.tsm_centres, num_segments=T)),
        test=_pick(sampling.tsm_clips, num_segments=T, twice="DATA.UNIFORM_TWICE"),
    ),
    "tsm_dense": Sampling(
        train=_pick(sampling.tsm_dense_clip, num_segments=T, draws_last_start=LAST_START),
        val=_tsm_dense_val,
        test=_pick(sampling.tsm_dense_clips, num_segments=T, num_clips="TEST.NUM_CLIPS"),
        stride=lambda cfg: sampling.TSM_WINDOW // cfg.DATA.NUM_FRAMES,
        span=lambda cfg: sampling.TSM_WINDOW,
    ),
    "linspace": Sampling(
        train=_linspace_clip, val=LINSPACE_CLIP, test=LINSPACE_CLIP, span=_window_span
    ),
    "paddle_dense": Sampling(
        train=_in_window(paddle_sampling.dense_clip, draws_last_start=LAST_START),
        val=MIDDLES_CLIP,
        test=MIDDLES_CLIP,
        span=_window_span,
    ),
    "laps": Sampling(
        train=_laps(laps_sampling.laps_clip),
        val=_laps(laps_sampling.laps_clips, num_clips="VAL.NUM_CLIPS"),
        test=_laps(laps_sampling.laps_clips, num_clips="TEST.NUM_CLIPS"),
        span=lambda cfg: cfg.DATA.NUM_FRAMES * cfg.DATA.FRAME_STRIDE,
        reads_stride=True,
    ),
}


def _short_side(cfg: CfgNode) -> ClipTransform:
    aug = cfg.AUG
    return TrainTransform(cfg.DATA.IMAGE_SIZE, aug.SHORT_SIDE_RANGE, aug.FLIP, *_colours(cfg))


def _scale_jitter(cfg: CfgNode) -> ClipTransform:
    aug, colours = cfg.AUG, ColourChanges(*_colours(cfg))
    return ScaleJitterTransform(cfg.DATA.IMAGE_SIZE, aug.SHORT_SIDE_RANGE, aug.FLIP, colours)


def _laps_transform(cfg: CfgNode) -> ClipTransform:
    aug, colours = cfg.AUG, ColourChanges(*_colours(cfg), LAPS_CHANGES)
    return LapsTransform(cfg.DATA.IMAGE_SIZE, aug.SHORT_SIDE_RANGE, aug.FLIP, colours)


def _multi_scale(cfg: CfgNode, rounds_places: bool = False) -> ClipTransform:
    aug, colours = cfg.AUG, ColourChanges(*_colours(cfg))
    size = cfg.DATA.IMAGE_SIZE
    return MultiScaleTransform(size, aug.CROP_SCALES, aug.FLIP, rounds_places, colours)


def _colours(cfg: CfgNode) -> tuple[Any, Any, Any, Any, Any]:
    aug = cfg.AUG
    return aug.JITTER_ONE_IN, aug.BRIGHTNESS, aug.SATURATION, aug.GAMMA, aug.HUE


# What AUG.CROP names, with its mirror and colours.
TRAIN_CROPS: dict[str, Callable[[CfgNode], ClipTransform]] = {
    "short_side": _short_side,
    "multi_scale": _multi_scale,
    "multi_scale_rounded": partial(_multi_scale, rounds_places=True),
    "scale_jitter": _scale_jitter,
    "laps": _laps_transform,
}
