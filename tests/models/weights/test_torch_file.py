import io
import pickle
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from models.weights.checkpoint_file import read_checkpoint

PLAIN: dict[str, Any] = {
    "state_dict": {"w": torch.arange(6.0).reshape(2, 3), "half": torch.ones(2).half()},
    "parameter": torch.nn.Parameter(torch.ones(2)),
    "view": torch.arange(10)[3:5],
    "size": torch.Size([1, 2]),
    "device": torch.device("cpu"),
    "float8": torch.zeros(4).to(torch.float8_e4m3fn),
    "empty": torch.zeros(0, 3),
    "byte": bytearray(b"ab"),
}


def changed(path: Path, old: bytes, new: bytes) -> Path:
    """Write a checkpoint anew with other bytes in its pickle, and right sums."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            if name.endswith("data.pkl"):
                assert old in content
                content = content.replace(old, new)
            archive.writestr(name, content)
    return path


@pytest.mark.parametrize("is_zip", [True, False], ids=["zip", "before-torch-1.6"])
def test_what_torch_stores_as_plain_values_is_read(is_zip: bool, tmp_path: Path) -> None:
    written = {name: value for name, value in PLAIN.items() if is_zip or name != "float8"}
    torch.save(written, tmp_path / "a.pth", _use_new_zipfile_serialization=is_zip)
    content = read_checkpoint(tmp_path / "a.pth")
    assert content.keys() == written.keys()
    assert torch.equal(content["state_dict"]["w"], PLAIN["state_dict"]["w"])
    assert torch.equal(content["view"], PLAIN["view"])


def test_storage_larger_than_its_bytes_is_refused(tmp_path: Path) -> None:
    torch.save({"w": torch.zeros(100)}, tmp_path / "a.pth")  # 100 is K and one byte
    path = changed(tmp_path / "a.pth", b"K\x64t", b"J\0\0\0\x40t")
    with pytest.raises(ValueError, match=r"asks for 4294967296 bytes of a/data/0, which has 400"):
        read_checkpoint(path)


def test_tensor_that_repeats_its_bytes_without_end_is_refused(tmp_path: Path) -> None:
    wide = torch.zeros(1).expand(2**20, 2**20)
    torch.save({"w": wide}, tmp_path / "a.pth")
    with pytest.raises(ValueError, match="its tensors are far larger than the file"):
        read_checkpoint(tmp_path / "a.pth")


@pytest.mark.parametrize(
    "value", [torch.eye(3).to_sparse(), torch.zeros(2, device="meta")], ids=["sparse", "meta"]
)
def test_tensors_of_another_kind_are_named(value: torch.Tensor, tmp_path: Path) -> None:
    torch.save({"w": value}, tmp_path / "a.pth")
    with pytest.raises(ValueError, match=r"a\.pth is not a readable checkpoint: ") as caught:
        read_checkpoint(tmp_path / "a.pth")
    assert "\n" not in str(caught.value)


def test_memory_without_content_is_refused(tmp_path: Path) -> None:
    torch.save({"w": bytearray(b"")}, tmp_path / "a.pth")
    with zipfile.ZipFile(tmp_path / "a.pth") as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = next(name for name in members if name.endswith("data.pkl"))
    members[name] = b"\x80\2}X\1\0\0\0wcbuiltins\nbytearray\n\x8a\5\0\0\0\0\x40\x85Rs."
    with zipfile.ZipFile(tmp_path / "a.pth", "w") as archive:
        for member, content in members.items():
            archive.writestr(member, content)
    with pytest.raises(ValueError, match="it asks for memory without content"):
        read_checkpoint(tmp_path / "a.pth")


def test_old_file_that_asks_for_more_than_it_has_is_refused(tmp_path: Path) -> None:
    torch.save({"w": torch.zeros(100)}, tmp_path / "a.pth", _use_new_zipfile_serialization=False)
    data = (tmp_path / "a.pth").read_bytes()
    assert b"K\x64N" in data
    (tmp_path / "a.pth").write_bytes(data.replace(b"K\x64N", b"J\0\0\0\x40N"))
    with pytest.raises(ValueError, match="it is cut short or of another kind"):
        read_checkpoint(tmp_path / "a.pth")


def test_members_in_several_folders_are_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a/data.pkl", pickle.dumps({}, protocol=2))
        archive.writestr("b/data.pkl", pickle.dumps({}, protocol=2))
    (tmp_path / "a.pth").write_bytes(buffer.getvalue())
    with pytest.raises(ValueError, match="its members lie in several folders"):
        read_checkpoint(tmp_path / "a.pth")
