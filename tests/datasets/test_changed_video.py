from collections.abc import Sequence

import numpy as np

from datasets.changed_video import ChangedVideo
from datasets.clock import Clock, TimedSample


class Numbered:
    """A reader whose frames hold their own numbers; keeps what was asked for."""

    fps = 10.0

    def __init__(self) -> None:
        self.asked: list[list[int]] = []

    def __len__(self) -> int:
        return 9

    def read(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        self.asked.append(np.asarray(indices).tolist())
        return np.repeat(np.asarray(indices, np.uint8), 12).reshape(-1, 2, 2, 3)


def numbers(frames: np.ndarray) -> list[int]:
    return frames[:, 0, 0, 0].tolist()


def test_frames_are_those_that_were_picked_each_read_once() -> None:
    source = Numbered()
    video = ChangedVideo(source, np.array([0, 0, 5, 3]), rate=0.5)
    assert (len(video), video.fps) == (4, 5.0)
    assert numbers(video.read([3, 0, 1, 2, 3])) == [3, 0, 0, 5, 3]
    assert source.asked == [[0, 3, 5]]


def test_each_frame_is_changed_by_its_index_in_the_source() -> None:
    video = ChangedVideo(Numbered(), np.array([4, 2]), lambda frame, index: frame + 10 * index)
    assert numbers(video.read([0, 1, 0])) == [44, 22, 44]


def test_clock_is_that_of_the_source_at_the_other_rate() -> None:
    sample = TimedSample(lambda num_frames, clock: np.arange(1), Clock(fps=10.0))
    video = ChangedVideo(Numbered(), np.arange(9), rate=3.0)
    assert sample.clock_of(video) == Clock(fps=30.0)
