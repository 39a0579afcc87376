import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from config import load_cfg_text
from datasets.annotations import VideoRecord
from datasets.decode.pyav_frames import decode_frames
from datasets.live import (
    Every,
    LiveFrame,
    Newest,
    Pace,
    Rate,
    build_centre_view,
    camera_frames,
    video_frames,
)
from datasets.protocols import test_image_size as side_of_crops
from datasets.readers import UnreadableVideoError
from datasets.view_crops import VIEW_CROPS
from datasets.views import TestViews

av = pytest.importorskip("av")


def write_video(path: Path, num_frames: int = 12, rate: int = 10) -> Path:
    """Write frames whose grey tells their number."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=rate)
        stream.width, stream.height, stream.pix_fmt = 48, 32, "yuv420p"
        for number in range(num_frames):
            picture = np.full((32, 48, 3), 5 * number % 256, dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture)))
        container.mux(stream.encode())
    return path


def wanted(pace: Pace, seconds: list[float]) -> list[int]:
    return [number for number, time in enumerate(seconds) if pace(number, time)]


def test_paces_by_hand() -> None:
    at_10 = [number / 10 for number in range(12)]
    assert wanted(Every(4), at_10) == [0, 4, 8]
    assert wanted(Rate(5), at_10) == [0, 2, 4, 6, 8, 10]
    assert wanted(Rate(3), at_10) == [0, 4, 7, 10]  # ticks at 0, 1/3, 2/3, 1
    assert wanted(Rate(100), at_10) == [*range(12)]
    assert wanted(Rate(1), [0.0, 0.1, 5.0, 5.1, 6.0]) == [0, 2, 4]  # a gap is not made up for


@pytest.mark.parametrize("pace", [lambda: Every(0), lambda: Rate(0.0), lambda: Rate(float("nan"))])
def test_impossible_paces_are_errors(pace: type[Pace]) -> None:
    with pytest.raises(ValueError, match="it must be"):
        pace()


def test_frames_of_a_file_are_those_of_its_decode_with_their_times(tmp_path: Path) -> None:
    path = write_video(tmp_path / "v.mp4")
    decoded = [np.asarray(image) for image in decode_frames(path)]
    frames = list(video_frames(path, Every(3)))
    assert [frame.number for frame in frames] == [0, 3, 6, 9]
    assert [frame.seconds for frame in frames] == pytest.approx([0, 0.3, 0.6, 0.9])
    assert all(np.array_equal(frame.picture, decoded[frame.number]) for frame in frames)


def test_a_file_cut_short_gives_its_frames_and_then_an_error(tmp_path: Path) -> None:
    whole = write_video(tmp_path / "v.avi", num_frames=400).read_bytes()
    (tmp_path / "cut.avi").write_bytes(whole[: len(whole) // 2])
    frames: list[LiveFrame] = []
    with pytest.raises(UnreadableVideoError, match=r"cut.avi: after \d+ frames"):
        frames.extend(video_frames(tmp_path / "cut.avi", Every(1)))
    assert 0 < len(frames) < 400
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(UnreadableVideoError, match=r"text.mp4: after 0 frames"):
        list(video_frames(tmp_path / "text.mp4", Every(1)))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="names the device of Linux")
def test_a_camera_that_is_not_there_is_named() -> None:
    with pytest.raises(UnreadableVideoError, match=r"camera 97 \(/dev/video97 by v4l2\)"):
        next(iter(camera_frames(97, Every(1))))


def frame(number: int) -> LiveFrame:
    return LiveFrame(number, float(number), np.zeros((1, 1, 3), np.uint8))


def test_a_slow_taker_gets_the_newest_frame_and_the_rest_is_counted() -> None:
    is_read = threading.Event()

    def source() -> Iterator[LiveFrame]:
        yield frame(0)
        is_read.wait()
        yield from map(frame, range(1, 6))

    newest, taken = Newest(source()), []
    for live in newest:
        taken.append(live.number)
        is_read.set()
        time.sleep(0.5)  # all others come meanwhile
    assert taken[0] == 0
    assert taken[-1] == 5
    assert len(taken) + newest.num_dropped == 6
    assert newest.num_dropped == 4


def test_an_error_of_the_source_comes_after_its_last_frame() -> None:
    def source() -> Iterator[LiveFrame]:
        yield frame(0)
        raise UnreadableVideoError("unplugged")

    taken = []
    with pytest.raises(UnreadableVideoError, match="unplugged"):
        taken.extend(Newest(source()))
    assert next(iter(Newest([frame(0)]))).number == 0


@pytest.mark.parametrize("crops", ["tokshift", "tsm"])
@pytest.mark.parametrize("size", [(40, 57), (64, 32), (33, 33)])
def test_the_centre_view_is_that_of_the_test(crops: str, size: tuple[int, int]) -> None:
    text = "DATA: {IMAGE_SIZE: 24, TEST_SHORT_SIDE: 28}\nMODEL: {VIT: {PATCH_SIZE: 8}}"
    cfg = load_cfg_text(text, "test", ["TEST.CROPS", crops])
    pictures = np.random.default_rng(0).integers(0, 256, (3, *size, 3), dtype=np.uint8)

    class Pictures:
        def read(self, indices: np.ndarray) -> np.ndarray:
            return pictures[indices]

    views = TestViews(
        [VideoRecord("v", 3, 0, 1)],
        lambda record: Pictures(),  # type: ignore[arg-type, return-value]
        lambda num_frames: np.arange(num_frames)[None],
        short_side=28,
        image_size=side_of_crops(cfg, "test"),
        num_crops=1,
        crops=VIEW_CROPS[crops],
    )[0]
    centre_view = build_centre_view(cfg)
    own = torch.cat([centre_view(picture) for picture in pictures])
    assert torch.equal(own, views.distinct[0])
