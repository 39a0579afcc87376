"""Windows that slide over a video: where they lie, and their frames in one pass over it."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from yacs.config import CfgNode

from datasets.live import LiveFrame, video_frames
from datasets.protocols import SAMPLINGS
from datasets.readers import FrameFolder, UnreadableVideoError, VideoFile, VideoReader

Pictures = dict[int, np.ndarray]  # uint8 (H, W, 3) by number of the frame in the video


class WindowReader:
    """A part of a video whose frames are at hand, as a reader of a video of its own.

    Args:
        pictures: Pictures, uint8 (H, W, 3), by number of the frame in the whole video.
        first: Number of the part's first frame.
        num_frames: Number of frames in it.
        fps: Frames a second.
    """

    def __init__(self, pictures: Pictures, first: int, num_frames: int, fps: float) -> None:
        self.pictures = pictures
        self.first = first
        self.num_frames = num_frames
        self.fps = fps

    def __len__(self) -> int:
        """Count the frames."""
        return self.num_frames

    def read(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """Return frames, uint8 (T, H, W, 3), by indices within the part."""
        return np.stack([self.pictures[self.first + int(index)] for index in indices])


def place_windows(
    cfg: CfgNode, num_frames: int, window: float | None = None, hop: float | None = None
) -> tuple[np.ndarray, int]:
    """Return the first frame of each window of a video, (N,), and the frames of a window.

    A video that is shorter than a window is one window.

    Args:
        cfg: Config of the experiment at the rate of the video, see `at_rate`.
        num_frames: Number of frames of the video.
        window: Length of a window, seconds; None for the span of a clip.
        hop: Seconds from one window to the next; None for half a window.

    Raises:
        ValueError: A clip has no span of its own, and no window is given.
    """
    fps = cfg.DATA.FPS
    wanted = clip_span(cfg) if window is None else max(1, round(window * fps))
    length = min(wanted, num_frames)
    step = max(1, round(hop * fps)) if hop else max(1, length // 2)
    return window_firsts(num_frames, length, step), length


def clip_span(cfg: CfgNode) -> int:
    """Return the frames that a clip of the model spans.

    Raises:
        ValueError: Its frames are spread over whole videos.
    """
    span = SAMPLINGS[cfg.DATA.SAMPLING].span(cfg)
    if span is None:
        raise ValueError(
            f"DATA.SAMPLING={cfg.DATA.SAMPLING!r} spread {cfg.DATA.NUM_FRAMES} frames over each "
            "training video, so a clip has no length of its own; give --window SECONDS, about the "
            "length of those videos"
        )
    return span


def window_firsts(num_frames: int, length: int, hop: int) -> np.ndarray:
    """Return the first frame of each window, (N,); the last window ends with the video."""
    last = num_frames - length
    return np.unique([*range(0, last, hop), last])


def at_rate(cfg: CfgNode, fps: float) -> CfgNode:
    """Return the config for windows, which have no clock, of a video with this rate."""
    cfg = cfg.clone()
    cfg.defrost()
    cfg.DATA.FPS = fps
    cfg.freeze()
    return cfg


def numbered_frames(
    reader: VideoReader, wanted: set[int] | None, times: list[float]
) -> Iterator[LiveFrame]:
    """Yield frames of a whole video in order.

    Args:
        reader: Reader of a file or of a folder of frames.
        wanted: Numbers of the frames to yield; None for all.
        times: List that is filled with the time of every frame, in seconds since the first.

    Raises:
        UnreadableVideoError: A frame cannot be read; those before have been yielded.
    """
    if isinstance(reader, VideoFile):

        def is_wanted(number: int, seconds: float) -> bool:
            times.append(seconds)
            return wanted is None or number in wanted

        yield from video_frames(reader.path, is_wanted, reader.max_pixels)
        return
    times += (np.arange(len(reader)) / reader.fps).tolist()
    size = None
    for number in range(len(reader)) if wanted is None else sorted(wanted):
        picture = reader.read([number])[0]
        size = size or picture.shape
        if picture.shape != size:
            where = f"{reader.path}: " if isinstance(reader, FrameFolder) else ""
            raise UnreadableVideoError(
                f"{where}frame {number} is {picture.shape[1]} x {picture.shape[0]} pixels, those "
                f"before it {size[1]} x {size[0]}"
            )
        yield LiveFrame(number, times[number], picture)


def clips_in_passing(
    frames: Iterable[LiveFrame], clips: np.ndarray
) -> Iterator[tuple[int, Pictures]]:
    """Yield each clip as soon as its last frame has come; keep only frames that are still to come.

    Args:
        frames: Frames of a video in order, all that the clips have among them.
        clips: Numbers of the frames of each clip, (N, T).

    Yields:
        The place of a clip, and pictures, its own among them.
    """
    lasts = clips.max(1)
    order = lasts.argsort(kind="stable")
    firsts = np.minimum.accumulate(clips.min(1)[order][::-1])[::-1]  # of each and all behind it
    pictures: Pictures = {}
    num_done = 0
    for frame in frames:
        pictures[frame.number] = frame.picture
        while num_done < len(order) and lasts[order[num_done]] == frame.number:
            yield int(order[num_done]), pictures
            num_done += 1
            if num_done < len(order):
                pictures = {n: p for n, p in pictures.items() if n >= firsts[num_done]}
