"""How a video's frames lie in time, and functions of frame indices that go by it."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from datasets.changed_video import ChangedVideo
from datasets.readers import VideoFile, VideoReader
from datasets.sampling import Rng


class Clock(NamedTuple):
    """The time of a video's frames.

    Attributes:
        fps: Average number of frames a second.
        ticks: Units of the file's time from one frame to the next, by its header: 1 in AVI, 512 or
            more in most MP4. 0: the header gives no duration. None: there is no such unit, as in a
            folder of frames, so that nothing is rounded to it.
    """

    fps: float
    ticks: float | None = None


@dataclass(frozen=True)
class TimedSample:
    """A function of frame indices that goes by each video's clock.

    Attributes:
        pick: Function from (number of frames, clock, rng=generator) to indices.
        clock: Clock that stands in for a video which has none of its own.
        needs_rate: Whether the function reads the rate; False saves a look at each file's packets.
    """

    pick: Callable[..., np.ndarray]
    clock: Clock
    needs_rate: bool = True

    def __call__(
        self, num_frames: int, rng: Rng | None = None, clock: Clock | None = None
    ) -> np.ndarray:
        """Return the indices, by the default clock if no other is given."""
        draws = {} if rng is None else {"rng": rng}
        return self.pick(num_frames, clock or self.clock, **draws)

    def clock_of(self, video: VideoReader) -> Clock:
        """Return the clock of a video.

        Raises:
            UnreadableVideoError: It is a file that cannot be read.
        """
        if isinstance(video, ChangedVideo):
            clock = self.clock_of(video.source)
            return clock._replace(fps=clock.fps * video.rate)
        if not isinstance(video, VideoFile):
            return self.clock  # of frames: DATA.FPS says at what rate they were extracted
        return Clock(video.fps if self.needs_rate else self.clock.fps, video.ticks_per_frame)


def changed(
    sample: Callable[..., np.ndarray], change: Callable[[np.ndarray], np.ndarray]
) -> Callable[..., np.ndarray]:
    """Return a function of frame indices with what it returns changed; it stays a timed one."""
    if isinstance(sample, TimedSample):
        return replace(sample, pick=partial(_changed, pick=sample.pick, change=change))
    return partial(_changed, pick=sample, change=change)


def _changed(
    *arguments: Any,
    pick: Callable[..., np.ndarray],
    change: Callable[[np.ndarray], np.ndarray],
    **draws: Rng,
) -> np.ndarray:
    return change(pick(*arguments, **draws))
