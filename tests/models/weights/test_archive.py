import io
import struct
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from models.weights.archive import DamagedError, check_archive, open_archive
from models.weights.checkpoint_file import read_checkpoint
from models.weights.image_vit import read_npz

CENTRAL = b"PK\1\2"
Patch = Callable[[bytearray, int], None]


def archive_of(members: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def check(data: bytes, takes_compressed: bool = False) -> list[str]:
    file = io.BytesIO(data)
    with open_archive(file) as archive:
        return [member.filename for member in check_archive(archive, file, takes_compressed)]


def test_archives_as_they_are_written_pass(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(3)}, tmp_path / "a.pth")
    assert "a/data/0" in check((tmp_path / "a.pth").read_bytes())
    assert check(archive_of({"a": b"1", "b": b""})) == ["a", "b"]
    assert check(archive_of({"a": b"1" * 99}, zipfile.ZIP_DEFLATED), takes_compressed=True) == ["a"]


def set_at(offset: int, form: str, value: int) -> Patch:
    """Return what writes a value into a member's entry of the directory."""

    def patch(data: bytearray, entry: int) -> None:
        struct.pack_into(form, data, entry + offset, value)

    return patch


@pytest.mark.parametrize(
    ("patch", "text"),
    [
        (set_at(38, "<I", 0x10), "its member b is called a folder"),
        (set_at(16, "<I", 1), "the two headers of b differ"),
        (set_at(20, "<I", 1), "its member b has two sizes"),
        (set_at(8, "<H", 1), "the two headers of b differ|encrypted"),
        (set_at(42, "<I", 0), "its member b lies in another|the two headers of b differ"),
        (set_at(46, "<B", ord("a")), "two of its members have one name"),
        (set_at(46, "<B", ord("c")), "the two headers of c differ"),
    ],
)
def test_directory_that_says_something_else_than_the_members_is_damage(
    patch: Patch, text: str
) -> None:
    data = bytearray(archive_of({"a": b"12345", "b": b"12345"}))
    patch(data, data.rindex(CENTRAL))
    with pytest.raises(DamagedError, match=text):
        check(bytes(data))


def test_bytes_that_changed_or_follow_are_damage() -> None:
    data = archive_of({"a": b"12345"})
    with pytest.raises(DamagedError, match="the bytes of a are not those that were written"):
        check(data.replace(b"12345", b"12346"))
    with pytest.raises(DamagedError, match="bytes follow its end"):
        check(data + b"\0")
    with pytest.raises(DamagedError, match="its directory is not where"):
        check(b"before" + data)


@pytest.mark.parametrize(
    "data", [b"", b"text", archive_of({"a": b"1"})[:-9]], ids=["empty", "text", "cut off"]
)
def test_what_is_no_archive_is_told_from_a_damaged_one(data: bytes) -> None:
    with pytest.raises(zipfile.BadZipFile):
        check(data)


@pytest.mark.parametrize("suffix", [".npz", ".pth"])
def test_file_that_stands_for_a_thousand_times_its_size_is_refused_before_room_is_made(
    suffix: str, tmp_path: Path
) -> None:
    path = tmp_path / f"a{suffix}"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/data.pkl", bytes(2**27))
    assert path.stat().st_size < 0.14e6
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=r"compressed|far larger than the file"):
            (read_npz if suffix == ".npz" else read_checkpoint)(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 20e6
