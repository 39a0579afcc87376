import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from datasets.decode import pyav_frames
from datasets.decode.pyav_frames import (
    UnreadableVideoError,
    to_upright_array,
    to_upright_rgb,
)
from datasets.decode.video_file import VideoFile
from datasets.live import video_frames

av = pytest.importorskip("av")

COLOURS = [(20 * index + 10, 128, 250 - 20 * index) for index in range(12)]  # one per frame
SIZE = (64, 32)


def write_video(
    path: Path,
    pictures: Sequence[Image.Image],
    display_rotation: dict[str, Any] | None = None,
) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height = pictures[0].size
        stream.pix_fmt = "yuv420p"
        stream.bit_rate = 2_000_000
        if display_rotation is not None:
            stream.set_display_rotation(**display_rotation)
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_image(picture)))
        container.mux(stream.encode())
    return path


def plain_pictures(
    colours: Sequence[tuple[int, int, int]] = COLOURS, size: tuple[int, int] = SIZE
) -> list[Image.Image]:
    return [Image.new("RGB", size, colour) for colour in colours]


def assert_close(colour: Any, expected: Any) -> None:
    # MPEG-4 loses a few levels; neighbouring frames differ by 20.
    assert max(abs(a - b) for a, b in zip(colour, expected, strict=True)) < 8


@pytest.mark.parametrize("name", ["v.mp4", "v.avi", "v.mkv"])
def test_every_frame_comes_once_in_order_as_rgb(name: str, tmp_path: Path) -> None:
    frames = list(pyav_frames.decode_frames(write_video(tmp_path / name, plain_pictures())))
    assert len(frames) == len(COLOURS)
    for frame, colour in zip(frames, COLOURS, strict=True):
        assert (frame.mode, frame.size) == ("RGB", SIZE)
        assert_close(frame.getpixel((32, 16)), colour)


def test_importing_the_module_needs_neither_av_nor_torch() -> None:
    code = "import sys, datasets.decode.pyav_frames; assert not {'av', 'torch'} & set(sys.modules)"
    root = str(Path(pyav_frames.__file__).parents[2])
    subprocess.run([sys.executable, "-c", code], cwd=root, check=True)


def test_missing_av_is_an_error_that_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    pyav_frames.require_av()
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(ImportError, match="pip install av"):
        pyav_frames.require_av()


def test_file_that_ends_early_is_an_error_after_its_frames(tmp_path: Path) -> None:
    pictures = plain_pictures(COLOURS * 4, size=(320, 240))
    path = write_video(tmp_path / "v.avi", pictures)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3])
    frames: list[Image.Image] = []
    with pytest.raises(pyav_frames.EndsEarlyError) as caught:
        frames.extend(pyav_frames.decode_frames(path))
    assert 0 < len(frames) < 40
    assert str(caught.value) == f"decoded {len(frames)} frames, the header promises 48"


@pytest.mark.parametrize(("num_promised", "is_early"), [(13, False), (14, True), (0, False)])
def test_early_is_below_nine_tenths_of_a_promise(
    num_promised: int, is_early: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_video(tmp_path / "v.avi", plain_pictures())  # 12 = 0.92 * 13 = 0.86 * 14
    monkeypatch.setattr(pyav_frames, "num_frames_in_header", lambda stream: num_promised)
    if is_early:
        with pytest.raises(pyav_frames.EndsEarlyError, match="12 frames, the header promises 14"):
            list(pyav_frames.decode_frames(path))
    else:
        assert len(list(pyav_frames.decode_frames(path))) == 12


@pytest.mark.parametrize(("name", "expected"), [("v.mp4", 12), ("v.avi", 12), ("v.mkv", 0)])
def test_header_gives_the_count_or_zero(name: str, expected: int, tmp_path: Path) -> None:
    with av.open(str(write_video(tmp_path / name, plain_pictures()))) as container:
        assert pyav_frames.num_frames_in_header(container.streams.video[0]) == expected


def cut_out(source: Path, target: Path, num_hidden: int) -> Path:
    """Copy packets with the first frames before time 0, as `ffmpeg -ss ... -c copy` does."""
    options = {"avoid_negative_ts": "disabled"}
    with av.open(str(source)) as old, av.open(str(target), "w", options=options) as new:
        template = old.streams.video[0]
        stream = new.add_stream_from_template(template)
        shift = round(num_hidden / 10 / template.time_base)
        for packet in old.demux(template):
            if packet.dts is not None:  # the last one only flushes
                packet.pts -= shift
                packet.dts -= shift
                packet.stream = stream
                new.mux(packet)
    return target


def test_frames_that_an_edit_list_hides_are_not_missed(tmp_path: Path) -> None:
    full = write_video(tmp_path / "full.mp4", plain_pictures())
    part = cut_out(full, tmp_path / "part.mp4", num_hidden=7)
    with av.open(str(part)) as container:
        assert container.streams.video[0].frames == 12
    frames = list(pyav_frames.decode_frames(part))
    assert len(frames) == 5
    assert_close(frames[0].getpixel((32, 16)), COLOURS[7])


def test_file_without_a_video_stream_or_a_frame_is_an_error(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "sound.wav"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        silence = av.AudioFrame(format="s16", layout="mono", samples=800)
        silence.sample_rate = 8000
        container.mux(stream.encode(silence))
    with pytest.raises(ValueError, match="no video stream"):
        list(pyav_frames.decode_frames(tmp_path / "sound.wav"))
    (tmp_path / "empty.mp4").touch()
    with pytest.raises(av.error.InvalidDataError, match="Invalid data found"):
        list(pyav_frames.decode_frames(tmp_path / "empty.mp4"))


@pytest.mark.parametrize("signs", list(pyav_frames.UPRIGHT))
def test_upright_moves_every_pixel_where_the_matrix_sends_it(signs: tuple[int, ...]) -> None:
    image = Image.new("L", (3, 2))
    image.putdata(range(6))
    a, b, c, d = signs if any(signs) else (1, 0, 0, 1)  # an empty matrix moves nothing
    one = 1 << 16
    matrix = [one * signs[0], one * signs[1], 0, one * signs[2], one * signs[3], 0, 0, 0, 1 << 30]
    turned = pyav_frames.upright(image, matrix)
    moved = {
        (a * x + c * y, b * x + d * y): image.getpixel((x, y)) for y in (0, 1) for x in range(3)
    }
    left, top = min(x for x, _ in moved), min(y for _, y in moved)
    for (x, y), value in moved.items():
        assert turned.getpixel((x - left, y - top)) == value


def test_oblique_display_matrix_is_an_error() -> None:
    half = 46341
    with pytest.raises(ValueError, match="multiple of 90 degrees"):
        pyav_frames.upright(Image.new("L", (3, 2)), [half, half, 0, -half, half, 0, 0, 0, 1])


@pytest.mark.parametrize(
    ("display_rotation", "corner"),
    [
        ({"degrees": 0}, (0, 0)),
        ({"degrees": 90}, (0, 1)),  # counter-clockwise: top left goes to bottom left
        ({"degrees": 180}, (1, 1)),
        ({"degrees": -90}, (1, 0)),
        ({"degrees": 0, "hflip": True}, (1, 0)),
    ],
)
def test_video_is_turned_as_its_container_says(
    display_rotation: dict[str, Any], corner: tuple[int, int], tmp_path: Path
) -> None:
    if not hasattr(av.video.stream.VideoStream, "set_display_rotation"):
        pytest.skip("this PyAV cannot write a display matrix")
    picture = Image.new("RGB", SIZE, "black")
    picture.paste("white", (0, 0, 16, 16))
    path = write_video(tmp_path / "v.mp4", [picture], display_rotation)
    (image,) = pyav_frames.decode_frames(path)
    is_portrait = abs(display_rotation["degrees"]) == 90
    assert image.size == (SIZE[::-1] if is_portrait else SIZE)
    at = (corner[0] * (image.width - 16) + 8, corner[1] * (image.height - 16) + 8)
    assert_close(image.getpixel(at), (255, 255, 255))
    assert_close(image.getpixel((image.width // 2, image.height // 2)), (0, 0, 0))


def test_phone_video_with_a_rotation_comes_out_upright(data_root: Path) -> None:
    path = data_root / "clips" / "rot90_decord.mov"
    images = list(pyav_frames.decode_frames(path))
    with av.open(str(path)) as container:
        stored = next(container.decode(video=0)).to_image(threads=1)
    assert len(images) == 3
    assert stored.size == (568, 320)
    assert images[0].size == (320, 568)
    for x, y in [(10, 10), (200, 30), (500, 300)]:  # stored row y becomes column 319 - y
        assert images[0].getpixel((319 - y, x)) == stored.getpixel((x, y))


def test_frames_of_too_many_pixels_and_pipes_are_refused(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", plain_pictures())
    first = next(pyav_frames.decode_frames(path))
    num_pixels = first.width * first.height
    assert next(pyav_frames.decode_frames(path, max_pixels=num_pixels)) == first
    with pytest.raises(ValueError, match=f"MAX_FRAME_PIXELS allows {num_pixels - 1}"):
        next(pyav_frames.decode_frames(path, max_pixels=num_pixels - 1))
    os.mkfifo(tmp_path / "pipe.mp4")
    with pytest.raises(OSError, match="it is a FIFO"):
        next(pyav_frames.decode_frames(tmp_path / "pipe.mp4"))


def write_sound(path: Path, video: str = "", is_cover_marked: bool = True) -> Path:
    """A sound file with a cover picture, and with a video before or after that, or without."""
    with av.open(str(path), "w") as container:
        kinds = {"": ["cover"], "first": ["video", "cover"], "last": ["cover", "video"]}[video]
        streams = {}
        for kind in kinds:
            stream = container.add_stream("mjpeg" if kind == "cover" else "mpeg4", rate=10)
            stream.width, stream.height = (320, 240) if kind == "cover" else SIZE
            stream.pix_fmt = "yuvj420p" if kind == "cover" else "yuv420p"
            if kind == "cover" and is_cover_marked:
                stream.disposition = av.stream.Disposition.attached_pic
            streams[kind] = stream
        sound = container.add_stream("aac", rate=44100)
        for kind, pictures in (
            ("cover", [Image.new("RGB", (320, 240), "red")]),
            ("video", plain_pictures()),
        ):
            if kind in streams:
                for number, picture in enumerate(pictures):
                    frame = av.VideoFrame.from_image(picture)
                    frame = frame.reformat(format=streams[kind].pix_fmt)
                    frame.pts = number
                    container.mux(streams[kind].encode(frame))
                container.mux(streams[kind].encode())
        for number in range(20):
            frame = av.AudioFrame(format="fltp", layout="mono", samples=1024)
            frame.planes[0].update(bytes(4096))
            frame.sample_rate, frame.pts = 44100, 1024 * number
            container.mux(sound.encode(frame))
        container.mux(sound.encode())
    return path


@pytest.mark.parametrize("is_cover_marked", [True, False])
@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_cover_of_a_sound_file_is_no_video(
    suffix: str, is_cover_marked: bool, tmp_path: Path
) -> None:
    path = write_sound(tmp_path / f"sound.{suffix}", is_cover_marked=is_cover_marked)
    for read in (lambda: list(pyav_frames.decode_frames(path)), lambda: len(VideoFile(path))):
        with pytest.raises(ValueError, match="no video stream, a cover picture alone"):
            read()


@pytest.mark.parametrize("video", ["first", "last"])
@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_video_beside_a_cover_is_read(suffix: str, video: str, tmp_path: Path) -> None:
    path = write_sound(tmp_path / f"sound.{suffix}", video)
    frames = list(pyav_frames.decode_frames(path))
    assert [frame.size for frame in frames] == [SIZE] * len(COLOURS)
    assert VideoFile(path).read([3]).shape == (1, SIZE[1], SIZE[0], 3)


def test_motion_jpeg_with_sound_is_a_video(tmp_path: Path) -> None:
    path = tmp_path / "camera.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=10)
        (stream.width, stream.height), stream.pix_fmt = SIZE, "yuvj420p"
        container.add_stream("aac", rate=44100)
        for picture in plain_pictures():
            frame = av.VideoFrame.from_image(picture).reformat(format="yuvj420p")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    assert len(VideoFile(path)) == len(COLOURS)


def test_torchcodec_is_told_which_stream_is_the_video(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = []

    def decoder(path: str, stream_index: int, **_: Any) -> SimpleNamespace:
        opened.append(stream_index)
        metadata = SimpleNamespace(
            width=64, height=32, num_frames_from_content=12, num_frames_from_header=12
        )
        return SimpleNamespace(metadata=metadata)

    monkeypatch.setitem(sys.modules, "torchcodec.decoders", SimpleNamespace(VideoDecoder=decoder))
    monkeypatch.setitem(sys.modules, "torchcodec", SimpleNamespace())
    assert len(VideoFile(write_sound(tmp_path / "both.mkv", "last"), "torchcodec")) == 12
    assert opened == [1]
    with pytest.raises(ValueError, match=r"TorchCodec: .*no video stream, a cover"):
        len(VideoFile(write_sound(tmp_path / "sound.mp4"), "torchcodec"))


def test_size_that_changes_in_mid_file_is_refused_and_by_extraction_told(tmp_path: Path) -> None:
    parts = []
    for name, size in (("a.ts", (64, 32)), ("b.ts", (96, 48))):
        with av.open(str(tmp_path / name), "w") as container:
            stream = container.add_stream("mpeg2video", rate=25)
            (stream.width, stream.height), stream.pix_fmt = size, "yuv420p"
            for picture in plain_pictures(size=size):
                container.mux(stream.encode(av.VideoFrame.from_image(picture)))
            container.mux(stream.encode())
        parts.append((tmp_path / name).read_bytes())
    path = tmp_path / "both.ts"
    path.write_bytes(b"".join(parts))
    assert {frame.size for frame in pyav_frames.decode_frames(path)} == {(64, 32), (96, 48)}
    reader = VideoFile(path)
    assert reader.read([0, 5]).shape == (2, 32, 64, 3)
    reads = (
        lambda: len(reader),
        lambda: reader.read([20]),
        lambda: list(video_frames(path, lambda number, seconds: True)),
    )
    for read in reads:
        with pytest.raises(
            UnreadableVideoError, match=r"has 96 x 48 pixels, those before it 64 x 32"
        ):
            read()


@pytest.mark.parametrize("pixels", ["yuv420p", "yuv444p", "yuv420p10le", "gray", "rgb24"])
@pytest.mark.parametrize("size", [(40, 30), (38, 22), (201, 97)])
def test_array_of_a_frame_is_its_picture(size: tuple[int, int], pixels: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    frame = av.VideoFrame.from_ndarray(noise, format="rgb24").reformat(format=pixels, threads=1)
    found = to_upright_array(frame)
    assert found.shape == noise.shape
    np.testing.assert_array_equal(found, np.asarray(to_upright_rgb(frame)))
