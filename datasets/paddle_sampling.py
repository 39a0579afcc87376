"""PaddleVideo's sampling of its transformers: frame indices alone, 0-based, int64.

Its decoder hands on a window of the video, ``32 * T / 30`` seconds long, and the indices are taken
inside it: `linspace_clip`, `uniform_clip` and `dense_clip` do both steps, or take the whole video.
The decoder goes by time stamps; `ticks` below are those of `datasets.clock.Clock`.
"""

import math
from typing import NamedTuple

import numpy as np

from datasets.sampling import Rng, tsm_dense_clip

FRAMES_PER_SEGMENT = 32  # of the window, at WINDOW_FPS
WINDOW_FPS = 30


class Window(NamedTuple):
    """The part of a video that clips are taken from.

    Attributes:
        first: Index of its first frame in the video.
        num_frames: Number of frames in it.
        end: Its intended length less one, in frames; beyond its last frame where the video is too
            short.
    """

    first: int
    num_frames: int
    end: float


def linspace_clip(
    num_frames: int,
    num_segments: int,
    fps: float | None = None,
    rng: Rng | None = None,
    ticks: float | None = None,
) -> np.ndarray:
    """Spread T frames evenly over a video or the decoder's window of it, both ends included.

    A video shorter than the window ends in copies of its last frame, as released.

    Args:
        num_frames: Number of frames of the video, F.
        num_segments: Number of frames of the clip, T.
        fps: Frames a second, for the decoder's window; None takes the whole video.
        rng: Generator that draws the window's start; None starts it at frame 0.
        ticks: Ticks of the file's clock from one frame to the next.

    Returns:
        Indices, (num_segments,).
    """
    window = paddle_window(num_frames, num_segments, fps, rng, ticks)
    return window.first + spread(window.num_frames, num_segments, 0.0, window.end)


def uniform_clip(
    num_frames: int, num_segments: int, fps: float | None = None, ticks: float | None = None
) -> np.ndarray:
    """Take the middles of T equal spans of a video, or of the decoder's first window of it.

    Args:
        num_frames: Number of frames of the video, F.
        num_segments: Number of frames of the clip, T.
        fps: Frames a second, for the decoder's window; None takes the whole video.
        ticks: Ticks of the file's clock from one frame to the next.

    Returns:
        Indices, (num_segments,).
    """
    window = paddle_window(num_frames, num_segments, fps, ticks=ticks)
    return window.first + span_middles(window.num_frames, num_segments)


def dense_clip(
    num_frames: int,
    num_segments: int,
    rng: Rng,
    fps: float | None = None,
    draws_last_start: bool = False,
    ticks: float | None = None,
) -> np.ndarray:
    """Draw a clip of T frames ``64 // T`` apart; the TSM release's draw, in a window if asked for.

    Args:
        num_frames: Number of frames of the video, F.
        num_segments: Number of frames of the clip, T.
        rng: Generator that draws the window's start, then the clip's.
        fps: Frames a second, for the decoder's window; None takes the whole video.
        draws_last_start: True draws the last full start too; the release never does.
        ticks: Ticks of the file's clock from one frame to the next.

    Returns:
        Indices, (num_segments,).
    """
    window = paddle_window(num_frames, num_segments, fps, rng, ticks)
    return window.first + tsm_dense_clip(window.num_frames, num_segments, rng, draws_last_start)


def window_seconds(num_segments: int) -> float:
    """Return how long the decoder's window for clips of T frames is, in seconds."""
    return FRAMES_PER_SEGMENT * num_segments / WINDOW_FPS


def paddle_window(
    num_frames: int,
    num_segments: int,
    fps: float | None,
    rng: Rng | None = None,
    ticks: float | None = None,
) -> Window:
    """Return the window that the released decoder hands on: what lies in it, and one frame more.

    Args:
        num_frames: Number of frames of the video, F.
        num_segments: Number of frames of the clip, T; the window grows with it.
        fps: Frames a second of the video; None: the whole video is the window.
        rng: Generator that draws the start, one number, as the decoder does in training; None
            starts at frame 0.
        ticks: Ticks of the file's clock from one frame to the next.
    """
    if num_frames < 1:
        raise ValueError(f"a video needs at least one frame, got {num_frames}")
    if fps is None:
        return Window(0, num_frames, num_frames - 1)
    length = window_seconds(num_segments) * fps
    start = float(rng.uniform(0, max(num_frames - length, 0))) if rng is not None else 0.0
    first, last = kept_frames(num_frames, start, start + length - 1, ticks)
    return Window(first, last - first + 1, length - 1)


def kept_frames(num_frames: int, start: float, end: float, ticks: float | None) -> tuple[int, int]:
    """Return the first and the last frame that a decoder keeps which goes by time stamps.

    It keeps the frames from start to end and one more, once both are cut down to ticks: with one
    tick a frame, as in AVI, the clip so begins a frame earlier than it was drawn. PaddleVideo's
    decoder and that of TokShift's second version both do, after PySlowFast.

    Args:
        num_frames: Number of frames of the video, F.
        start: Beginning of the window in the video, in frames; 0 is the first.
        end: End of the window, likewise.
        ticks: Ticks of the file's clock from one frame to the next; without any, nothing is cut
            down.
    """
    if ticks:  # a frame is shown at a whole tick, the nearest: half a tick is no other frame
        start, end = (int(start * ticks) - 0.5) / ticks, (int(end * ticks) + 0.5) / ticks
    return min(math.ceil(start), num_frames - 1), min(math.floor(end) + 1, num_frames - 1)


def spread(num_frames: int, num_segments: int, start: float, end: float) -> np.ndarray:
    """Return T places evenly spread from start to end, cut down to frames; beyond the last, it."""
    places = np.linspace(start, end, num_segments)
    return np.clip(places, 0, num_frames - 1).astype(np.int64)


def span_middles(num_frames: int, num_segments: int) -> np.ndarray:
    """Return the (earlier) middle frame of each of T spans of ``F // T``; all in turn if F < T."""
    span, segments = num_frames // num_segments, np.arange(num_segments)
    return (span - 1) // 2 + segments * span if span else segments % num_frames
