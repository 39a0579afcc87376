"""A video made of another one's frames: some of them, in another order or number, or changed."""

from collections.abc import Callable, Sequence

import numpy as np

from datasets.readers import VideoReader

ChangeFrame = Callable[[np.ndarray, int], np.ndarray]  # of (H, W, 3), by its index in the source


class ChangedVideo:
    """A reader of a video that is made of another one's frames.

    Args:
        source: Reader of the video whose frames it has.
        picked: Index in the source of each frame, (F,).
        change: Function from a frame, uint8 (H, W, 3), and its index in the source to another frame
            of this size; None: frames stay as they are.
        rate: Frames a second, as a factor of those of the source.
    """

    def __init__(
        self,
        source: VideoReader,
        picked: np.ndarray,
        change: ChangeFrame | None = None,
        rate: float = 1.0,
    ) -> None:
        self.source = source
        self.picked = picked
        self.change = change
        self.rate = rate

    @property
    def fps(self) -> float:
        """The average number of frames a second."""
        return self.source.fps * self.rate

    def __len__(self) -> int:
        """Count the frames."""
        return len(self.picked)

    def read(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """Return frames, uint8 (T, H, W, 3), by 0-based indices in any order."""
        wanted = self.picked[np.asarray(indices)]
        distinct, position = np.unique(wanted, return_inverse=True)
        frames = self.source.read(distinct)
        if self.change is not None:
            pairs = zip(frames, distinct.tolist(), strict=True)
            frames = np.stack([self.change(frame, index) for frame, index in pairs])
        return frames[position]
