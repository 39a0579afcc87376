import io
import os
import stat
import struct
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.checkpoint_folder import (
    LAYOUTS,
    BestRecord,
    CheckpointFolder,
    write_checkpoint,
)
from models.weights.checkpoint_file import read_checkpoint


def content_of(epoch: int, offset: int = 0) -> dict[str, Any]:
    """A checkpoint after so many epochs, and so many clips of the next."""
    return {
        "epoch": epoch,
        "position": {"offset": offset},
        "state_dict": {"weight": torch.full((3, 2), epoch + offset / 100)},
    }


def end_epoch(folder: CheckpointFolder, epoch: int, top1: float = 0.0) -> None:
    """Write the checkpoint after so many epochs, and take their validation."""
    folder.save(content_of(epoch))
    folder.keep_best(top1, epoch)


def place_of(path: Path) -> tuple[int, int]:
    content = read_checkpoint(path)
    return content["epoch"], content["position"]["offset"]


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
        is_folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        synced.append("folder" if is_folder else "file")
        if is_folder:  # the name is brought onto the disk, too
            return
        assert not path.exists()
        (part,) = tmp_path.iterdir()
        assert read_checkpoint(part)["epoch"] == 1  # all of it lies on the disk already

    monkeypatch.setattr(os, "fsync", seen_by_sync)
    write_checkpoint(path, content_of(1))
    assert read_checkpoint(path)["epoch"] == 1
    assert synced == ["file", "folder"]


# Which files there are


def test_plain_layout_keeps_the_last_ones_and_the_best(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path, keep_last=3)
    for epoch, top1 in enumerate([40.0, 30.0, 50.0, 45.0], start=1):
        end_epoch(folder, epoch, top1)
    assert names_in(tmp_path) == ["best.json", "best.pth", "last.1.pth", "last.2.pth", "last.pth"]
    kept = [place_of(path)[0] for path in folder.candidates()]
    assert kept == [4, 3, 2]
    assert place_of(folder.best()) == (3, 0)
    assert folder.record() == BestRecord(
        top1=50.0, epoch=3, validated=4, top1s={1: 40.0, 2: 30.0, 3: 50.0, 4: 45.0}
    )


def test_released_layout_names_them_after_their_epochs(tmp_path: Path) -> None:
    folder, kept = CheckpointFolder(tmp_path, "released"), []
    for epoch, top1 in enumerate([40.0, 30.0, 50.0, 45.0], start=1):
        end_epoch(folder, epoch, top1)
        kept.append([name for name in names_in(tmp_path) if name.endswith(".pth")])
    assert kept == [
        ["best_ckpt_e0.pth", "ckpt_e0.pth"],
        ["best_ckpt_e0.pth", "ckpt_e0.pth", "ckpt_e1.pth"],
        ["best_ckpt_e2.pth", "ckpt_e1.pth", "ckpt_e2.pth"],
        ["best_ckpt_e2.pth", "ckpt_e2.pth", "ckpt_e3.pth"],
    ]
    assert [place_of(path)[0] for path in folder.candidates()] == [4, 3]
    assert place_of(folder.best()) == (3, 0)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_middle_of_an_epoch_is_newer_than_the_end_of_the_one_before(
    layout: str, tmp_path: Path
) -> None:
    folder, newest = CheckpointFolder(tmp_path, layout), []
    for place in ((1, 0), (1, 8), (1, 16), (2, 0), (2, 8)):
        folder.save(content_of(*place))
        newest.append([place_of(path) for path in folder.candidates()])
    if layout == "plain":
        expected = [[(1, 0)], [(1, 8), (1, 0)], [(1, 16), (1, 8)], [(2, 0), (1, 16)]]
        assert newest == [*expected, [(2, 8), (2, 0)]]
    else:  # the middle of an epoch is one file, which its next one replaces
        expected = [[(1, 0)], [(1, 8), (1, 0)], [(1, 16), (1, 0)], [(2, 0), (1, 16)]]
        assert newest == [*expected, [(2, 8), (2, 0)]]
        assert [path.name for path in folder.candidates()] == ["ckpt_e2_part.pth", "ckpt_e1.pth"]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("keep_every", [0, 1])
def test_best_and_kept_checkpoints_are_further_names_and_no_copies(
    layout: str, keep_every: int, tmp_path: Path
) -> None:
    folder = CheckpointFolder(tmp_path, layout, keep_every=keep_every)
    end_epoch(folder, 1, top1=10.0)
    files = {path.stat().st_ino for path in tmp_path.glob("*.pth")}
    assert len(files) == 1
    assert folder.best().samefile(folder.newest())


@pytest.mark.parametrize("layout", LAYOUTS)
def test_superseded_checkpoint_stays_when_writing_the_new_one_fails(
    layout: str, tmp_path: Path
) -> None:
    folder = CheckpointFolder(tmp_path, layout)
    end_epoch(folder, 1)
    before = names_in(tmp_path)
    with pytest.raises(RuntimeError, match="the disk is full"):
        folder.save(content_of(2) | {"poison": Unwritable()})
    assert names_in(tmp_path) == before
    assert place_of(folder.newest()) == place_of(folder.best()) == (1, 0)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_first_checkpoint_is_the_best_however_bad(layout: str, tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path, layout)
    assert not folder.has_best()
    folder.save(content_of(1))
    assert not folder.has_best()
    assert folder.keep_best(0.0, epoch=1)
    assert not folder.keep_best(0.0, epoch=1)  # an equal one later is none
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
    for layout in LAYOUTS:
        assert CheckpointFolder(tmp_path, layout).newest().name == order[1]


def test_folder_without_checkpoints_is_an_error_that_names_it(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path / "run")
    for find in (folder.newest, folder.newest_whole):
        with pytest.raises(ValueError, match=r"no checkpoint in the run folder .*run.*--resume"):
            find()
    with pytest.raises(ValueError, match=r"no best checkpoint in .*run"):
        folder.best()
    CheckpointFolder(tmp_path).save(content_of(1))
    with pytest.raises(ValueError, match="no best checkpoint in"):
        CheckpointFolder(tmp_path).best()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_so_many_epochs_a_checkpoint_is_kept(layout: str, tmp_path: Path) -> None:
    for epoch in range(1, 6):
        folder = CheckpointFolder(tmp_path, layout, keep_every=2)  # also by a run that goes on
        folder.save(content_of(epoch))
        folder.save(content_of(epoch, offset=8))  # the middle of an epoch is not kept
    kept = sorted(tmp_path.glob("epoch_*"))
    assert [path.name for path in kept] == ["epoch_2.pth", "epoch_4.pth"]
    assert [place_of(path) for path in kept] == [(2, 0), (4, 0)]
    assert [place_of(path) for path in folder.candidates()] == [(5, 8), (5, 0)]


def test_checkpoint_is_kept_before_it_is_the_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = CheckpointFolder(tmp_path, keep_every=1)
    folder.save(content_of(1))

    def cut(*paths: Path) -> None:
        raise InterruptedError

    monkeypatch.setattr("engine.checkpoint_folder.link_or_copy", cut)
    with pytest.raises(InterruptedError):
        folder.save(content_of(2))
    assert place_of(folder.newest()) == (1, 0)
    assert place_of(tmp_path / "epoch_2.pth") == (2, 0)


@pytest.mark.parametrize("layout", LAYOUTS)
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


# A damaged file costs no more than the steps since the one before it


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("damage", ["cut short", "a flipped bit", "empty"])
def test_damaged_newest_is_named_and_the_one_before_it_is_taken(
    damage: str, layout: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = CheckpointFolder(tmp_path, layout)
    for epoch in (1, 2):
        folder.save(content_of(epoch))
    newest = folder.newest()
    content = bytearray(newest.read_bytes())
    content[content.index(struct.pack("<6f", *6 * [2.0]))] ^= 4  # in the tensor
    texts = {"cut short": content[:-300], "a flipped bit": content, "empty": b""}
    newest.write_bytes(texts[damage])
    whole = folder.newest_whole()
    assert place_of(whole) == (1, 0)
    assert f"passed over: {newest}" in caplog.text
    folder.go_on_from(whole)
    assert (tmp_path / f"{newest.name}.aside").read_bytes() == texts[damage]
    folder.save(content_of(2))  # the one that was taken is not what makes room
    assert [place_of(path) for path in folder.candidates()] == [(2, 0), (1, 0)]


def test_folder_of_damaged_checkpoints_is_an_error(tmp_path: Path) -> None:
    for name in ("last.pth", "last.1.pth"):
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(ValueError, match=r"no checkpoint in .* can be read; name another"):
        CheckpointFolder(tmp_path).newest_whole()


def test_damaged_record_is_an_error_that_says_what_it_costs(tmp_path: Path) -> None:
    (tmp_path / "best.json").write_text('{"top1": 3')
    with pytest.raises(ValueError, match=r"best\.json is damaged .* validates .* delete it"):
        CheckpointFolder(tmp_path).record()


def test_checkpoint_of_another_folder_sets_nothing_aside(tmp_path: Path) -> None:
    one, other = (CheckpointFolder(tmp_path / name) for name in ("one", "other"))
    for folder in (one, other):
        folder.folder.mkdir()
        folder.save(content_of(1))
    other.go_on_from(one.newest())
    assert one.newest().exists()


# Beside the training


def test_file_beside_the_training_holds_what_was_when_it_was_asked_for(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path, is_async=True)
    weight = torch.ones(3)
    folder.save(content_of(1) | {"optimizer": {"state": [(weight, 1)]}})
    weight += 1  # training goes on
    folder.wait()
    assert read_checkpoint(folder.newest())["optimizer"]["state"][0][0].tolist() == [1.0] * 3


def test_what_goes_wrong_beside_the_training_is_told_at_the_next_checkpoint(
    tmp_path: Path,
) -> None:
    folder = CheckpointFolder(tmp_path, is_async=True)
    folder.save(content_of(1) | {"poison": Unwritable()})
    with pytest.raises(RuntimeError, match="the disk is full"):
        folder.save(content_of(2))
    folder.wait()  # it was told once


def test_every_layout_of_the_config_is_known_here() -> None:
    from config.checks import CHOICES

    assert CHOICES["TRAIN.CHECKPOINT_LAYOUT"] == LAYOUTS


def test_written_file_is_a_checkpoint_to_torch(tmp_path: Path) -> None:
    path = tmp_path / "last.pth"
    write_checkpoint(path, content_of(4))
    loaded = torch.load(io.BytesIO(path.read_bytes()), weights_only=True)
    assert loaded["epoch"] == 4
