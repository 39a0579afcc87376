"""Sampling of TokShift's second version (LAPS-transformer, 2022): frame indices alone, int64.

A clip is T frames spread evenly over a window of ``T * stride`` frames, both ends included, where
the first version takes every stride-th. Its decoder, PySlowFast's, hands on the window.
"""

import numpy as np
import torch

from datasets.paddle_sampling import kept_frames
from datasets.sampling import Rng


def laps_clip(
    num_frames: int, clip_len: int, stride: int, rng: Rng, ticks: float | None = None
) -> np.ndarray:
    """Return a training clip from a random start.

    Args:
        num_frames: Number of frames of the video, F.
        clip_len: Number of frames of the clip, T.
        stride: Number of the window's frames for each frame of the clip.
        rng: Generator that draws the start, one number.
        ticks: Ticks of the file's clock from one frame to the next, see `datasets.clock.Clock`.

    Returns:
        Indices, (clip_len,).
    """
    start = float(rng.uniform(0, _spare(num_frames, clip_len * stride)))
    return _spread_clip(num_frames, clip_len, stride, start, ticks)


def laps_clips(
    num_frames: int, clip_len: int, stride: int, num_clips: int, ticks: float | None = None
) -> np.ndarray:
    """Return the test clips: clip k of n starts at k / n of the spare frames.

    So the starts differ as soon as n frames are spare, and the last window ends before the video.

    Args:
        num_frames: Number of frames of the video, F.
        clip_len: Number of frames of a clip, T.
        stride: Number of the window's frames for each frame of the clip.
        num_clips: Number of clips wanted.
        ticks: Ticks of the file's clock from one frame to the next, see `datasets.clock.Clock`.

    Returns:
        Indices, (num_clips, clip_len).
    """
    spare = _spare(num_frames, clip_len * stride)
    starts = [spare * k / num_clips for k in range(num_clips)]
    return np.stack([_spread_clip(num_frames, clip_len, stride, s, ticks) for s in starts])


def _spare(num_frames: int, window: int) -> int:
    if num_frames < 1:
        raise ValueError(f"a video needs at least one frame, got {num_frames}")
    return max(num_frames - window, 0)


def _spread_clip(
    num_frames: int, clip_len: int, stride: int, start: float, ticks: float | None
) -> np.ndarray:
    """Return T frames from the first to the last of a window; beyond the video they wrap round."""
    end = start + clip_len * stride - 1
    if ticks == 0:  # no duration in the header: the whole video is decoded and counted by frames
        first, num_kept = 0, num_frames
    else:
        first, last = kept_frames(num_frames, start, end, ticks)
        num_kept, end, start = last - first + 1, end - start, 0.0
    places = torch.linspace(start, end, clip_len)  # its rounding is the release's, in float32
    return first + places.fmod(num_kept).long().clamp(0, num_kept - 1).numpy()
