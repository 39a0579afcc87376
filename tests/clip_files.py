"""Video files of every codec that PyAV can write, each of distinct moving pictures."""

from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import pytest

NUM_FRAMES = 61


class ClipKind(NamedTuple):
    """How a clip is written; `is_sought` says that its frames must be found by seeking."""

    name: str
    codec: str
    options: Mapping[str, str] = MappingProxyType({})
    pix_fmt: str = "yuv420p"
    size: tuple[int, int] = (96, 64)
    is_sought: bool = False
    container_options: Mapping[str, str] = MappingProxyType({})
    is_variable: bool = False
    rotation: int = 0


GOP = {"g": "12"}
SVTAV1 = {**GOP, "preset": "12", "svtav1-params": "lp=1"}  # more threads once waited for ever
X264 = {**GOP, "bf": "3", "preset": "veryfast"}
FRAGMENTS = {"movflags": "frag_keyframe+empty_moov"}
CLIP_KINDS = [
    ClipKind("x264.mp4", "libx264", X264, is_sought=True),
    ClipKind("x264.mkv", "libx264", X264, is_sought=True),
    ClipKind("x264.mov", "libx264", X264, is_sought=True, rotation=90),
    ClipKind("x264.avi", "libx264", X264),  # its times are those of decoding
    ClipKind("x264.ts", "libx264", X264),
    ClipKind("x264_plain.avi", "libx264", {**X264, "bf": "0"}, is_sought=True),
    ClipKind("x264_fragments.mp4", "libx264", X264, container_options=FRAGMENTS, is_sought=True),
    ClipKind("x264_variable.mp4", "libx264", X264, is_variable=True, is_sought=True),
    ClipKind("x264_variable.mkv", "libx264", X264, is_variable=True, is_sought=True),
    ClipKind("x264_long.mp4", "libx264", {**X264, "g": "300"}, is_sought=True),
    ClipKind("x264_each.mp4", "libx264", {**X264, "g": "1"}, is_sought=True),
    ClipKind("x264_open.mp4", "libx264", {**X264, "x264-params": "open-gop=1"}),
    ClipKind("x264_refresh.mp4", "libx264", {**X264, "x264-params": "intra-refresh=1"}),
    ClipKind("x264_slices.mp4", "libx264", {**X264, "x264-params": "slices=4"}, is_sought=True),
    ClipKind("x264_fields.mp4", "libx264", {**X264, "x264-params": "tff=1"}),
    ClipKind("x264_10bit.mp4", "libx264", X264, pix_fmt="yuv420p10le", is_sought=True),
    ClipKind("x264_odd.mp4", "libx264", X264, pix_fmt="yuv444p", size=(97, 63), is_sought=True),
    ClipKind("x265.mp4", "libx265", {"x265-params": "keyint=12:log-level=none"}, is_sought=True),
    ClipKind(
        "x265_closed.mkv",
        "libx265",
        {"x265-params": "keyint=12:open-gop=0:log-level=none"},
        is_sought=True,
    ),
    ClipKind("vp8.webm", "libvpx", {**GOP, "auto-alt-ref": "1", "lag-in-frames": "16"}),
    ClipKind("vp8_plain.webm", "libvpx", {**GOP, "auto-alt-ref": "0"}, is_sought=True),
    ClipKind("vp9.webm", "libvpx-vp9", {**GOP, "cpu-used": "5"}, is_sought=True),
    ClipKind("vp9.mp4", "libvpx-vp9", {**GOP, "cpu-used": "5"}, is_sought=True),
    ClipKind("av1.mp4", "libsvtav1", SVTAV1, is_sought=True),
    ClipKind("av1.mkv", "libsvtav1", SVTAV1, is_sought=True),
    ClipKind("mpeg4.avi", "mpeg4", GOP),
    ClipKind("mpeg4.mp4", "mpeg4", {**GOP, "bf": "2"}),
    ClipKind("mpeg4_odd.mp4", "mpeg4", GOP, size=(95, 61)),
    ClipKind("mjpeg.avi", "mjpeg", pix_fmt="yuvj420p", is_sought=True),
    ClipKind("mpeg1.mpg", "mpeg1video", {**GOP, "bf": "2"}),
    ClipKind("mpeg2.mpg", "mpeg2video", {**GOP, "bf": "2"}),
    ClipKind("ffv1.mkv", "ffv1", GOP),
    ClipKind("wmv2.wmv", "wmv2", GOP),
    ClipKind("flv1.flv", "flv", GOP),
    ClipKind("moving.gif", "gif", pix_fmt="rgb8"),
]


@pytest.fixture(scope="session", params=CLIP_KINDS, ids=[kind.name for kind in CLIP_KINDS])
def clip_kind(request: pytest.FixtureRequest) -> ClipKind:
    return request.param


@pytest.fixture(scope="session")
def make_clip(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Write a clip, once a session; it is asked for by its kind or by the name of one."""
    av = pytest.importorskip("av")
    folder = tmp_path_factory.mktemp("clips")

    def make(kind: ClipKind | str, num_frames: int = NUM_FRAMES) -> Path:
        if isinstance(kind, str):
            kind = next(known for known in CLIP_KINDS if known.name == kind)
        path = folder / f"{num_frames}_{kind.name}"
        if not path.exists():
            try:
                av.codec.Codec(kind.codec, "w")
            except ValueError:
                pytest.skip(f"this PyAV cannot write {kind.codec}")
            write_clip(path, kind, pictures(*kind.size, num_frames))
        return path

    return make


def pictures(width: int, height: int, num_frames: int) -> Iterator[np.ndarray]:
    """Yield textured pictures that drift, and change their brightness: no two are alike."""
    rng = np.random.default_rng(0)
    texture = rng.integers(0, 160, (height // 8 + 1, width // 8 + 1, 3)).repeat(8, 0).repeat(8, 1)
    for number in range(num_frames):
        shifted = np.roll(texture, (number, 2 * number), (0, 1))[:height, :width]
        yield (shifted + 1.5 * number).astype(np.uint8)


def write_clip(path: Path, kind: ClipKind, frames: Iterator[np.ndarray]) -> None:
    """Encode frames at 25 a second, or at times that vary."""
    import av

    with av.open(str(path), "w", options=dict(kind.container_options)) as container:
        stream: Any = container.add_stream(kind.codec, rate=25, options=dict(kind.options))
        stream.width, stream.height = kind.size
        stream.pix_fmt = kind.pix_fmt
        stream.codec_context.time_base = Fraction(1, 1000 if kind.is_variable else 25)
        if kind.rotation:
            if not hasattr(stream, "set_display_rotation"):
                pytest.skip("PyAV 17.0 cannot write a display matrix")
            stream.set_display_rotation(degrees=kind.rotation)
        for number, picture in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.time_base = stream.codec_context.time_base
            frame.pts = 40 * number + number * number % 23 if kind.is_variable else number
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
