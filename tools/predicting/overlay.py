"""A video with the best classes of each moment drawn on it."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from datasets.annotations import VideoRecord
from datasets.decode.pyav_frames import require_av
from datasets.readers import UnreadableVideoError, VideoReader
from datasets.records import open_frames
from engine.fonts import Font, drawn_names, font_for
from tools.predicting.sliding_windows import numbered_frames
from tools.predicting.timeline import Timeline
from tools.predicting.video_classifier import VideoClassifier

CODEC = "libx264"
# Containers that keep the times of H.264. AVI and MPEG have none for frames that are reordered.
SUFFIXES = (".mp4", ".m4v", ".mov", ".mkv")
CLOCK = 90_000  # ticks a second: of 24, 25, 30 and 30000/1001 frames each is a whole number
TEXT_HEIGHT = 1 / 22  # of the picture
LEAST_TEXT = 9  # pixels
GROUND_HEIGHT = 0.4  # of the picture, at most
LEAST_LETTERS = 4  # of a name that is cut off
LINE_HEIGHT = 1.25  # of the text's size
BT601 = 5  # FFmpeg's number of the matrix that it turns RGB into YUV by; HD players assume another


def check_overlay(path: Path) -> None:
    """Find out whether a video can be written under a name, before any work.

    Raises:
        MissingDecoderError: PyAV is not installed.
        ValueError: Its suffix stands for another container, or PyAV has no encoder.
    """
    require_av()
    import av

    if path.suffix.lower() not in SUFFIXES:
        raise ValueError(
            f"cannot write --overlay {path}: its suffix is {path.suffix or 'missing'}; the video "
            f"is H.264 with times of its own, in {', '.join(SUFFIXES)}"
        )
    if CODEC not in av.codecs_available:
        raise ValueError(f"cannot write --overlay {path}: this PyAV was built without {CODEC}")


def write_overlay(
    path: Path, classifier: VideoClassifier, record: VideoRecord, timeline: Timeline, topk: int
) -> None:
    """Write a video as H.264, upright, in its own size and with its own times, without sound.

    Args:
        path: Path of the file; its suffix says in what container.
        classifier: Classifier that knows the class names.
        record: Record of the video.
        timeline: Timeline of this video.
        topk: Number of classes drawn.

    Raises:
        ValueError: The file cannot be written.
        UnreadableVideoError: The video cannot be read to its end.
    """
    import av

    reader = open_frames(classifier.cfg, record)
    part = path.with_name(f".part-{path.name}")
    try:
        with av.open(str(part), "w") as container:
            _encode(container, reader, classifier, timeline, topk)
        part.replace(path)
    except UnreadableVideoError:  # which is a ValueError, and says all
        raise
    except (av.FFmpegError, OSError, ValueError) as error:
        raise ValueError(f"cannot write --overlay {path}: {error}") from error
    finally:
        part.unlink(missing_ok=True)


def draw_ranks(picture: np.ndarray, ranks: list[tuple[int, str, float]]) -> Image.Image:
    """Return a picture (H, W, 3) with a line for each rank at the top left, on a dark ground.

    The ground takes at most two fifths of the height: a small picture has the best ranks alone, in
    smaller letters, and a name that is too long for it is cut off.
    """
    image = Image.fromarray(picture).convert("RGB")
    size = max(LEAST_TEXT, round(image.height * TEXT_HEIGHT))
    line_height, pad = round(size * LINE_HEIGHT), min(size // 2, image.height // 30)
    num_lines = max(1, int((GROUND_HEIGHT * image.height - 2 * pad) // line_height))
    canvas = ImageDraw.Draw(image, "RGBA")
    shown = [
        _fitted(name, score, size, canvas, image.width - 2 * pad)
        for _, name, score in ranks[:num_lines]
    ]
    width = max((canvas.textlength(line, font) for line, font in shown), default=0)
    height = len(shown) * line_height
    canvas.rectangle((0, 0, width + 2 * pad, height + 2 * pad), (0, 0, 0, 150))
    for number, (line, font) in enumerate(shown):
        canvas.text((pad, pad + number * line_height), line, (255, 255, 255, 255), font)
    return image


def _fitted(
    name: str, score: float, size: int, canvas: ImageDraw.ImageDraw, width: float
) -> tuple[str, Font]:
    """Return a rank's line and its font, of a width that there is room for.

    What gives way is, in this order: the size, the end of the name, the score.
    """
    full = f"{score:.2f} {name}"
    while size > LEAST_TEXT and canvas.textlength(full, font_for(full, size)) > width:
        size -= 1
    font = font_for(full, size)
    for start in (f"{score:.2f} ", ""):
        for length in range(len(name), min(len(name), LEAST_LETTERS) - 1, -1):
            line = start + (name if length == len(name) else f"{name[:length]}.")
            if canvas.textlength(line, font) <= width:
                return line, font
    return name[:LEAST_LETTERS], font


def _encode(
    container: Any,
    reader: VideoReader,
    classifier: VideoClassifier,
    timeline: Timeline,
    topk: int,
) -> None:
    import av

    rate = Fraction(reader.fps).limit_denominator(1001)
    stream: Any = container.add_stream(CODEC, rate=rate)
    stream.codec_context.time_base = Fraction(1, CLOCK)
    stream.codec_context.colorspace = BT601
    last, names = -1, drawn_names(classifier.class_names)
    for frame in numbered_frames(reader, None, []):
        best = classifier.best(timeline.at(frame.seconds), topk)
        image = draw_ranks(
            frame.picture, [(label, names[label], score) for label, _, score in best]
        )
        if last < 0:
            stream.width, stream.height = image.size
            is_even = image.width % 2 == image.height % 2 == 0
            stream.pix_fmt = "yuv420p" if is_even else "yuv444p"  # halves of odd sizes do not exist
        encoded = av.VideoFrame.from_image(image)
        last = max(last + 1, round(frame.seconds * CLOCK))
        encoded.pts, encoded.time_base = last, Fraction(1, CLOCK)
        container.mux(stream.encode(encoded))
    container.mux(stream.encode())
