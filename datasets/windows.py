"""Clips that cover a video from its first frame to its last, one after the other."""

from collections.abc import Callable
from functools import partial

import numpy as np
from yacs.config import CfgNode

from datasets.clock import changed
from datasets.protocols import SAMPLINGS, build_test_sampling
from datasets.sampling import dense_clips


def build_windows(cfg: CfgNode) -> Callable[..., np.ndarray]:
    """Build the function from a number of frames to the clips of a whole video, (num_clips, T).

    Where clips are dense, as many as the video takes; otherwise the test's first, whose frames are
    spread over the video.
    """
    stride = SAMPLINGS[cfg.DATA.SAMPLING].stride(cfg)
    if stride:
        return partial(successive_clips, clip_len=cfg.DATA.NUM_FRAMES, stride=stride)
    return changed(build_test_sampling(cfg, "test"), _first_clip)


def successive_clips(num_frames: int, clip_len: int, stride: int) -> np.ndarray:
    """Return dense clips that each begin where the one before ends; the last ends with the video.

    The last two can overlap. A video shorter than a clip gives one clip, as in the test.

    Args:
        num_frames: Number of frames of the video, F.
        clip_len: Number of frames of a clip, T.
        stride: Frames from one frame of a clip to the next.

    Returns:
        Indices, (num_clips, T).
    """
    last_start = num_frames - 1 - (clip_len - 1) * stride
    if last_start <= 0:
        return dense_clips(num_frames, clip_len, stride, num_clips=1)
    starts = np.arange(0, num_frames, clip_len * stride)
    starts = np.minimum(starts, last_start)
    return starts[:, None] + stride * np.arange(clip_len)


def _first_clip(clips: np.ndarray) -> np.ndarray:
    return clips[:1]  # (1, T)
