"""Frames as they come off a video file or a camera; `datasets.growing_folder` is a third source.

Each yields `LiveFrame` and converts only the frames that are wanted. Times count from the
first frame.
"""

import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from yacs.config import CfgNode

from datasets.augment.short_side import crop
from datasets.decode.images import MAX_FRAME_PIXELS
from datasets.decode.pyav_frames import (
    check_is_whole,
    of_one_size,
    open_video,
    reading_errors,
    require_av,
    to_upright_rgb,
)
from datasets.protocols import test_image_size
from datasets.readers import UnreadableVideoError
from datasets.view_crops import VIEW_CROPS

CentreView = Callable[[np.ndarray], Tensor]


class LiveFrame(NamedTuple):
    """A frame off a source.

    Attributes:
        number: Number of the frame, 0-based, among all that came, wanted or not.
        seconds: Time since the first frame: as presented, in a folder as found.
        picture: Picture in RGB, uint8 (H, W, 3).
        name: Name of the file in a folder, else empty.
    """

    number: int
    seconds: float
    picture: np.ndarray
    name: str = ""


class Every:
    """Wants each frame whose number is a multiple of N.

    Args:
        num_frames: N, at least 1.
    """

    def __init__(self, num_frames: int) -> None:
        if num_frames < 1:
            raise ValueError(f"every {num_frames} frames; it must be 1 or more")
        self.num_frames = num_frames

    def __call__(self, number: int, seconds: float) -> bool:
        """Tell whether a frame is wanted."""
        return number % self.num_frames == 0

    def __str__(self) -> str:
        """Return it as a phrase for people."""
        return f"every {self.num_frames} frames" if self.num_frames > 1 else "every frame"


class Rate:
    """Wants the first frame at or after each tick of a clock; a slower source gives all it has.

    Args:
        frames_per_second: Number of ticks a second, above 0.
    """

    def __init__(self, frames_per_second: float) -> None:
        if not frames_per_second > 0:
            raise ValueError(f"{frames_per_second} frames a second; it must be above 0")
        self.frames_per_second = frames_per_second
        self._next_tick = 0

    def __call__(self, number: int, seconds: float) -> bool:
        """Tell whether a frame is wanted; to be asked once for each, in order."""
        tick = int(seconds * self.frames_per_second + 1e-4)  # times are rounded in the files
        is_wanted = tick >= self._next_tick
        self._next_tick = max(self._next_tick, tick + 1)
        return is_wanted

    def __str__(self) -> str:
        """Return it as a phrase for people."""
        return f"{self.frames_per_second:g} frames a second"


Pace = Every | Rate


def video_frames(
    path: str | Path, pace: Callable[[int, float], bool], max_pixels: int = MAX_FRAME_PIXELS
) -> Iterator[LiveFrame]:
    """Yield the wanted frames of a video file, upright, as soon as they are decoded.

    Args:
        path: Path of the file.
        pace: Function from a frame's number and time to whether it is wanted.
        max_pixels: Largest number of pixels of a frame.

    Raises:
        UnreadableVideoError: The file ends in an error, or before its time; the frames up to there
            have been yielded.
    """
    number = -1
    try:
        with open_video(path, max_pixels) as (container, stream):
            for number, seconds, frame in _timed(container, stream):
                if pace(number, seconds):
                    yield LiveFrame(number, seconds, np.array(to_upright_rgb(frame)))
            check_is_whole(number + 1, stream)
    except reading_errors() as error:
        reason = f"{type(error).__name__}: {error}"
        raise UnreadableVideoError(f"{path}: after {number + 1} frames: {reason}") from error


def camera_frames(index: int, pace: Pace) -> Iterator[LiveFrame]:
    """Yield the wanted frames of a camera, by FFmpeg's device input, until it is unplugged.

    Raises:
        UnreadableVideoError: There is no such camera, or it fails.
    """
    require_av()
    import av

    kind, name = _camera_name(index)
    try:
        with av.open(name, format=kind) as container:
            for number, seconds, frame in _timed(container, container.streams.video[0]):
                if pace(number, seconds):
                    yield LiveFrame(number, seconds, np.array(to_upright_rgb(frame)))
    except reading_errors() as error:
        reason = f"{type(error).__name__}: {error}"
        raise UnreadableVideoError(f"camera {index} ({name} by {kind}): {reason}") from error


class Newest:
    """The newest frame of a source each time; those that came while the taker was busy are lost.

    A thread reads the source; so a slow model lags a camera by one frame at most, and not by ever
    more of them.

    Args:
        source: Frames to read from; it is left where it stands when the taker stops.

    Attributes:
        num_dropped: Number of frames that were replaced by newer ones before they were taken.
    """

    def __init__(self, source: Iterable[LiveFrame]) -> None:
        self.num_dropped = 0
        self._source = source
        self._news = threading.Condition()
        self._frame: LiveFrame | None = None
        self._error: BaseException | None = None
        self._is_over = False

    def __iter__(self) -> Iterator[LiveFrame]:
        """Yield frames; an error of the source is raised here, after the last frame before it."""
        threading.Thread(target=self._read, daemon=True).start()
        try:
            while True:
                with self._news:
                    self._news.wait_for(lambda: self._frame is not None or self._is_over)
                    frame, self._frame = self._frame, None
                if frame is None:
                    break
                yield frame
            if self._error is not None:
                raise self._error
        finally:
            self._is_over = True

    def _read(self) -> None:
        try:
            for frame in self._source:
                with self._news:
                    self.num_dropped += self._frame is not None
                    self._frame = frame
                    self._news.notify()
                if self._is_over:
                    return
        except Exception as error:  # noqa: BLE001 - raised again where the frames are taken
            self._error = error
        with self._news:
            self._is_over = True
            self._news.notify()


def build_centre_view(cfg: CfgNode) -> CentreView:
    """Build the function from a picture (H, W, 3) to the test's centre crop, uint8 (1, 3, S, S)."""
    crops, size = VIEW_CROPS[cfg.TEST.CROPS], test_image_size(cfg, "test")
    short_side = cfg.DATA.TEST_SHORT_SIDE

    def centre_view(picture: np.ndarray) -> Tensor:
        frames = torch.from_numpy(picture).permute(2, 0, 1)[None]  # (1, 3, H, W)
        frames = crops.resize(frames, short_side)
        box, *_ = crops.boxes(frames.shape[-2], frames.shape[-1], size, 1)
        return crop(frames, box, size)

    return centre_view


def _timed(container: Any, stream: Any) -> Iterator[tuple[int, float, Any]]:
    """Yield number, time and frame of a PyAV stream; frames without a time follow its rate."""
    rate, start = float(stream.average_rate or 0) or 25.0, None
    for number, frame in enumerate(of_one_size(container.decode(stream))):
        seconds = frame.time if frame.time is not None else number / rate
        start = seconds if start is None else start
        yield number, seconds - start, frame


def _camera_name(index: int) -> tuple[str, str]:
    """Return FFmpeg's device input of this system and the name that it knows a camera by."""
    if sys.platform == "darwin":
        return "avfoundation", str(index)
    if sys.platform != "win32":
        return "v4l2", f"/dev/video{index}"
    import av

    names = [
        device.name
        for device in av.enumerate_input_devices("dshow")
        if "video" in device.media_types
    ]
    if index >= len(names):
        raise UnreadableVideoError(f"camera {index}: there are {len(names)}: {names}")
    return "dshow", f"video={names[index]}"
