"""Frames of a video file by TorchCodec.

It decodes what PyAV decodes, but goes by times of presentation throughout: where a file has them
wrong (H.264 in AVI, MPEG program streams), so are its frames, or it gives up.
"""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from datasets.decode.images import check_num_pixels
from datasets.decode.pyav_frames import (
    MIN_SHARE_OF_HEADER,
    EndsEarlyError,
    MissingDecoderError,
    open_video,
    reading_errors,
    ticks_per_frame,
)


def require_torchcodec() -> None:
    """Make sure that TorchCodec is there and finds its FFmpeg.

    Raises:
        MissingDecoderError: It is not installed, or finds no FFmpeg libraries.
    """
    try:
        import torchcodec.decoders  # noqa: F401
    except (ImportError, OSError, RuntimeError) as error:
        first_line = str(error).strip().splitlines()[0]
        raise MissingDecoderError(f"TorchCodec does not work here: {first_line}") from error


class TorchCodecDecoder:
    """Decodes one file with TorchCodec, in its exact mode: every packet is looked at first.

    Args:
        path: Path of the file.
        max_pixels: Largest number of pixels of a frame.
    """

    name = "TorchCodec"
    errors: tuple[type[Exception], ...] = (RuntimeError, OSError, ValueError, IndexError)

    def __init__(self, path: Path, max_pixels: int) -> None:
        if find_spec("av"):
            self.errors = (*self.errors, *reading_errors())
        self.path = path
        self.max_pixels = max_pixels

    def count(self) -> int:
        """Return the number of frames by the packets.

        Raises:
            EndsEarlyError: They are clearly fewer than the header promises.
        """
        metadata = self._open().metadata
        found, promised = metadata.num_frames_from_content, metadata.num_frames_from_header or 0
        if found < MIN_SHARE_OF_HEADER * promised:
            raise EndsEarlyError(f"found {found} frames, the header promises {promised}")
        return int(found)

    def fps(self) -> float:
        """Return the average number of frames a second."""
        return float(self._open().metadata.average_fps)

    def ticks_per_frame(self) -> float | None:
        """Return the ticks from frame to frame, which PyAV alone tells; None without it."""
        if not find_spec("av"):
            return None
        with open_video(self.path, self.max_pixels) as (_, stream):
            return ticks_per_frame(stream)

    def frames(self, wanted: Sequence[int]) -> list[np.ndarray]:
        """Return frames, uint8 (H, W, 3), by distinct ascending indices."""
        return list(self._open().get_frames_at(list(wanted)).data.numpy())

    def _open(self) -> Any:
        from torchcodec.decoders import VideoDecoder

        decoder = VideoDecoder(
            str(self.path),
            stream_index=self._stream_index(),
            dimension_order="NHWC",
            seek_mode="exact",
            num_ffmpeg_threads=1,
        )
        width, height = decoder.metadata.width, decoder.metadata.height
        check_num_pixels(width or 0, height or 0, self.max_pixels)
        return decoder

    def _stream_index(self) -> int | None:
        """Return the stream that PyAV takes, which tells covers from videos; None without it."""
        if not find_spec("av"):
            return None
        with open_video(self.path, self.max_pixels) as (_, stream):
            return int(stream.index)
