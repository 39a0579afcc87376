import io
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from datasets import frame_files, frame_pack
from datasets.readers import FrameFolder, UnreadableVideoError, open_reader

SIZE = (12, 9)


def jpeg(number: int, **options: Any) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", SIZE, (20 * number, 10, 200)).save(file, "JPEG", **options)
    return file.getvalue()


def frames(number: int = 6, template: str = "img_{:05d}.jpg", first: int = 1) -> dict[str, bytes]:
    return {template.format(first + i): jpeg(i) for i in range(number)}


def write_pack(
    path: Path, files: dict[str, bytes], method: int = zipfile.ZIP_STORED, comment: bytes = b""
) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
        archive.comment = comment
    return path


def write_folder(path: Path, files: dict[str, bytes]) -> Path:
    path.mkdir()
    for name, data in files.items():
        (path / name).write_bytes(data)
    return path


def fault_of(path: Path) -> str:
    texts = set()
    for use in (len, lambda video: video.read([0])):
        with pytest.raises(UnreadableVideoError, match=path.name) as caught:
            use(open_reader(path))
        texts.add(str(caught.value))
    (text,) = texts
    return text


def rotated() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return jpeg(3, exif=exif)


def grey16() -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.full((9, 12), 40_000, np.uint16)).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize(
    "files",
    [
        frames(),
        frames(first=0),
        frames(12, "{:d}.jpg", first=5),  # names of several lengths
        frames(6, "Größe {:02d}.jpg"),
        {f"img_{2 * i + 1:05d}.jpg": jpeg(i) for i in range(6)},
        {**frames(), "notes.txt": b"no frame", "._img_00001.jpg": b"of macOS"},
        dict(reversed(frames().items())),
        {f"img_{i + 1:05d}.jpg": rotated() for i in range(6)},
        {f"img_{i + 1:05d}.png": grey16() for i in range(6)},
    ],
    ids=["plain", "zero", "lengths", "unicode", "steps", "others", "reversed", "upright", "grey16"],
)
def test_pack_is_read_as_a_folder_of_the_same_files(
    files: dict[str, bytes], tmp_path: Path
) -> None:
    folder = open_reader(write_folder(tmp_path / "v", files))
    pack = open_reader(write_pack(tmp_path / "v.zip", files))
    assert len(pack) == len(folder) >= 6
    np.testing.assert_array_equal(pack.read([4, 0, 4, 3]), folder.read([4, 0, 4, 3]))


@pytest.mark.parametrize(
    "files",
    [
        {name: data for name, data in frames().items() if name != "img_00003.jpg"},
        {**frames(3), "img_00002.jpg": jpeg(1)[:-300]},
        {**frames(3), "img_00002.jpg": b"%!PS-Adobe"},
        {"a_1.jpg": jpeg(0), "b_1.jpg": jpeg(0)},
        {"a.ppm": b"x"},
        {**frames(3), "img_00004.JPG": jpeg(4)},
        {},
    ],
    ids=["gap", "cut", "postscript", "two-names", "other-kind", "two-kinds", "empty"],
)
def test_faults_of_a_pack_are_those_of_the_folder(files: dict[str, bytes], tmp_path: Path) -> None:
    def told(path: Path) -> list[str]:
        texts = []
        for use in (len, lambda video: video.read([0, 1, 2]), lambda video: video.read([-1])):
            try:
                texts.append(str(use(FrameFolder(path))))
            except UnreadableVideoError as error:
                texts.append(str(error).replace("the pack holds", "the folder holds"))
        return [text.replace(str(path), "V").partition("<_io")[0] for text in texts]

    in_folder = told(write_folder(tmp_path / "v", files))
    assert told(write_pack(tmp_path / "v.zip", files)) == in_folder


def test_pack_is_opened_once_a_clip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []
    open_regular = frame_files.open_regular
    monkeypatch.setattr(
        frame_files, "open_regular", lambda path: opened.append(path) or open_regular(path)
    )
    open_reader(write_pack(tmp_path / "v.zip", frames())).read([0, 1, 2, 3])
    assert opened == [tmp_path / "v.zip"]


def test_folder_of_a_pack_s_name_is_a_folder(tmp_path: Path) -> None:
    assert len(open_reader(write_folder(tmp_path / "v.zip", frames()))) == 6
    assert len(open_reader(write_pack(tmp_path / "V.ZIP", frames()))) == 6


def test_large_archives_and_extra_fields_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(zipfile, "ZIP_FILECOUNT_LIMIT", 3)  # as from 65,535 members on
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 700)  # as from 2 GiB on
    path = write_pack(tmp_path / "v.zip", frames())
    assert struct.pack("<I", 0x06064B50) in path.read_bytes()
    folder = FrameFolder(write_folder(tmp_path / "v", frames()))
    np.testing.assert_array_equal(open_reader(path).read([5, 0]), folder.read([5, 0]))


@pytest.mark.parametrize(
    ("method", "files", "text"),
    [
        (zipfile.ZIP_DEFLATED, frames(), "is compressed; store the images as they are"),
        (
            zipfile.ZIP_STORED,
            {"v/img_00001.jpg": jpeg(0)},
            "lies in a folder; pack the images alone",
        ),
        (zipfile.ZIP_STORED, {"../img_00001.jpg": jpeg(0)}, "lies in a folder"),
    ],
)
def test_members_of_another_kind_are_refused(
    method: int, files: dict[str, bytes], text: str, tmp_path: Path
) -> None:
    assert text in fault_of(write_pack(tmp_path / "v.zip", files, method))


def test_member_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "v.zip", "w") as archive:
        archive.writestr("img_00001.jpg", jpeg(0))
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("img_00001.jpg", jpeg(1))
    assert "'img_00001.jpg' is there twice" in fault_of(tmp_path / "v.zip")


@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.9, 0.999])
def test_pack_that_is_cut_says_so(share: float, tmp_path: Path) -> None:
    path = write_pack(tmp_path / "v.zip", frames())
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    assert fault_of(path) == f"{path}: it is no whole zip archive"


def test_image_that_is_too_large_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frame_pack, "MAX_FRAME_BYTES", 100)
    assert "bytes; an image may have 100" in fault_of(write_pack(tmp_path / "v.zip", frames()))
    monkeypatch.setattr(frame_pack, "MAX_DIRECTORY_BYTES", 100)
    assert "100 are allowed" in fault_of(tmp_path / "v.zip")


def test_no_byte_of_a_pack_can_change_a_frame_unnoticed(tmp_path: Path) -> None:
    path = write_pack(tmp_path / "v.zip", frames(3))
    whole, data = open_reader(path).read([0, 1, 2]), path.read_bytes()
    rng = np.random.default_rng(0)
    directory = data.index(b"PK\1\2")
    places = [*rng.integers(0, directory, 150), *range(directory, len(data))]
    num_told = 0
    for place in places:
        path.write_bytes(
            data[:place] + bytes([data[place] ^ (1 << rng.integers(8))]) + data[place + 1 :]
        )
        try:
            np.testing.assert_array_equal(open_reader(path).read([0, 1, 2]), whole)
        except UnreadableVideoError:
            num_told += 1
    assert num_told > 150
