"""Frames off the disk: ``read(indices)`` gives uint8 (T, H, W, 3), each frame decoded once.

A video is a folder of images or a video file; `open_reader` takes what is there.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from config.regular_file import open_regular
from datasets.decode.images import FORMATS, IMAGE_ERRORS, MAX_FRAME_PIXELS, decode_image
from datasets.decode.pyav_frames import UnreadableVideoError
from datasets.decode.video_file import VideoFile

__all__ = ["FrameFolder", "UnreadableVideoError", "VideoFile", "VideoReader", "open_reader"]

IMAGE_SUFFIXES = frozenset(FORMATS)
# Prefix, number and rest of a file name; Windows puts its numbers into brackets.
_NUMBERED = re.compile(r"(.*?)(\d+)([)\]]?\.\w+)", re.DOTALL)


class VideoReader(Protocol):
    """What reads one video."""

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
    """Return the reader of what lies at a path: a video file, or a folder of frames.

    Args:
        path: The file or folder. Where there is nothing, reading says so.
        template: See `FrameFolder`.
        first_frame: See `FrameFolder`.
        fps: See `FrameFolder`.
        decoder: See `VideoFile`.
        max_pixels: The most pixels of a frame; a larger one is unreadable.
    """
    if Path(path).exists() and not Path(path).is_dir():
        return VideoFile(path, decoder, max_pixels)  # a pipe or a device, too, which it refuses
    return FrameFolder(path, template, first_frame, fps, max_pixels)


def frame_name(name: str) -> re.Match[str] | None:
    """Return prefix, number and rest of the file name of a frame; None for other files.

    Hidden files are others: macOS puts a ``._00001.jpg`` beside each image of an archive.
    """
    if name.startswith(".") or Path(name).suffix.lower() not in IMAGE_SUFFIXES:
        return None
    return _NUMBERED.fullmatch(name)


class FrameFolder:
    """A video as a folder of image files, ``img_00001.jpg`` and so on.

    Args:
        path: The folder.
        template: File name with one integer field, as ``str.format`` takes it.
        first_frame: The integer of frame 0.
        fps: Frames a second, which the images do not tell.
        max_pixels: The most pixels of a frame; a larger one is unreadable.
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
        self.fps = fps
        self.max_pixels = max_pixels

    def __len__(self) -> int:
        """Count the frames on disk: the images named as the template says, or else all alike."""
        _, numbers = self._find_series()
        return len(numbers)

    def read(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """Decode frames as RGB.

        Where the first frame is not under the template's name, or there is one before it, the
        folder's own naming is used.

        Args:
            indices: T 0-based indices, in any order; repeated ones are decoded once.

        Returns:
            Frames, uint8 (T, H, W, 3).

        Raises:
            UnreadableVideoError: A frame is missing or broken, or the frames differ in size.
        """
        distinct, position = np.unique(np.asarray(indices), return_inverse=True)
        if not self._file(0).exists() or self._file(-1).exists():  # a folder that counts from 0
            self._probe_naming()
        frames = [self._decode(int(index)) for index in distinct]
        sizes = {frame.shape for frame in frames}
        if len(sizes) > 1:
            raise UnreadableVideoError(f"{self.path}: frames of different sizes {sorted(sizes)}")
        return np.stack(frames)[position]

    def _file(self, index: int) -> Path:
        return self.path / self.template.format(self.first_frame + index)

    def _decode(self, index: int) -> np.ndarray:
        file = self._file(index)
        if index < 0:
            raise UnreadableVideoError(f"{file}: frame index {index} is before the first frame")
        try:
            with open_regular(file) as data:
                return decode_image(data, self.max_pixels)
        except FileNotFoundError as error:
            raise UnreadableVideoError(
                f"{file}: no such frame; the folder holds {len(self)} frames"
            ) from error
        except IMAGE_ERRORS as error:
            reason = f"{type(error).__name__}: {error}"
            raise UnreadableVideoError(f"{file}: Pillow: {reason}") from error

    def _probe_naming(self) -> None:
        """Take template and first number from the files that are there."""
        (prefix, suffix), numbers = self._find_series()
        if not numbers:
            raise UnreadableVideoError(
                f"{self.path}: no frames; looked for {self._file(0).name} and any numbered image"
            )
        first = min(numbers, key=int)
        prefix, suffix = (text.replace("{", "{{").replace("}", "}}") for text in (prefix, suffix))
        self.template = f"{prefix}{{:0{len(first)}d}}{suffix}"
        self.first_frame = int(first)

    def _find_series(self) -> tuple[tuple[str, str], list[str]]:
        """Find the images that differ in their number alone: (prefix, suffix) and the numbers."""
        try:
            names = [entry.name for entry in self.path.iterdir()]
        except OSError as error:
            raise UnreadableVideoError(f"{self.path}: {error.strerror}") from error
        series: dict[tuple[str, str], list[str]] = {}
        for match in filter(None, map(frame_name, names)):
            series.setdefault((match[1], match[3]), []).append(match[2])
        own = _NUMBERED.fullmatch(self._file(0).name)
        wanted = (own[1], own[3]) if own else ("", "")
        if wanted in series or not series:
            return wanted, series.get(wanted, [])
        if len(series) > 1:
            found = ", ".join(f"{prefix}N{suffix}" for prefix, suffix in sorted(series))
            raise UnreadableVideoError(
                f"{self.path}: no {self._file(0).name}, and images of several names: {found}; "
                "set DATA.FRAME_TEMPLATE"
            )
        return next(iter(series.items()))
