import gc
import os
import re
import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from datasets.decode import pyav_decoder, video_file
from datasets.decode.pyav_frames import EndsEarlyError, MissingDecoderError, decode_frames
from datasets.readers import UnreadableVideoError, VideoFile
from tests.clip_files import pictures
from tools.extract_frames import FrameOptions, write_frames

av = pytest.importorskip("av")

Make = Callable[..., Path]


def decode(path: Path) -> list[np.ndarray]:
    """Decode as many frames as there are before the file ends or breaks."""
    frames = []
    try:
        for image in decode_frames(path):
            frames.append(np.asarray(image))
    except (av.FFmpegError, EndsEarlyError):
        pass
    return frames


def assert_reads_as_decoded(path: Path, frames: list[np.ndarray]) -> None:
    rng = np.random.default_rng(0)
    last = len(frames) - 1
    far_apart = [last, 0, last // 2, last, last // 2]
    for indices in (far_apart, list(range(0, last + 1, 7)), *rng.integers(0, last + 1, (6, 4))):
        read = VideoFile(path).read(indices)
        assert (read.dtype, read.shape) == (np.uint8, (len(indices), *frames[0].shape))
        for index, frame in zip(indices, read, strict=True):
            np.testing.assert_array_equal(frame, frames[index], err_msg=f"{path.name} {index}")


def forbid_decoding_from_the_start(patch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any) -> None:
        raise AssertionError("decoded from the start")

    patch.setattr(pyav_decoder, "_from_start", fail)


def test_every_frame_of_every_codec_is_that_of_a_decode_from_the_start(
    clip_kind: Any, make_clip: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_clip(clip_kind)
    frames = decode(path)
    if clip_kind.is_sought:
        forbid_decoding_from_the_start(monkeypatch)
    assert_reads_as_decoded(path, frames)
    video = VideoFile(path)
    for index, frame in enumerate(frames):  # each alone, by the index learned for the first
        np.testing.assert_array_equal(video.read([index])[0], frame)


def test_count_is_that_of_a_decode_and_of_the_extracted_frames(
    clip_kind: Any, make_clip: Make, tmp_path: Path
) -> None:
    path = make_clip(clip_kind)
    num_extracted = write_frames(decode_frames(path), tmp_path, FrameOptions(short_side=0))
    assert len(VideoFile(path)) == len(decode(path)) == num_extracted == 61
    assert sum(1 for _ in tmp_path.iterdir()) == num_extracted


def test_real_clips_are_read_as_decoded(data_root: Path) -> None:
    for path in sorted((data_root / "clips").iterdir()):
        frames = decode(path) if path.suffix != ".csv" else []
        if frames:
            assert_reads_as_decoded(path, frames)
            is_damaged = "truncated" in path.name or "corrupted" in path.name
            if is_damaged:
                with pytest.raises(UnreadableVideoError, match=f"decoded {len(frames)} frames"):
                    len(VideoFile(path))
            else:
                assert len(VideoFile(path)) == len(frames)


def test_repeated_indices_are_decoded_once(
    make_clip: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    converted = []
    convert = pyav_decoder.to_upright_array
    monkeypatch.setattr(
        pyav_decoder, "to_upright_array", lambda frame: converted.append(frame) or convert(frame)
    )
    for name in ("x264.mp4", "mpeg4.avi"):
        converted.clear()
        frames = VideoFile(make_clip(name)).read(np.array([40, 3, 40, 40]))
        assert len(converted) == 2
        np.testing.assert_array_equal(frames[0], frames[2])


def test_far_frame_of_a_long_file_is_reached_without_decoding_all_before(
    make_clip: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_clip("x264.mp4", num_frames=1500)
    decoded_from, numbers = pyav_decoder._decoded_from, []

    def counted(*args: Any) -> Any:
        for number, frame in decoded_from(*args):
            numbers.append(number)
            yield number, frame

    monkeypatch.setattr(pyav_decoder, "_decoded_from", counted)
    (frame,) = VideoFile(path).read([1490])
    np.testing.assert_array_equal(frame, decode(path)[1490])
    assert numbers[-1] == 1490
    assert len(numbers) <= 1500 / 4


def test_seek_that_lands_elsewhere_is_noticed(
    make_clip: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_clip("x264.mp4")
    frames = decode(path)
    index = pyav_decoder.PacketIndex
    wrong = lambda self, frame: self.starts[-1]  # noqa: E731
    monkeypatch.setattr(index, "last_start", wrong)
    np.testing.assert_array_equal(VideoFile(path).read([5, 50])[0], frames[5])
    shifted = index.__init__
    monkeypatch.undo()
    monkeypatch.setattr(
        index, "__init__", lambda self, pts, starts: shifted(self, [*pts[:30], *pts[31:]], starts)
    )
    np.testing.assert_array_equal(VideoFile(path).read([35])[0], frames[35])


def test_frame_beyond_the_end_is_an_error_that_gives_the_real_count(make_clip: Make) -> None:
    for name, promise in (("x264.mp4", "61"), ("x264.mkv", "no number"), ("mpeg4.avi", "61")):
        path = make_clip(name)
        text = f"{path}: PyAV: no frame 61: the file holds 61 frames, the header promises {promise}"
        with pytest.raises(UnreadableVideoError, match=f"^{re.escape(text)}$"):
            VideoFile(path).read([0, 61])


def test_frame_before_the_first_is_an_error(make_clip: Make) -> None:
    with pytest.raises(UnreadableVideoError, match="index -2 is before the first frame"):
        VideoFile(make_clip("x264.mp4")).read([3, -2])


def cut(source: Path, target: Path, share: float) -> Path:
    content = source.read_bytes()
    target.write_bytes(content[: int(len(content) * share)])
    return target


def test_file_that_ends_early_says_how_many_frames_there_are_and_should_be(
    make_clip: Make, tmp_path: Path
) -> None:
    path = cut(make_clip("mpeg4.avi"), tmp_path / "cut.avi", 0.5)
    num_frames = len(decode(path))
    assert 0 < num_frames < 50
    text = f"{path}: PyAV: EndsEarlyError: decoded {num_frames} frames, the header promises 61"
    for use in (len, lambda video: video.read([num_frames + 1])):
        with pytest.raises(UnreadableVideoError, match=f"^{re.escape(text)}$") as caught:
            use(VideoFile(path))
        assert isinstance(caught.value.__cause__, EndsEarlyError)
    frames = decode(path)
    middle = num_frames // 2
    np.testing.assert_array_equal(VideoFile(path).read([middle])[0], frames[middle])


def test_broken_packet_is_an_error_with_the_real_exception(make_clip: Make, tmp_path: Path) -> None:
    content = bytearray(make_clip("x264.mp4").read_bytes())
    path = tmp_path / "broken.mp4"
    middle = len(content) // 2
    content[middle : middle + 400] = b"\xff" * 400
    path.write_bytes(content)
    num_frames = len(decode(path))
    assert 0 < num_frames < 61
    with pytest.raises(UnreadableVideoError, match="mp4: PyAV: InvalidDataError: ") as caught:
        VideoFile(path).read([60])
    assert str(caught.value).endswith(f"; decoded {num_frames} frames, the header promises 61")


def test_what_is_no_video_is_an_error_that_says_so(tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("no video\n" * 50)
    Image.new("RGB", (8, 8)).save(tmp_path / "picture.png")
    os.mkfifo(tmp_path / "pipe.mp4")
    for name, reason in (
        ("empty.mp4", "InvalidDataError: .*Invalid data found"),
        ("text.mp4", "InvalidDataError: .*Invalid data found"),
        ("gone.mp4", "FileNotFoundError: no such file"),
        ("pipe.mp4", "NotAFileError: it is a FIFO, not a file"),
    ):
        for use in (len, lambda video: video.fps, lambda video: video.read([0])):
            with pytest.raises(UnreadableVideoError, match=f"{name}: PyAV: {reason}"):
                use(VideoFile(tmp_path / name))


@pytest.mark.parametrize("fault", [TypeError, AttributeError, NameError, KeyError])
@pytest.mark.parametrize("where", ["open_video", "read_packet_index", "to_upright_array"])
def test_fault_of_the_code_is_no_unreadable_video(
    fault: type[Exception], where: str, make_clip: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: Any, **kwargs: Any) -> None:
        raise fault("ours")

    reader = VideoFile(make_clip("x264.mp4"))
    monkeypatch.setattr(pyav_decoder, where, fail)
    with pytest.raises(fault, match="ours"):
        reader.read([0])


@pytest.mark.parametrize("name", ["x264.mp4", "x264.mkv", "mpeg4.avi"])
def test_title_that_is_not_utf8_does_not_matter(name: str, make_clip: Make, tmp_path: Path) -> None:
    path, source = tmp_path / name, make_clip(name)
    with av.open(str(source)) as old, av.open(str(path), "w") as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        stream.time_base = old.streams.video[0].time_base  # PyAV 17.0 leaves it open
        new.metadata["title"] = "TITLE"
        for packet in old.demux(video=0):
            if packet.size:
                packet.stream = stream
                new.mux(packet)
    data = path.read_bytes()
    assert data.count(b"TITLE") == 1
    path.write_bytes(data.replace(b"TITLE", b"T\xefT\xfc\xff"))
    reader, original = VideoFile(path), VideoFile(source)
    assert (len(reader), reader.fps) == (len(original), original.fps)
    np.testing.assert_array_equal(reader.read([60, 3]), original.read([60, 3]))


def test_file_with_sound_alone_is_an_error(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "sound.wav"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        silence = av.AudioFrame(format="s16", layout="mono", samples=800)
        silence.sample_rate = 8000
        container.mux(stream.encode(silence))
    with pytest.raises(UnreadableVideoError, match="PyAV: ValueError: no video stream"):
        len(VideoFile(tmp_path / "sound.wav"))


def test_name_with_a_colon_or_a_per_cent_sign_is_a_name(make_clip: Make, tmp_path: Path) -> None:
    path = tmp_path / "http:a %03d#?.mp4"
    path.write_bytes(make_clip("x264.mp4").read_bytes())
    assert len(VideoFile(path)) == 61


def test_rate_is_the_average(make_clip: Make) -> None:
    assert VideoFile(make_clip("x264.mp4")).fps == 25
    assert VideoFile(make_clip("x264_variable.mp4")).fps == pytest.approx(25, rel=0.02)


@pytest.mark.parametrize(("step", "fps"), [(40, 25), (20, 50)])
def test_rate_of_a_header_counts_if_the_times_of_the_frames_bear_it_out(
    step: int, fps: float, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "fifty.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=50)
        stream.width, stream.height, stream.pix_fmt = 32, 16, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for number, picture in enumerate(pictures(32, 16, 20)):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = step * number, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    assert VideoFile(path).fps == pytest.approx(fps, rel=1e-3)
    assert ("its header says 50 frames a second" in caplog.text) == (fps != 50)


def test_stream_is_the_one_ffmpeg_calls_best(tmp_path: Path) -> None:
    path = tmp_path / "two.mkv"
    with av.open(str(path), "w") as container:
        streams = []
        for width, height in ((32, 16), (64, 48)):
            stream = container.add_stream("libx264", rate=25)
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            streams.append(stream)
        streams[1].disposition = av.stream.Disposition.default.value  # as PyAV 17.0 takes it
        for number in range(10):
            for stream in streams:
                shape = (stream.height, stream.width, 3)
                picture = np.full(shape, 20 * number, np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        for stream in streams:
            container.mux(stream.encode())
    assert VideoFile(path).read([9]).shape == (1, 48, 64, 3)  # the default, not the first
    assert_reads_as_decoded(path, decode(path))


def num_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def resident_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def read_many(paths: list[Path], num_opens: int) -> None:
    for number in range(num_opens):
        path = paths[number % len(paths)]
        try:
            VideoFile(path).read([number % 20, 60])
        except UnreadableVideoError:
            assert path.name in ("cut.avi", "empty.mp4")
    gc.collect()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(
    "num_opens", [200, pytest.param(5000, marks=pytest.mark.slow)], ids=["200", "5000"]
)
def test_opening_leaves_neither_descriptors_nor_memory(
    num_opens: int, make_clip: Make, tmp_path: Path
) -> None:
    names = ("x264.mp4", "x264.mkv", "vp9.webm", "mpeg4.avi", "av1.mp4", "mpeg1.mpg")
    (tmp_path / "empty.mp4").touch()
    damaged = [cut(make_clip("mpeg4.avi"), tmp_path / "cut.avi", 0.5), tmp_path / "empty.mp4"]
    paths = [make_clip(name) for name in names] + damaged
    read_many(paths, 100 + num_opens // 5)  # what is loaded once, and the allocator's reserves
    descriptors, memory = num_descriptors(), resident_mib()
    read_many(paths, num_opens)
    assert num_descriptors() == descriptors
    # 12 MiB measured over 4000 opens; one small frame leaked by each would be 90 over 5000
    assert resident_mib() - memory < 40


def test_decoder_is_chosen_by_name(make_clip: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_clip("x264.mp4")
    with pytest.raises(ValueError, match="decoder 'decord'; choose one of"):
        VideoFile(path, "decord")
    assert isinstance(video_file.open_decoder(path, "auto"), pyav_decoder.PyAVDecoder)
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(ImportError, match="pip install av"):
        VideoFile(path, "pyav")


def test_without_pyav_auto_is_torchcodec(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(video_file, "find_spec", lambda name: name == "torchcodec")
    monkeypatch.setattr(video_file, "require_torchcodec", lambda: None)
    decoder = video_file.open_decoder(Path("v.mp4"), "auto")
    assert isinstance(decoder, video_file.TorchCodecDecoder)


def test_without_any_decoder_the_error_names_pyav(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(video_file, "find_spec", lambda name: None)
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(MissingDecoderError, match="pip install av"):
        VideoFile("v.mp4", "auto")


def test_torchcodec_that_does_not_work_is_an_error_that_says_why(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "torchcodec", None)
    monkeypatch.setitem(sys.modules, "torchcodec.decoders", None)
    with pytest.raises(ImportError, match=r"does not work here: .*torchcodec"):
        VideoFile("v.mp4", "torchcodec")


@pytest.fixture
def torchcodec() -> None:
    try:
        video_file.require_torchcodec()
    except ImportError as error:
        pytest.skip(str(error))


@pytest.mark.usefixtures("torchcodec")
@pytest.mark.parametrize(
    "name", ["x264.mp4", "x264.mkv", "x264.mov", "x264_variable.mp4", "vp9.webm", "mpeg4.avi"]
)
def test_torchcodec_gives_the_same_frames(name: str, make_clip: Make) -> None:
    path = make_clip(name)
    ours, theirs = VideoFile(path, "pyav"), VideoFile(path, "torchcodec")
    assert len(ours) == len(theirs) == 61
    assert theirs.fps == pytest.approx(ours.fps, rel=0.02)
    indices = [60, 3, 31, 3]
    difference = np.abs(ours.read(indices).astype(int) - theirs.read(indices))
    assert difference.max() <= 3  # another FFmpeg may round colours otherwise; frames are 20 apart


@pytest.mark.usefixtures("torchcodec")
def test_torchcodec_names_a_file_that_is_cut_and_a_frame_beyond_the_end(
    make_clip: Make, tmp_path: Path
) -> None:
    path = cut(make_clip("mpeg4.avi"), tmp_path / "cut.avi", 0.5)
    with pytest.raises(UnreadableVideoError, match=r"cut\.avi: TorchCodec: EndsEarlyError"):
        len(VideoFile(path, "torchcodec"))
    with pytest.raises(UnreadableVideoError, match=r"x264\.mp4: TorchCodec: IndexError"):
        VideoFile(make_clip("x264.mp4"), "torchcodec").read([61])


READS_THEN_FORKS = """
import sys
from torch.utils.data import DataLoader
from datasets.readers import VideoFile
path = sys.argv[1]
VideoFile(path).read([0, 9])
readers = [VideoFile(path)] * 4
batches = DataLoader(readers, num_workers=2, collate_fn=lambda readers: readers[0].read([3]).sum())
print(len([int(batch) for batch in batches]))
"""


def test_loader_processes_read_after_their_parent_did(make_clip: Make, repository: Path) -> None:
    path = make_clip("x264.mp4")
    words = [sys.executable, "-c", READS_THEN_FORKS, str(path)]
    done = subprocess.run(words, cwd=repository, capture_output=True, text=True, timeout=120)
    assert done.stdout.split() == ["4"], done.stderr
