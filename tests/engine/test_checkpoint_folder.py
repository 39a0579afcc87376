import io
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.checkpoint_folder import CheckpointFolder, write_checkpoint
from models.weights.checkpoint_file import read_checkpoint


def content_of(epoch: int) -> dict[str, Any]:
    return {"epoch": epoch, "state_dict": {"weight": torch.full((3, 2), float(epoch))}}


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


class Unwritable:
    def __reduce__(self) -> str:
        raise RuntimeError("the disk is full")


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
