import re
import zlib
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from datasets import frame_files
from datasets.readers import FrameFolder, UnreadableVideoError


def grey(number: int) -> tuple[int, int, int]:
    return (10 * number, 20 * number, 255 - 10 * number)


def write_frames(
    folder: Path, template: str = "img_{:05d}.png", first: int = 1, num_frames: int = 5
) -> Path:
    """Frames of one colour each, so that a frame is known by any of its pixels."""
    folder.mkdir(parents=True)
    for number in range(num_frames):
        file = folder / template.format(first + number)
        Image.new("RGB", (8, 6), grey(number)).save(file)
    return folder


def numbers(frames: np.ndarray) -> list[int]:
    """Which frames these are, by their colour."""
    assert (frames == frames[:, :1, :1]).all()
    return [round((255 - int(frame[0, 0, 2])) / 10) for frame in frames]


def truncate(file: Path) -> None:
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each file is opened as an image."""
    counts: Counter[str] = Counter()
    open_image = frame_files.open_regular

    def count(path: Path) -> Any:
        counts[path.name] += 1
        return open_image(path)

    monkeypatch.setattr(frame_files, "open_regular", count)
    return counts


def test_frames_come_in_the_order_asked_for_as_rgb(tmp_path: Path) -> None:
    folder = FrameFolder(write_frames(tmp_path / "v"), "img_{:05d}.png")
    frames = folder.read([3, 0, 4, 0])
    assert frames.shape == (4, 6, 8, 3)
    assert frames.dtype == np.uint8
    assert [tuple(frame[0, 0].tolist()) for frame in frames] == [grey(i) for i in (3, 0, 4, 0)]


def test_repeated_frames_are_decoded_once_and_others_not_at_all(
    tmp_path: Path, opened: Counter[str]
) -> None:
    folder = FrameFolder(write_frames(tmp_path / "v"), "img_{:05d}.png")
    assert numbers(folder.read(np.array([2, 0, 2, 2, 0]))) == [2, 0, 2, 2, 0]
    assert opened == {"img_00001.png": 1, "img_00003.png": 1}


@pytest.mark.parametrize(
    ("mode", "options"),
    [
        ("RGB", {}),
        ("RGB", {"quality": 20}),
        ("RGB", {"subsampling": "4:4:4"}),
        ("RGB", {"subsampling": "4:2:2"}),
        ("RGB", {"progressive": True}),
        ("L", {}),
        ("CMYK", {}),
    ],
    ids=["plain", "coarse", "444", "422", "progressive", "grey", "cmyk"],
)
def test_jpeg_comes_with_the_pixels_of_pillow(
    mode: str, options: dict[str, Any], tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    small = Image.fromarray(rng.integers(0, 256, (9, 7, 3), dtype=np.uint8))
    image = small.resize((45, 37), Image.Resampling.BICUBIC)  # no multiple of a block
    image.convert(mode).save(tmp_path / "img_00001.jpg", **options)
    with Image.open(tmp_path / "img_00001.jpg") as saved:
        expected = np.asarray(saved.convert("RGB"))
    np.testing.assert_array_equal(FrameFolder(tmp_path).read([0])[0], expected)


@pytest.mark.parametrize(
    ("template", "first"),
    [
        ("img_{:05d}.png", 0),
        ("img_{:06d}.png", 1),
        ("img_{:05d}.bmp", 1),
        ("frame{:04d}.PNG", 1),
        ("{:03d}.png", 17),
        ("{:d}.png", 8),  # 8, 9, 10: not in the order of their names
        ("v_1_c2_{:04d}.png", 1),
    ],
)
def test_naming_is_taken_from_the_folder_where_the_template_does_not_fit(
    template: str, first: int, tmp_path: Path
) -> None:
    folder = write_frames(tmp_path / "v", template, first)
    (folder / "notes.txt").write_text("no frame")
    (folder / "thumbs.png").write_bytes(b"no number")
    video = FrameFolder(folder)
    assert numbers(video.read([0, 4, 2])) == [0, 4, 2]
    assert len(FrameFolder(folder)) == 5


def test_frames_from_zero_under_the_template_s_own_name_are_all_read(tmp_path: Path) -> None:
    video = FrameFolder(write_frames(tmp_path / "v", first=0), "img_{:05d}.png", first_frame=1)
    assert numbers(video.read(range(len(video)))) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("template", ["img_{:05d}.png", "img_{:06d}.png"])
def test_given_first_frame_is_where_counting_starts(template: str, tmp_path: Path) -> None:
    folder = write_frames(tmp_path / "v", template, first=0)
    video = FrameFolder(folder, template, first_frame=0)
    assert numbers(video.read([0, 3])) == [0, 3]


def test_braces_in_names_are_letters(tmp_path: Path) -> None:
    folder = write_frames(tmp_path / "a{b}{0}", "im{{x}}g_{:05d}.png")
    assert (folder / "im{x}g_00001.png").exists()
    assert numbers(FrameFolder(folder).read([1, 0])) == [1, 0]


def test_spaces_and_unicode_in_names_are_letters(tmp_path: Path) -> None:
    folder = write_frames(tmp_path / "riding a bike" / "Größe 1", "ein bild {:03d}.png")
    assert numbers(FrameFolder(folder).read([1, 0])) == [1, 0]


@pytest.mark.parametrize("template", ["img_{:05d}.png", "img_{}.png", "{{a}}_{:02d}.png"])
def test_images_of_other_names_beside_the_frames_are_not_counted(
    template: str, tmp_path: Path
) -> None:
    folder = write_frames(tmp_path / "v", template)
    for name in ("flow_x_00001.png", "flow_y_00001.png", "thumb_1.jpg"):
        Image.new("L", (8, 6)).save(folder / name)
    video = FrameFolder(folder, template)
    assert numbers(video.read(range(len(video)))) == [0, 1, 2, 3, 4]


def test_naming_is_not_guessed_where_the_folder_holds_two(tmp_path: Path) -> None:
    folder = write_frames(tmp_path / "v", "frame_{:05d}.png")
    for number in range(1, 6):
        Image.new("L", (8, 6)).save(folder / f"flow_x_{number:05d}.png")
    with pytest.raises(UnreadableVideoError, match=r"img_00001\.jpg"):
        FrameFolder(folder).read([0])


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "LA", "1", "CMYK"])
def test_every_mode_of_image_comes_as_rgb(mode: str, tmp_path: Path) -> None:
    suffix = "jpg" if mode == "CMYK" else "png"
    image = Image.new("RGB", (8, 6), (255, 255, 255)).convert(mode)
    image.save(tmp_path / f"img_00001.{suffix}")
    frames = FrameFolder(tmp_path, f"img_{{:05d}}.{suffix}").read([0, 0])
    assert frames.shape == (2, 6, 8, 3)
    assert (frames == 255).all()


@pytest.mark.parametrize("index", [5, 400])
def test_missing_frame_is_named_with_the_number_that_there_are(index: int, tmp_path: Path) -> None:
    folder = FrameFolder(write_frames(tmp_path / "v"), "img_{:05d}.png")
    file = re.escape(str(tmp_path / "v" / f"img_{index + 1:05d}.png"))
    with pytest.raises(UnreadableVideoError, match=f"{file}: no such frame; .* 5 frames"):
        folder.read([0, index])


def test_frame_missing_in_the_middle_is_named(tmp_path: Path) -> None:
    folder = write_frames(tmp_path / "v")
    (folder / "img_00003.png").unlink()
    with pytest.raises(UnreadableVideoError, match=r"img_00003\.png: no such frame"):
        FrameFolder(folder, "img_{:05d}.png").read([1, 2, 3])


@pytest.mark.parametrize("first", [0, 1, 4])
@pytest.mark.parametrize("step", [2, 3, 10])
@pytest.mark.parametrize("template", ["img_{:05d}.png", "{:d}.png", "frame ({}).png"])
def test_numbers_in_equal_steps_are_counted_and_read_alike(
    template: str, step: int, first: int, tmp_path: Path
) -> None:
    for number in range(5):
        file = tmp_path / template.format(first + step * number)
        Image.new("RGB", (8, 6), grey(number)).save(file)
    for wanted in ([0, 1, 2, 3, 4], [0, 2, 4], [4]):
        video = FrameFolder(tmp_path, "img_{:05d}.png")
        assert numbers(video.read(wanted)) == wanted
        assert len(video) == 5
    with pytest.raises(UnreadableVideoError, match="no such frame; the folder holds 5 frames"):
        FrameFolder(tmp_path, "img_{:05d}.png").read([0, 5])


@pytest.mark.parametrize("place", [1, 2, 3])
def test_folder_with_a_gap_is_not_counted_as_if_it_had_none(place: int, tmp_path: Path) -> None:
    folder = write_frames(tmp_path / "v")
    missing = folder / f"img_{place + 1:05d}.png"
    missing.unlink()
    video = FrameFolder(folder, "img_{:05d}.png")
    with pytest.raises(UnreadableVideoError, match=rf"4 images, .*1\.png to .* no {missing.name}"):
        len(video)
    others = [index for index in range(5) if index != place]
    assert numbers(video.read(others)) == others  # each is the frame of its number


def test_numbers_padded_in_two_ways_are_not_counted(tmp_path: Path) -> None:
    folder = write_frames(tmp_path / "v", "{:03d}.png", num_frames=2)
    write_frames(tmp_path / "w", "{:d}.png", first=3, num_frames=2)
    for file in (tmp_path / "w").iterdir():
        file.rename(folder / file.name)
    with pytest.raises(UnreadableVideoError, match=r"no 003\.png among them"):
        len(FrameFolder(folder))


@pytest.mark.parametrize("suffixes", [(".png", ".PNG"), (".jpg", ".png"), (".JPG", ".jpg")])
def test_frames_spread_over_two_kinds_of_files_are_an_error(
    suffixes: tuple[str, str], tmp_path: Path
) -> None:
    for number in range(1, 7):
        Image.new("RGB", (8, 6)).save(tmp_path / f"img_{number:05d}{suffixes[number % 2]}")
    for use in (len, lambda video: video.read([0, 1])):
        with pytest.raises(UnreadableVideoError, match=r"img_N\..*, img_N\."):
            use(FrameFolder(tmp_path, f"img_{{:05d}}{suffixes[0]}"))


def test_frames_named_by_windows_and_files_of_macos_beside_them_are_read(tmp_path: Path) -> None:
    folder = write_frames(tmp_path / "windows", "frame ({}).png", num_frames=12)
    assert numbers(FrameFolder(folder).read([0, 9, 11])) == [0, 9, 11]
    assert len(FrameFolder(folder)) == 12
    folder = write_frames(tmp_path / "macos", "{:05d}.png")
    for file in list(folder.iterdir()):
        (folder / f"._{file.name}").write_bytes(b"\0\5\x16\7")
    assert numbers(FrameFolder(folder).read([0, 4])) == [0, 4]


def test_folder_of_other_images_says_what_they_are(tmp_path: Path) -> None:
    for number in range(3):
        Image.new("RGB", (8, 6)).save(tmp_path / f"img_{number:05d}.ppm")
    with pytest.raises(UnreadableVideoError, match=r"3 end in \.ppm, frames in one of \.bmp, \.jp"):
        FrameFolder(tmp_path).read([0])


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_truncated_image_is_named(suffix: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for number in (1, 2):
        noise = Image.fromarray(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8))
        noise.save(tmp_path / f"img_{number:05d}.{suffix}")
    truncate(tmp_path / f"img_00002.{suffix}")
    folder = FrameFolder(tmp_path, f"img_{{:05d}}.{suffix}")
    assert folder.read([0]).shape == (1, 64, 64, 3)
    with pytest.raises(
        UnreadableVideoError, match=rf"img_00002\.{suffix}: Pillow: OSError: .*truncated"
    ):
        folder.read([0, 1])


def test_png_with_a_broken_chunk_is_named(tmp_path: Path) -> None:
    file = write_frames(tmp_path / "v") / "img_00001.png"
    content = bytearray(file.read_bytes())
    content[content.index(b"IDAT") + 5] ^= 0xFF
    file.write_bytes(content)
    with pytest.raises(UnreadableVideoError, match=r"img_00001\.png"):
        FrameFolder(tmp_path / "v", "img_{:05d}.png").read([0])


@pytest.mark.parametrize("content", [b"", b"<html>not found</html>", b"\xff\xd8\xff\xe0"])
def test_file_that_is_no_image_is_named(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "img_00001.jpg").write_bytes(content)
    with pytest.raises(
        UnreadableVideoError, match=r"img_00001\.jpg: Pillow: UnidentifiedImageError"
    ):
        FrameFolder(tmp_path).read([0])


def test_image_far_too_large_is_named(tmp_path: Path) -> None:
    def chunk(kind: bytes, body: bytes) -> bytes:
        tail = zlib.crc32(kind + body).to_bytes(4, "big")
        return len(body).to_bytes(4, "big") + kind + body + tail

    header = (60_000).to_bytes(4, "big") * 2 + bytes([8, 2, 0, 0, 0])
    start = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)
    (tmp_path / "img_00001.png").write_bytes(start + chunk(b"IDAT", b""))
    with pytest.raises(
        UnreadableVideoError, match=r"img_00001\.png: Pillow: DecompressionBombError"
    ):
        FrameFolder(tmp_path, "img_{:05d}.png").read([0])


def test_index_before_the_first_frame_is_an_error_even_where_the_file_exists(
    tmp_path: Path,
) -> None:
    folder = write_frames(tmp_path / "v", first=0)
    video = FrameFolder(folder, "img_{:05d}.png", first_frame=1)
    with pytest.raises(UnreadableVideoError, match="index -1 is before the first frame"):
        video.read([-1, 0])


def test_empty_folder_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no frame")
    with pytest.raises(UnreadableVideoError, match=r"no frames; looked for img_00001\.jpg"):
        FrameFolder(tmp_path).read([0])
    assert len(FrameFolder(tmp_path)) == 0


def test_missing_folder_is_an_error(tmp_path: Path) -> None:
    for use in (lambda video: video.read([0]), len):
        with pytest.raises(UnreadableVideoError, match="gone: No such file or directory"):
            use(FrameFolder(tmp_path / "gone"))


def test_frames_of_different_sizes_are_an_error(tmp_path: Path) -> None:
    folder = write_frames(tmp_path / "v")
    Image.new("RGB", (8, 7)).save(folder / "img_00004.png")
    video = FrameFolder(folder, "img_{:05d}.png")
    assert len(video.read([0, 1])) == 2
    with pytest.raises(UnreadableVideoError, match=r"v: frames of different sizes .*6, 8.*7, 8"):
        video.read([0, 3])


def test_unreadable_video_is_a_value_error_of_the_user() -> None:
    assert issubclass(UnreadableVideoError, ValueError)


@pytest.mark.parametrize(
    "names",
    [
        [f"frame ({number}).jpg" for number in range(1, 13)],
        [f"frame[{number}].PNG" for number in range(3, 9)],
        [f"img_{number:05d}.tif" for number in range(1, 4)],
        [f"{number}.TIFF" for number in range(4)],
        ["._00001.jpg", "00001.jpg", "._00002.jpg", "00002.jpg", ".DS_Store", "Thumbs.db"],
    ],
    ids=["windows", "brackets", "tif", "tiff", "macos"],
)
def test_frames_are_found_as_other_systems_name_them(names: list[str], tmp_path: Path) -> None:
    frames = [name for name in names if name[0] != "." and name != "Thumbs.db"]
    for name in names:
        (tmp_path / name).write_bytes(b"\0\5\x16\7")
    for shade, name in enumerate(frames):
        Image.new("RGB", (4, 4), (20 * shade,) * 3).save(tmp_path / name, lossless=True)
    folder = FrameFolder(tmp_path)
    assert len(folder) == len(frames)
    shades = folder.read(range(len(frames)))[:, 0, 0, 0]
    assert np.allclose(shades, 20 * np.arange(len(frames)), atol=3)
