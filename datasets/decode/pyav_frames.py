"""Video files to upright RGB pictures, by PyAV; it is imported only where a file is decoded."""

import math
import struct
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from config.regular_file import check_regular
from datasets.decode.images import IMAGE_ERRORS, MAX_FRAME_PIXELS, check_num_pixels

PICTURE_CODECS = ("mjpeg", "png", "bmp", "tiff", "webp", "gif")  # that covers come in
BLOCK_PIXELS = 2**16  # that a decoder adds around a small frame, and more
MIN_SHARE_OF_HEADER = 0.9  # fewer frames than this share of what the header promises is an error

# Signs of (a, b, c, d) of a display matrix, x' = a x + c y and y' = b x + d y with y pointing down,
# to what shows the stored picture as its maker saw it. All zero is a matrix that says nothing.
UPRIGHT: dict[tuple[int, ...], Image.Transpose | None] = {
    (1, 0, 0, 1): None,
    (0, 0, 0, 0): None,
    (0, 1, -1, 0): Image.Transpose.ROTATE_270,  # PIL counts counter-clockwise
    (0, -1, 1, 0): Image.Transpose.ROTATE_90,
    (-1, 0, 0, -1): Image.Transpose.ROTATE_180,
    (-1, 0, 0, 1): Image.Transpose.FLIP_LEFT_RIGHT,
    (1, 0, 0, -1): Image.Transpose.FLIP_TOP_BOTTOM,
    (0, 1, 1, 0): Image.Transpose.TRANSPOSE,
    (0, -1, -1, 0): Image.Transpose.TRANSVERSE,
}


class UnreadableVideoError(ValueError):
    """A video cannot be read; the text names the file and the reason."""


class MissingDecoderError(ImportError):
    """The package that decodes video files is not there; the text says what to install."""


class EndsEarlyError(ValueError):
    """A file ends without an error, but clearly before the frames that its header promises."""


def require_av() -> None:
    """Make sure that PyAV is there.

    Raises:
        MissingDecoderError: It is not installed.
    """
    try:
        import av  # noqa: F401
    except ImportError as error:
        raise MissingDecoderError("decoding videos needs PyAV: pip install av") from error


def reading_errors() -> tuple[type[Exception], ...]:
    """Return what PyAV and Pillow raise on a file that they cannot read.

    Anything else, such as a TypeError, is a fault of the code, whatever file it was met with.
    """
    import av

    return (av.FFmpegError, *IMAGE_ERRORS)


@contextmanager
def open_video(path: str | Path, max_pixels: int = MAX_FRAME_PIXELS) -> Iterator[tuple[Any, Any]]:
    """Open a file with the stream that FFmpeg calls best, to be decoded by one thread.

    Args:
        path: Path of the file.
        max_pixels: Largest number of pixels of a frame that is decoded.

    Yields:
        PyAV's container and video stream.

    Raises:
        ValueError: There is no video stream, or its frames are too large.
        OSError: It is no file but a pipe or a device.
        av.FFmpegError: The file cannot be opened.
    """
    check_regular(path)
    with _opened(path) as container:
        stream = _moving_stream(container, path)
        check_num_pixels(stream.width, stream.height, max_pixels)
        # frames may grow on the way; FFmpeg counts the pixels that its blocks add, too
        stream.codec_context.options = {"max_pixels": str(2 * max_pixels + BLOCK_PIXELS)}
        stream.codec_context.thread_count = 1  # the caller's processes share the cores already
        yield container, stream


def decode_frames(path: str | Path, max_pixels: int = MAX_FRAME_PIXELS) -> Iterator[Image.Image]:
    """Yield every frame of a video as an RGB image, upright, in the order of presentation.

    The stream is the one FFmpeg calls best. Its frames may differ in size.

    Args:
        path: Path of the file.
        max_pixels: Largest number of pixels of a frame.

    Raises:
        EndsEarlyError: All frames were yielded, and they are clearly too few.
        ValueError: There is no video stream, or no frame in it.
        av.FFmpegError: The file cannot be read to its end.
    """
    with open_video(path, max_pixels) as (container, stream):
        num_decoded = 0
        for frame in container.decode(stream):
            yield to_upright_rgb(frame)
            num_decoded += 1
        check_is_whole(num_decoded, stream)


def check_is_whole(num_decoded: int, stream: Any) -> None:
    """Compare the frames of a PyAV video stream that was decoded to its end with its header.

    Raises:
        EndsEarlyError: They are clearly too few.
        ValueError: There is no frame.
    """
    if num_decoded == 0:
        raise ValueError("no frame could be decoded")
    num_promised = num_frames_in_header(stream)
    if num_decoded < MIN_SHARE_OF_HEADER * num_promised:
        raise EndsEarlyError(f"decoded {num_decoded} frames, the header promises {num_promised}")


def of_one_size(frames: Iterable[Any]) -> Iterator[Any]:
    """Yield decoded frames of PyAV as long as they have the size of the first.

    Raises:
        UnreadableVideoError: One has another: views and clips are of one size.
    """
    first = None
    for number, frame in enumerate(frames):
        first = first or (frame.width, frame.height)
        if (frame.width, frame.height) != first:
            raise UnreadableVideoError(
                f"frame {number} has {frame.width} x {frame.height} pixels, those before it "
                f"{first[0]} x {first[1]}; tools/extract_frames.py makes frames of one size"
            )
        yield frame


def to_upright_rgb(frame: Any) -> Image.Image:
    """Return a decoded frame of PyAV as it is meant to be seen."""
    # PyAV keeps the threads that convert colours: a forked loader process would wait for them
    return upright(frame.to_image(threads=1), _display_matrix(frame))


def to_upright_array(frame: Any) -> np.ndarray:
    """Return the pixels of `to_upright_rgb`, uint8 (H, W, 3), without Pillow where nothing turns.

    Pillow copies them several times more, which takes 36 ms for a frame of 1920 x 1080.
    """
    if frame.side_data.get("DISPLAYMATRIX") is not None:
        return np.asarray(to_upright_rgb(frame))
    return frame.reformat(format="rgb24", threads=1).to_ndarray()


def num_frames_in_header(stream: Any) -> int:
    """Return how many frames the header of a PyAV video stream promises; 0 if it does not say."""
    if "mp4" in stream.container.format.name and stream.duration and stream.average_rate:
        # The count includes frames that an edit list hides, as in a clip cut out by `-c copy`.
        num_shown = round(stream.duration * stream.time_base * stream.average_rate)
        return min(stream.frames, num_shown)
    return int(stream.frames)


def ticks_per_frame(stream: Any) -> float | None:
    """Return the ticks of a PyAV stream's clock from frame to frame, by the header alone.

    Returns:
        The mean, 0 where the header gives no duration, None where it does not count the frames.
    """
    if stream.duration is None:
        return 0.0
    return stream.duration / stream.frames if stream.frames else None


def upright(image: Image.Image, matrix: Sequence[int]) -> Image.Image:
    """Turn and mirror a stored picture as its display matrix says.

    Args:
        image: Picture as stored.
        matrix: Values a, b, u, c, d, v, x, y, w of FFmpeg's AV_FRAME_DATA_DISPLAYMATRIX.

    Raises:
        ValueError: It asks for an angle that is not a multiple of 90 degrees.
    """
    entries = [matrix[index] for index in (0, 1, 3, 4)]
    tiny = 0.05 * max(abs(entry) for entry in entries)  # 3 degrees
    signs = tuple(0 if abs(entry) <= tiny else int(math.copysign(1, entry)) for entry in entries)
    if signs not in UPRIGHT:
        raise ValueError(f"display matrix {entries} is not a turn by a multiple of 90 degrees")
    turn = UPRIGHT[signs]
    return image if turn is None else image.transpose(turn)


def _opened(path: str | Path) -> Any:
    """Open a file that is a regular one."""
    import av

    # a bare name with a colon would be taken for a protocol, and a playlist could name other hosts
    options = {"protocol_whitelist": "file"}
    # PyAV 17 and 18 stop at titles of another encoding than UTF-8, 19 always takes them like this
    is_strict = int(av.__version__.partition(".")[0]) < 19
    lenient: dict[str, Any] = {"metadata_errors": "surrogateescape"} if is_strict else {}
    return av.open(f"file:{path}", container_options=options, **lenient)


def _moving_stream(container: Any, path: str | Path) -> Any:
    """Return the video stream that FFmpeg calls best, of those that are no cover of a sound file.

    Raises:
        ValueError: There is no such stream.
    """
    streams = container.streams.video
    moving = [stream for stream in streams if not _is_cover(stream, path)]
    if not moving:
        raise ValueError("no video stream" + (", a cover picture alone" if streams else ""))
    best = container.streams.best("video")
    return best if best in moving else moving[0]


def _is_cover(stream: Any, path: str | Path) -> bool:
    """Tell whether a video stream is a picture that goes with others: said to be, or the only one.

    Matroska files may hold one beside sound that is not said to be a cover.
    """
    from av.stream import Disposition

    if stream.disposition & (Disposition.attached_pic | Disposition.timed_thumbnails):
        return True
    others = stream.container.streams
    if stream.codec.canonical_name not in PICTURE_CODECS or not others.audio:
        return False
    with _opened(path) as again:
        packets = (packet for packet in again.demux(again.streams[stream.index]) if packet.size)
        return len(list(islice(packets, 2))) < 2


def _display_matrix(frame: Any) -> tuple[int, ...]:
    data = frame.side_data.get("DISPLAYMATRIX")
    return struct.unpack("=9i", bytes(data)) if data is not None else (1, 0, 0, 0, 1, 0, 0, 0, 1)
