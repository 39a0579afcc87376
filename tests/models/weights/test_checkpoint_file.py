import io
import os
import pickle
import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from models.weights.checkpoint_file import (
    CheckpointFolder,
    read_checkpoint,
    read_safetensors,
    write_checkpoint,
)
from tests.conftest import RELEASED_CHECKPOINTS


def content_of(epoch: int) -> dict[str, Any]:
    return {"epoch": epoch, "state_dict": {"weight": torch.full((3, 2), float(epoch))}}


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


class Unwritable:
    def __reduce__(self) -> str:
        raise RuntimeError("the disk is full")


class Malicious:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, (str(self.path),))


def test_written_checkpoint_reads_back_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "last.pth"
    content = content_of(3) | {"best_acc1": 12.5, "class_names": ["a", "b"], "rng": [{"cpu": 1}]}
    write_checkpoint(path, content)
    loaded = read_checkpoint(path)
    assert torch.equal(loaded["state_dict"].pop("weight"), content["state_dict"].pop("weight"))
    assert loaded == content
    assert names_in(tmp_path) == ["last.pth"]


def test_error_in_the_middle_of_writing_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "last.pth"
    write_checkpoint(path, content_of(1))
    with pytest.raises(RuntimeError, match="the disk is full"):
        write_checkpoint(path, content_of(2) | {"poison": Unwritable()})
    assert read_checkpoint(path)["epoch"] == 1
    write_checkpoint(path, content_of(3))  # what the failed attempt left is no obstacle
    assert read_checkpoint(path)["epoch"] == 3
    assert names_in(tmp_path) == ["last.pth"]


def test_file_gets_its_name_only_when_it_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "last.pth"
    sync, synced = os.fsync, []

    def seen_by_sync(descriptor: int) -> None:
        sync(descriptor)
        synced.append(descriptor)
        assert not path.exists()
        (part,) = tmp_path.iterdir()
        assert read_checkpoint(part)["epoch"] == 1  # all of it lies on the disk already

    monkeypatch.setattr(os, "fsync", seen_by_sync)
    write_checkpoint(path, content_of(1))
    assert read_checkpoint(path)["epoch"] == 1
    assert len(synced) == 1


def test_missing_file_and_directory_are_errors_that_name_them(tmp_path: Path) -> None:
    for path in (tmp_path / "absent.pth", tmp_path):
        with pytest.raises(ValueError, match="is not a file") as caught:
            read_checkpoint(path)
        assert repr(str(path)) in str(caught.value)


@pytest.mark.parametrize(
    "text", ["", "weights", "<html>404</html>", '{"epoch": 1}', "(", ".", "PK\x03\x04"]
)
def test_text_file_is_an_error_that_names_it(text: str, tmp_path: Path) -> None:
    path = tmp_path / "model.pth"
    path.write_text(text)
    with pytest.raises(ValueError, match="not a readable checkpoint") as caught:
        read_checkpoint(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("is_zip", [True, False], ids=["zip", "before-torch-1.6"])
def test_file_cut_short_anywhere_is_an_error_that_names_it(is_zip: bool, tmp_path: Path) -> None:
    path = tmp_path / "model.pth"
    torch.save(content_of(1), path, _use_new_zipfile_serialization=is_zip)
    whole = path.read_bytes()
    for length in range(0, len(whole), 17):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match="not a readable checkpoint") as caught:
            read_checkpoint(path)
        assert str(path) in str(caught.value)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_file_of_random_bytes_is_an_error_that_names_it(tmp_path: Path) -> None:
    path = tmp_path / "model.pth"
    rng = random.Random(0)
    for _ in range(300):
        path.write_bytes(rng.randbytes(rng.randrange(1, 100)))
        with pytest.raises(ValueError, match=r"model\.pth is not a readable checkpoint"):
            read_checkpoint(path)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_byte_changed_inside_a_weight_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    torch.save({"weight": torch.full((4, 4), 3.0)}, path)
    data = bytearray(path.read_bytes())
    data[data.index(torch.full((4,), 3.0).numpy().tobytes()) + 5] ^= 1
    path.write_bytes(data)
    assert torch.load(path)["weight"].unique().numel() == 2  # torch does not notice
    with pytest.raises(ValueError, match=r"a\.pth is damaged: the bytes of a/data/0 are not those"):
        read_checkpoint(path)


def test_argument_that_torch_does_not_take_is_no_unreadable_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_checkpoint(tmp_path / "a.pth", {"epoch": 1})
    monkeypatch.setattr(torch, "load", lambda path: {})
    with pytest.raises(TypeError, match="map_location"):
        read_checkpoint(tmp_path / "a.pth")


def test_checkpoint_with_code_in_it_is_refused_and_not_run(tmp_path: Path) -> None:
    path, ran = tmp_path / "model.pth", tmp_path / "ran"
    torch.save(content_of(1) | {"extra": Malicious(ran)}, path)
    with pytest.raises(ValueError, match=r"model\.pth is not a readable") as caught:
        read_checkpoint(path)
    assert f"it holds a Python object, {os.mkdir.__module__}.mkdir" in str(caught.value)
    assert "weights_only" not in str(caught.value)  # torch tells how to run the code
    path.write_bytes(pickle.dumps(Malicious(ran)))
    with pytest.raises(ValueError, match=r"model\.pth is not a readable checkpoint"):
        read_checkpoint(path)
    assert not ran.exists()
    pickle.loads(path.read_bytes())
    assert ran.exists()  # the code in it does run where it is let


@pytest.mark.parametrize(("value", "name"), [([1, 2], "list"), (torch.zeros(2), "Tensor")])
def test_checkpoint_that_is_no_dict_is_an_error(value: Any, name: str, tmp_path: Path) -> None:
    path = tmp_path / "model.pth"
    torch.save(value, path)
    with pytest.raises(ValueError, match=rf"model\.pth holds a {name}, a checkpoint is a dict"):
        read_checkpoint(path)


@pytest.mark.parametrize("name", RELEASED_CHECKPOINTS)
def test_tensors_of_a_gpu_are_read_onto_the_cpu(
    name: str, golden_path: Callable[[str], Path]
) -> None:
    content = read_checkpoint(golden_path(name))
    assert {tensor.device.type for tensor in content["state_dict"].values()} == {"cpu"}


def test_plain_layout_keeps_the_last_and_the_best(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path)
    for epoch, is_best in enumerate([True, False, True, False]):
        folder.save(content_of(epoch), epoch, is_best)
        assert names_in(tmp_path) == ["best.pth", "last.pth"]
    assert read_checkpoint(tmp_path / "last.pth")["epoch"] == 3
    assert read_checkpoint(folder.best())["epoch"] == 2


def test_released_layout_keeps_the_last_and_the_best_under_their_epochs(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path, "released")
    kept = []
    for epoch, is_best in enumerate([True, False, True, False]):
        folder.save(content_of(epoch), epoch, is_best)
        kept.append(names_in(tmp_path))
    assert kept == [
        ["best_ckpt_e0.pth", "ckpt_e0.pth"],
        ["best_ckpt_e0.pth", "ckpt_e1.pth"],
        ["best_ckpt_e2.pth", "ckpt_e2.pth"],
        ["best_ckpt_e2.pth", "ckpt_e3.pth"],
    ]
    assert read_checkpoint(folder.newest())["epoch"] == 3
    assert read_checkpoint(folder.best())["epoch"] == 2


@pytest.mark.parametrize("layout", CheckpointFolder.LAYOUTS)
def test_superseded_checkpoint_stays_when_writing_the_new_one_fails(
    layout: str, tmp_path: Path
) -> None:
    folder = CheckpointFolder(tmp_path, layout)
    folder.save(content_of(0), 0, is_best=True)
    with pytest.raises(RuntimeError, match="the disk is full"):
        folder.save(content_of(1) | {"poison": Unwritable()}, 1, is_best=True)
    assert read_checkpoint(folder.newest())["epoch"] == 0
    assert read_checkpoint(folder.best())["epoch"] == 0


def test_first_epoch_after_resuming_removes_what_it_replaces(tmp_path: Path) -> None:
    CheckpointFolder(tmp_path, "released").save(content_of(9), 9, is_best=True)
    CheckpointFolder(tmp_path, "released").save(content_of(10), 10, is_best=True)
    assert names_in(tmp_path) == ["best_ckpt_e10.pth", "ckpt_e10.pth"]


@pytest.mark.parametrize("layout", CheckpointFolder.LAYOUTS)
def test_folder_knows_whether_it_has_a_best_checkpoint(layout: str, tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path, layout)
    folder.save(content_of(0), 0, is_best=False)
    assert not folder.has_best()
    folder.save(content_of(1), 1, is_best=True)
    assert folder.has_best()


def test_best_is_the_later_one_where_a_crash_left_two(tmp_path: Path) -> None:
    for epoch in (9, 10):  # 10 was written, 9 not yet removed
        write_checkpoint(tmp_path / f"best_ckpt_e{epoch}.pth", content_of(epoch))
    assert CheckpointFolder(tmp_path, "released").best().name == "best_ckpt_e10.pth"


@pytest.mark.parametrize("order", [("last.pth", "ckpt_e7.pth"), ("ckpt_e7.pth", "last.pth")])
def test_newest_is_the_checkpoint_written_last_of_either_layout(
    order: tuple[str, str], tmp_path: Path
) -> None:
    for age, name in enumerate([*order, "best.pth", "best_ckpt_e3.pth", "other.pth"]):
        write_checkpoint(tmp_path / name, content_of(age))
        os.utime(tmp_path / name, (1_000_000 + age, 1_000_000 + age))
    for layout in CheckpointFolder.LAYOUTS:
        assert CheckpointFolder(tmp_path, layout).newest().name == order[1]


def test_folder_without_checkpoints_is_an_error_that_names_it(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path / "run")
    with pytest.raises(ValueError, match=r"found no checkpoint in the run folder .*run.*--resume"):
        folder.newest()
    with pytest.raises(ValueError, match=r"no best checkpoint in .*run"):
        folder.best()
    CheckpointFolder(tmp_path).save(content_of(0), 0, is_best=False)
    with pytest.raises(ValueError, match="no best checkpoint in"):
        CheckpointFolder(tmp_path).best()


def test_safetensors_are_read_as_they_were_written(tmp_path: Path) -> None:
    tensors = {"a.weight": torch.randn(2, 3), "b": torch.arange(4)}
    save_file(tensors, tmp_path / "model.safetensors")
    read = read_safetensors(tmp_path / "model.safetensors")
    assert read.keys() == tensors.keys()
    assert all(torch.equal(read[name], tensors[name]) for name in tensors)


def test_safetensors_that_are_missing_cut_or_of_another_kind_are_errors(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    with pytest.raises(ValueError, match=r"model\.safetensors' are not a file"):
        read_safetensors(path)
    save_file({"a": torch.zeros(99)}, path)
    for content in (path.read_bytes()[:-50], b"<html>404: not found</html>", b""):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"is not a readable \.safetensors file"):
            read_safetensors(path)


def test_safetensors_without_the_library_are_an_error_that_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "safetensors", None)
    with pytest.raises(ValueError, match=r"model\.safetensors: .*pip install safetensors"):
        read_safetensors(tmp_path / "model.safetensors")


@pytest.mark.parametrize("layout", CheckpointFolder.LAYOUTS)
def test_every_so_many_epochs_a_checkpoint_is_kept(layout: str, tmp_path: Path) -> None:
    for epoch in range(5):
        folder = CheckpointFolder(tmp_path, layout, keep_every=2)  # also by a run that goes on
        folder.save(content_of(epoch), epoch, is_best=epoch == 0)
    kept = [name for name in names_in(tmp_path) if name.startswith("epoch_")]
    assert kept == ["epoch_2.pth", "epoch_4.pth"]
    assert [read_checkpoint(tmp_path / name)["epoch"] for name in kept] == [1, 3]
    assert len(names_in(tmp_path)) == 4  # beside the last and the best


def test_checkpoint_is_kept_before_it_is_the_last(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path, keep_every=1)
    folder.save(content_of(0), 0, is_best=False)
    (tmp_path / ".last.pth.part").mkdir()  # so that it cannot be written
    with pytest.raises(IsADirectoryError):
        folder.save(content_of(1), 1, is_best=False)
    assert read_checkpoint(folder.newest())["epoch"] == 0
    assert read_checkpoint(tmp_path / "epoch_2.pth")["epoch"] == 1


@pytest.mark.parametrize("layout", CheckpointFolder.LAYOUTS)
def test_average_and_kept_checkpoints_are_neither_the_newest_nor_the_best(
    layout: str, tmp_path: Path
) -> None:
    folder = CheckpointFolder(tmp_path, layout)
    for name in ("swa.pth", "epoch_7.pth"):
        write_checkpoint(tmp_path / name, content_of(7))
    assert not folder.has_best()
    with pytest.raises(ValueError, match="found no checkpoint"):
        folder.newest()
    folder.save_average(content_of(8))
    assert read_checkpoint(folder.average)["epoch"] == 8
    assert folder.average == tmp_path / "swa.pth"


def test_every_layout_of_the_config_is_known_here() -> None:
    from config.checks import CHOICES

    assert CHOICES["TRAIN.CHECKPOINT_LAYOUT"] == CheckpointFolder.LAYOUTS


def test_written_file_is_a_checkpoint_to_torch(tmp_path: Path) -> None:
    path = tmp_path / "last.pth"
    write_checkpoint(path, content_of(4))
    loaded = torch.load(io.BytesIO(path.read_bytes()), weights_only=True)
    assert loaded["epoch"] == 4
