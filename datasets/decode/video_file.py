"""Frames out of a video file, each exactly the one that a decode from the start would give."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

import numpy as np

from config.regular_file import check_regular
from datasets.decode.images import MAX_FRAME_PIXELS
from datasets.decode.pyav_decoder import PyAVDecoder
from datasets.decode.pyav_frames import UnreadableVideoError, require_av
from datasets.decode.torchcodec_decoder import TorchCodecDecoder, require_torchcodec

DECODERS = ("auto", "pyav", "torchcodec")


class Decoder(Protocol):
    """Decoder of one file.

    Attributes:
        name: Name of the library.
        errors: Exceptions that it raises on a file that it cannot read; others are faults of the
            code.
    """

    name: str
    errors: tuple[type[Exception], ...]

    def count(self) -> int:
        """Return the exact number of frames."""

    def fps(self) -> float:
        """Return the average number of frames a second."""

    def ticks_per_frame(self) -> float | None:
        """Return the ticks of the file's clock from frame to frame; 0 or None if unknown."""

    def frames(self, wanted: Sequence[int]) -> list[np.ndarray]:
        """Return frames, uint8 (H, W, 3), by distinct ascending indices."""


class VideoFile:
    """A video file, read frame by frame; nothing stays open between two calls.

    Args:
        path: Path of the file.
        decoder: Library: ``pyav``, ``torchcodec``, or ``auto``: PyAV, TorchCodec only without it.
        max_pixels: Largest number of pixels of a frame; a larger one is unreadable.

    Raises:
        MissingDecoderError: The decoder is not installed.
        ValueError: There is no such decoder.
    """

    def __init__(
        self, path: str | Path, decoder: str = "auto", max_pixels: int = MAX_FRAME_PIXELS
    ) -> None:
        self.path = Path(path)
        self.max_pixels = max_pixels
        self._decoder = open_decoder(self.path, decoder, max_pixels)
        self._num_frames = 0

    def __len__(self) -> int:
        """Count the frames that a decode from the start gives, decoding only where it must.

        Raises:
            UnreadableVideoError: It is no video, or ends clearly before its header says.
        """
        if not self._num_frames:
            with self._errors_named():
                self._num_frames = self._decoder.count()
        return self._num_frames

    @property
    def fps(self) -> float:
        """The average number of frames a second."""
        with self._errors_named():
            return self._decoder.fps()

    @property
    def ticks_per_frame(self) -> float | None:
        """Units of the file's time from frame to frame by its header, see `datasets.clock`."""
        with self._errors_named():
            return self._decoder.ticks_per_frame()

    def read(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """Decode frames as RGB, upright; frame i is the i-th of a decode from the start.

        Args:
            indices: T 0-based indices, in any order; a repeated frame is decoded once.

        Returns:
            Frames, uint8 (T, H, W, 3).

        Raises:
            UnreadableVideoError: The file cannot be decoded up to a frame, or ends before it, or
                the frames differ in size.
        """
        distinct, position = np.unique(np.asarray(indices), return_inverse=True)
        if distinct[0] < 0:
            raise UnreadableVideoError(
                f"{self.path}: frame index {distinct[0]} is before the first frame"
            )
        with self._errors_named():
            frames = self._decoder.frames(distinct.tolist())
        sizes = {frame.shape for frame in frames}
        if len(sizes) > 1:
            raise UnreadableVideoError(f"{self.path}: frames of different sizes {sorted(sizes)}")
        return np.stack(frames)[position]

    @contextmanager
    def _errors_named(self) -> Iterator[None]:
        """Make what a decoder raises an `UnreadableVideoError` of file, decoder and exception."""
        try:
            if not self.path.exists():
                raise FileNotFoundError("no such file")
            check_regular(self.path)  # opening a pipe would wait for ever
            yield
        except self._decoder.errors as error:
            text = " ".join(str(error).split())
            is_told = isinstance(error, UnreadableVideoError)
            reason = text if is_told else f"{type(error).__name__}: {text}"
            raise UnreadableVideoError(f"{self.path}: {self._decoder.name}: {reason}") from error


def open_decoder(path: Path, decoder: str, max_pixels: int = MAX_FRAME_PIXELS) -> Decoder:
    """Return the decoder of a file, see `VideoFile`."""
    if decoder not in DECODERS:
        raise ValueError(f"decoder {decoder!r}; choose one of {DECODERS}")
    is_only_torchcodec = not find_spec("av") and find_spec("torchcodec")
    if decoder == "torchcodec" or (decoder == "auto" and is_only_torchcodec):
        require_torchcodec()
        return TorchCodecDecoder(path, max_pixels)
    require_av()
    return PyAVDecoder(path, max_pixels)
