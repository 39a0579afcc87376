import errno
import os
from pathlib import Path

import pytest

from engine import run_folder
from engine.run_folder import RunFolder


def make_run(folder: Path, *names: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names or ("last.pth", "log.jsonl", "tensorboard/events"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)


def names_in(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


# Where a run may write


def test_folder_that_was_made_for_nothing_goes_again(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "runs" / "a")
    folder.claim()
    assert names_in(tmp_path) == ["runs/a/.lock"]
    folder.release()
    assert not [*tmp_path.iterdir()]
    folder.claim()
    make_run(tmp_path / "runs" / "a")
    folder.release()
    assert len(names_in(tmp_path)) == 3


@pytest.mark.parametrize(
    ("path", "reason"),
    [("file", "File exists"), ("file/run", "Not a directory"), ("dangling", "File exists")],
)
def test_place_that_cannot_be_a_folder_is_told(path: str, reason: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "dangling").symlink_to("nowhere")
    expected = rf"the run folder '.*{path}' cannot be written: {reason}; .* --output"
    with pytest.raises(ValueError, match=expected):
        RunFolder(tmp_path / path).claim()
    assert names_in(tmp_path) == ["file"]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_folder_that_cannot_be_written_is_told_and_left_as_it_is(
    code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(handle: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr("engine.folder_lock.sync_file", refuse)
    with pytest.raises(ValueError, match=f"cannot be written: {os.strerror(code)}"):
        RunFolder(tmp_path / "run").claim()
    assert not [*tmp_path.iterdir()]


def test_what_a_killed_run_left_unfinished_is_removed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / ".last.pth.elsewhere+4.99.7.0.part").write_bytes(bytes(2_000_000))
    folder = RunFolder(tmp_path)
    folder.claim()
    folder.release()
    assert names_in(tmp_path) == []
    assert "removed 2.0 MB of files that a killed run left unfinished" in caplog.text


# What is a run, and where it goes


@pytest.mark.parametrize(
    "name",
    [
        *("last.pth", "last.1.pth", "best.pth", "swa.pth", "epoch_3.pth", "ckpt_e2.pth"),
        *("best_ckpt_e2.pth", "config.yml", "test_config.yml", "log.jsonl", "train.log"),
        *("results.json", "scores.npz", "bad_videos.txt", "tensorboard/events"),
    ],
)
def test_folder_with_anything_of_a_run_is_moved_aside(name: str, tmp_path: Path) -> None:
    make_run(tmp_path / "run", name)
    folder = RunFolder(tmp_path / "run")
    folder.claim()
    folder.move_run_aside()
    assert names_in(tmp_path) == ["run.1/" + name, "run/.lock"]
    folder.release()
    assert names_in(tmp_path) == ["run.1/" + name]


def test_folder_that_holds_no_run_is_never_moved(tmp_path: Path) -> None:
    make_run(tmp_path / "run", "notes.txt", "model.pth")
    RunFolder(tmp_path / "run").move_run_aside()
    assert names_in(tmp_path) == ["run/model.pth", "run/notes.txt"]


def test_other_things_stay_where_they_are(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    make_run(tmp_path / "data", "train.txt", "up/0/img_00001.jpg")
    for number in range(2):
        make_run(tmp_path / "data")
        folder = RunFolder(tmp_path / "data")
        folder.claim()
        folder.move_run_aside()
        folder.release()
        assert names_in(tmp_path / "data") == ["train.txt", "up/0/img_00001.jpg"]
        assert len(names_in(tmp_path / f"data.{number + 1}")) == 3
    assert f"{tmp_path / 'data'} held a run; it is now {tmp_path / 'data.2'}" in caplog.text


def test_folder_of_this_process_works_as_a_run_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_run(tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    folder = RunFolder(Path())
    folder.claim()
    folder.move_run_aside()
    folder.release()
    assert Path.cwd() == tmp_path / "here"
    assert not [*Path().iterdir()]
    assert len(names_in(tmp_path / "here.1")) == 3


def test_link_stays_a_link(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    make_run(tmp_path / "large_disk" / "run")
    (tmp_path / "link").symlink_to("large_disk/run")
    folder = RunFolder(tmp_path / "link")
    folder.claim()
    folder.move_run_aside()
    make_run(tmp_path / "link", "last.pth")
    folder.release()
    assert (tmp_path / "link").is_symlink()
    assert names_in(tmp_path / "large_disk" / "run") == ["last.pth"]
    assert len(names_in(tmp_path / "large_disk" / "run.1")) == 3
    assert f"it is now {tmp_path / 'large_disk' / 'run.1'}" in caplog.text


@pytest.mark.parametrize("has_others", [True, False])
def test_folder_that_cannot_be_moved_is_told(
    has_others: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_run(tmp_path / "run")
    if has_others:
        (tmp_path / "run" / "notes.txt").touch()

    def rename(source: Path, target: Path) -> None:
        raise OSError(errno.EBUSY, "Device or resource busy")

    before = names_in(tmp_path)
    monkeypatch.setattr(run_folder.Path, "rename", rename)
    expected = r"run holds a run, which cannot be moved aside to .*run\.1: Device or .*--output"
    with pytest.raises(ValueError, match=expected):
        RunFolder(tmp_path / "run").move_run_aside()
    assert names_in(tmp_path) == before
    assert not (tmp_path / "run.1").exists()


def test_run_goes_on_in_the_folder_of_its_checkpoint_alone(tmp_path: Path) -> None:
    make_run(tmp_path / "a")
    (tmp_path / "link").symlink_to("a")
    folder = RunFolder(tmp_path / "a")
    assert folder.holds(str(tmp_path / "link" / "last.pth"))
    assert not folder.holds(str(tmp_path / "b" / "last.pth"))
    assert not folder.holds(None)
