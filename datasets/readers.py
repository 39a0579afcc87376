"""Frames off the disk: ``read(indices)`` gives uint8 (T, H, W, 3), each frame decoded once.

A video is a folder of images, a pack of them or a video file; `open_reader` takes what is there.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from datasets.decode.images import IMAGE_ERRORS, MAX_FRAME_PIXELS, decode_image
from datasets.decode.pyav_frames import UnreadableVideoError
from datasets.decode.video_file import VideoFile
from datasets.frame_files import FrameFiles, open_frame_files
from datasets.frame_series import FrameSeries, find_series, other_files
from datasets.video_suffixes import is_pack_name

__all__ = ["FrameFolder", "UnreadableVideoError", "VideoFile", "VideoReader", "open_reader"]


class VideoReader(Protocol):
    """Reader of one video."""

    @property
    def fps(self) -> float:
        """The average number of frames a second."""

    def __len__(self) -> int:
        """Count the frames."""

    def read(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """Return frames, uint8 (T, H, W, 3), by 0-based indices in any order."""


def open_reader(
    path: str | Path,
    template: str = "img_{:05d}.jpg",
    first_frame: int = 1,
    fps: float = 30.0,
    decoder: str = "auto",
    max_pixels: int = MAX_FRAME_PIXELS,
) -> VideoReader:
    """Return the reader of what lies at a path: a video file, a folder of frames, or a pack.

    Args:
        path: File or folder; a pack is told by its suffix, .zip. Where there is nothing, reading
            says so.
        template: Name of the image files; see `FrameFolder`.
        first_frame: Number of the first image; see `FrameFolder`.
        fps: Frames a second of images; see `FrameFolder`.
        decoder: Library that decodes video files; see `VideoFile`.
        max_pixels: Largest number of pixels of a frame; a larger one is unreadable.
    """
    if Path(path).exists() and not Path(path).is_dir() and not is_pack_name(path):
        return VideoFile(path, decoder, max_pixels)  # a pipe or a device, too, which it refuses
    return FrameFolder(path, template, first_frame, fps, max_pixels)


class FrameFolder:
    """A video as image files in a folder or in a pack, ``img_00001.jpg`` and so on.

    Args:
        path: Folder or pack; a pack is opened once for each call.
        template: File name with one integer field, as ``str.format`` takes it.
        first_frame: Number in the name of frame 0.
        fps: Frames a second, which the images do not tell.
        max_pixels: Largest number of pixels of a frame; a larger one is unreadable.
    """

    def __init__(
        self,
        path: str | Path,
        template: str = "img_{:05d}.jpg",
        first_frame: int = 1,
        fps: float = 30.0,
        max_pixels: int = MAX_FRAME_PIXELS,
    ) -> None:
        self.path = Path(path)
        self.template = template
        self.first_frame = first_frame
        self.step = 1  # from a frame's number to the next
        self.fps = fps
        self.max_pixels = max_pixels

    def __len__(self) -> int:
        """Count the frames on disk: the images named as the template says, or else all alike.

        Raises:
            UnreadableVideoError: Their numbers have gaps, so that none is the frame of its number.
        """
        with open_frame_files(self.path) as files:
            series = self._series(files)
        if series.numbers and (gap := series.gap()):
            raise UnreadableVideoError(f"{self.path}: {gap}")
        return len(series.numbers)

    def read(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """Decode frames as RGB.

        Where the first frames are not under the template's names, or there is one before them, the
        folder's own naming is used; its numbers may go by 2, or by more.

        Args:
            indices: T 0-based indices, in any order; a repeated frame is decoded once.

        Returns:
            Frames, uint8 (T, H, W, 3).

        Raises:
            UnreadableVideoError: A frame is missing or broken, or the frames differ in size.
        """
        distinct, position = np.unique(np.asarray(indices), return_inverse=True)
        with open_frame_files(self.path) as files:
            if not self._is_named_as_said(files, int(distinct[-1])):
                self._probe_naming(files)
            frames = [self._decode(files, int(index)) for index in distinct]
        sizes = {frame.shape for frame in frames}
        if len(sizes) > 1:
            raise UnreadableVideoError(f"{self.path}: frames of different sizes {sorted(sizes)}")
        return np.stack(frames)[position]

    def _name(self, index: int) -> str:
        return self.template.format(self.first_frame + self.step * index)

    def _decode(self, files: FrameFiles, index: int) -> np.ndarray:
        name = self._name(index)
        file = self.path / name
        if index < 0:
            raise UnreadableVideoError(f"{file}: frame index {index} is before the first frame")
        try:
            with files.open(name) as data:
                return decode_image(data, self.max_pixels)
        except FileNotFoundError as error:
            num_frames = len(self._series(files).numbers)
            raise UnreadableVideoError(
                f"{file}: no such frame; the {files.kind} holds {num_frames} frames"
            ) from error
        except UnreadableVideoError:
            raise
        except IMAGE_ERRORS as error:
            reason = f"{type(error).__name__}: {error}"
            raise UnreadableVideoError(f"{file}: Pillow: {reason}") from error

    def _is_named_as_said(self, files: FrameFiles, last: int) -> bool:
        """Tell whether the first frames have the template's names, and none lies before them."""
        is_begun = files.holds(self._name(0)) and not files.holds(self._name(-1))  # some are from 0
        return is_begun and (last < 1 or files.holds(self._name(1)))  # others go by 2

    def _probe_naming(self, files: FrameFiles) -> None:
        """Take template, first number and step from the files that are there."""
        series = self._series(files)
        if not series.numbers:
            raise UnreadableVideoError(
                f"{self.path}: no frames; looked for {self._name(0)} and any numbered image"
                f"{other_files(files.names())}"
            )
        self.template, self.step = series.template, series.step
        self.first_frame = int(series.numbers[0])

    def _series(self, files: FrameFiles) -> FrameSeries:
        try:
            return find_series(files.names(), self._name(0))
        except UnreadableVideoError:
            raise
        except ValueError as error:
            raise UnreadableVideoError(f"{self.path}: {error}") from error
