"""Frames of a video file by PyAV: by seeking where that is exact, else decoding from the start."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from datasets.decode.packet_index import (
    PacketIndex,
    Start,
    can_be_indexed,
    count_in_header,
    rate_of_packets,
    read_packet_index,
)
from datasets.decode.pyav_frames import (
    UnreadableVideoError,
    check_is_whole,
    num_frames_in_header,
    of_one_size,
    open_video,
    reading_errors,
    ticks_per_frame,
    to_upright_array,
)

SAME_RATE = 0.02  # a header counts the time that the last frame is shown

_log = logging.getLogger(__name__)


class PyAVDecoder:
    """Decodes one file; what was learned of it is kept, but it is open only while it is read.

    Args:
        path: Path of the file.
        max_pixels: Largest number of pixels of a frame.
    """

    name = "PyAV"

    def __init__(self, path: Path, max_pixels: int) -> None:
        self.path = path
        self.max_pixels = max_pixels
        self.errors = reading_errors()
        self._fps = 0.0
        self._index: PacketIndex | None = None
        self._has_index: bool | None = None  # None: not known yet

    def count(self) -> int:
        """Return the number of frames: from the header, the packets, or by decoding.

        Raises:
            EndsEarlyError: They are clearly fewer than the header promises.
            UnreadableVideoError: The file cannot be read to its end.
            ValueError: There is no video stream, or no frame in it.
            av.FFmpegError: The file cannot be opened.
        """
        with self._opened() as (container, stream):
            num_frames = count_in_header(container, stream, self.path.stat().st_size)
        if num_frames:
            return num_frames
        with self._opened() as (container, stream):
            index = self._indexed(container, stream)
        if index:
            return len(index.pts)
        with self._opened() as (container, stream):
            num_frames = sum(1 for _ in _decoded(container, stream))
            check_is_whole(num_frames, stream)
        return num_frames

    def fps(self) -> float:
        """Return the average number of frames a second: the header's, if the times bear it out.

        Raises:
            ValueError: The file does not say.
        """
        if self._fps:
            return self._fps
        with self._opened() as (container, stream):
            told = float(stream.average_rate or stream.guessed_rate or 0)
            of_times = rate_of_packets(container, stream)
        is_borne_out = abs(of_times - told) <= SAME_RATE * told
        if told and of_times and not is_borne_out:
            _log.warning(
                "%s: its header says %.4g frames a second, their times %.4g, which count",
                *(self.path, told, of_times),
            )
        self._fps = told if is_borne_out or not of_times else of_times
        if not self._fps:
            raise ValueError("the file does not tell its frame rate")
        return self._fps

    def ticks_per_frame(self) -> float | None:
        """Return the ticks from frame to frame, see `pyav_frames.ticks_per_frame`."""
        with self._opened() as (_, stream):
            return ticks_per_frame(stream)

    def frames(self, wanted: Sequence[int]) -> list[np.ndarray]:
        """Return frames, uint8 (H, W, 3).

        Args:
            wanted: Distinct indices of frames, ascending.

        Raises:
            UnreadableVideoError: The file cannot be read so far, or ends before.
            ValueError: There is no video stream, or no frame in it.
            av.FFmpegError: The file cannot be opened.
        """
        with self._opened() as (container, stream):
            if not can_be_indexed(stream):
                return _from_start(container, stream, wanted)
            frames = self._by_index(container, stream, wanted)
        if frames is not None:
            return frames
        with self._opened() as (container, stream):
            return _from_start(container, stream, wanted)

    @contextmanager
    def _opened(self) -> Iterator[tuple[Any, Any]]:
        with open_video(self.path, self.max_pixels) as (container, stream):
            yield container, stream

    def _indexed(self, container: Any, stream: Any) -> PacketIndex | None:
        if self._has_index is None:
            self._index = read_packet_index(container, stream)
            self._has_index = self._index is not None
        return self._index

    def _by_index(
        self, container: Any, stream: Any, wanted: Sequence[int]
    ) -> list[np.ndarray] | None:
        """Return the frames by seeking; None where anything is not as the index says."""
        import av

        try:
            index = self._indexed(container, stream)
            if index is None:
                return None
            if wanted[-1] >= len(index.pts):
                raise _no_such_frame(wanted[-1], len(index.pts), stream)
            return _sought(container, stream, index, wanted)
        except (av.FFmpegError, _UnexpectedError):
            return None


class _UnexpectedError(Exception):
    """The decoder gave something else than the index says."""


def _sought(
    container: Any, stream: Any, index: PacketIndex, wanted: Sequence[int]
) -> list[np.ndarray]:
    """Decode frames from the starts before them.

    Raises:
        _UnexpectedError: A seek or a frame is not what the index says.
    """
    frames: list[np.ndarray] = []
    source: Iterator[tuple[int, Any]] = iter(())
    next_number = -1
    for number in wanted:
        start = index.last_start(number)
        if next_number < 0 or start.frame > next_number:
            if next_number < 0 and start.frame:
                _prime(container, stream, index)
            source = _decoded_from(container, stream, index, start)
        for next_number, frame in source:
            if next_number == number:
                frames.append(to_upright_array(frame))
                break
        else:
            raise _UnexpectedError
        next_number += 1
    return frames


def _prime(container: Any, stream: Any, index: PacketIndex) -> None:
    """Show the decoder the first packet: its encoder may have signed there and nowhere else."""
    container.seek(index.starts[0].pts, stream=stream)
    first = next(container.demux(stream))
    if index.find(first) != index.starts[0]:
        raise _UnexpectedError
    first.decode()


def _decoded_from(
    container: Any, stream: Any, index: PacketIndex, start: Start
) -> Iterator[tuple[int, Any]]:
    """Yield the number and the frame of all that are shown from a start on.

    Raises:
        _UnexpectedError: A seek or a frame is not what the index says.
    """
    container.seek(start.pts, stream=stream)
    landed = None
    number = 0
    for packet in container.demux(stream):
        if landed is None:
            landed = index.find(packet)
            if landed is None or landed.frame > start.frame:
                raise _UnexpectedError
            number = landed.frame
        for frame in packet.decode():
            if frame.pts is not None and frame.pts < landed.pts:
                continue  # shown before the start, and not whole
            is_whole = number < len(index.pts) and not frame.is_corrupt  # else made up of others
            if not is_whole or frame.pts != index.pts[number]:
                raise _UnexpectedError
            yield number, frame
            number += 1


def _from_start(container: Any, stream: Any, wanted: Sequence[int]) -> list[np.ndarray]:
    """Decode frames of a container that was just opened, up to the last one wanted."""
    frames: list[np.ndarray] = []
    num_decoded = 0
    for frame in _decoded(container, stream):
        if num_decoded == wanted[len(frames)]:
            frames.append(to_upright_array(frame))
        num_decoded += 1
        if len(frames) == len(wanted):
            return frames
    check_is_whole(num_decoded, stream)
    raise _no_such_frame(wanted[-1], num_decoded, stream)


def _decoded(container: Any, stream: Any) -> Iterator[Any]:
    """Yield all frames of a container that was just opened.

    Raises:
        UnreadableVideoError: Names the real exception, and how many frames came before it.
    """
    import av

    num_decoded = 0
    try:
        for frame in of_one_size(container.decode(stream)):
            yield frame
            num_decoded += 1
    except av.FFmpegError as error:
        raise UnreadableVideoError(
            f"{type(error).__name__}: {error}; decoded {num_decoded} frames, {_promise(stream)}"
        ) from error


def _no_such_frame(number: int, num_frames: int, stream: Any) -> UnreadableVideoError:
    return UnreadableVideoError(
        f"no frame {number}: the file holds {num_frames} frames, {_promise(stream)}"
    )


def _promise(stream: Any) -> str:
    return f"the header promises {num_frames_in_header(stream) or 'no number'}"
