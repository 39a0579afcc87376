import errno
import os
import resource
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch

from engine.process_name import ProcessName
from engine.whole_file import UnwritableError, link_or_copy, remove_stale_parts, whole_file

LIMIT = 100_000  # bytes


@pytest.fixture
def small_disk() -> Iterator[None]:
    """Files end at LIMIT bytes, as on a full disk."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@contextmanager
def other_start(monkeypatch: pytest.MonkeyPatch, name: ProcessName) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setattr(ProcessName, "own", lambda: name)
        yield


def test_file_has_its_name_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    with whole_file(path) as file:
        file.write(b"new")
        assert not path.exists()
    assert path.read_bytes() == b"new"
    assert [*tmp_path.iterdir()] == [path]


def test_file_may_be_read_by_those_whom_the_system_lets(tmp_path: Path) -> None:
    (tmp_path / "usual").touch()
    with whole_file(tmp_path / "a.txt") as file:
        file.write(b"new")
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("usual", "a.txt")]
    assert modes[0] == modes[1]


def test_error_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(TypeError), whole_file(path) as file:
        file.writelines([b"new", None])
    assert path.read_text() == "old"
    assert [*tmp_path.iterdir()] == [path]


def test_writers_do_not_meet(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    with whole_file(path) as one, whole_file(path) as other:
        one.write(b"one")
        other.write(b"other")
    assert path.read_bytes() == b"one"  # the outer one ends last
    assert [*tmp_path.iterdir()] == [path]


def test_name_may_be_as_long_as_names_are(tmp_path: Path) -> None:
    path = tmp_path / ("ü" * 127)
    with whole_file(path) as file:
        file.write(b"new")
    assert path.read_bytes() == b"new"


@pytest.mark.parametrize(
    "write",
    [
        lambda file: torch.save({"weights": torch.zeros(LIMIT)}, file),
        lambda file: np.savez(file, scores=np.zeros(LIMIT)),
        lambda file: file.write(bytes(LIMIT + 1)),
        lambda file: [file.write(b"1234567") for _ in range(LIMIT // 7 + 1)],
    ],
    ids=["torch", "numpy", "at once", "bit by bit"],
)
@pytest.mark.usefixtures("small_disk")
def test_full_disk_is_told_and_no_byte_stays(write: Callable[..., None], tmp_path: Path) -> None:
    path = tmp_path / "last.pth"
    path.write_text("old")
    expected = r"cannot write '.*last\.pth': File too large; .*; what had that name .* is intact"
    with pytest.raises(UnwritableError, match=expected), whole_file(path) as file:
        write(file)
    assert path.read_text() == "old"
    assert [*tmp_path.iterdir()] == [path]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("folder", "Is a directory; a folder has its name"),
        ("gone/a", "No such file or directory; its folder is gone"),
        ("file/a", "Not a directory; a file has the name of its folder"),
    ],
)
def test_what_keeps_a_file_from_being_written_is_told(
    name: str, reason: str, tmp_path: Path
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    expected = f"cannot write '{tmp_path / name}': {reason}$"
    with pytest.raises(UnwritableError, match=expected), whole_file(tmp_path / name) as file:
        file.write(b"new")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]


def test_error_of_another_file_is_not_taken_for_its_own(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), whole_file(tmp_path / "a.txt"):
        (tmp_path / "source.txt").read_text()


def test_second_name_takes_no_second_copy(tmp_path: Path) -> None:
    last, best = tmp_path / "last.pth", tmp_path / "best.pth"
    last.write_text("new")
    best.write_text("old")
    for _ in range(2):  # the second time both are one file's
        link_or_copy(last, best)
        assert best.samefile(last)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["best.pth", "last.pth"]
    last.unlink()
    assert best.read_text() == "new"


def test_second_name_is_a_copy_where_there_are_no_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_link(*names: Path) -> None:
        raise OSError(errno.ENOTSUP, "Operation not supported")

    monkeypatch.setattr(os, "link", no_link)
    last, best = tmp_path / "last.pth", tmp_path / "best.pth"
    last.write_text("new")
    link_or_copy(last, best)
    assert best.read_text() == "new"
    assert not best.samefile(last)
    assert len([*tmp_path.iterdir()]) == 2


def test_what_dead_writers_left_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = (
        "import sys; from pathlib import Path; from engine.whole_file import whole_file\n"
        "with whole_file(Path(sys.argv[1])) as file:\n"
        "    file.write(bytes(9000)); file.flush(); import os; os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code, tmp_path / "last.pth"], check=False)
    own = ProcessName.own()
    with other_start(monkeypatch, own._replace(start=1)):  # its id went to this process
        left = whole_file(tmp_path / "results.json")
        left.__enter__().write(b"torn")
    elsewhere = tmp_path / ".last.pth.host-2+4026.17.99.0.part"
    for name in (elsewhere.name, ".part", ".notes.part"):
        (tmp_path / name).touch()
    with whole_file(tmp_path / "best.pth"):
        assert len([*tmp_path.iterdir()]) == 6
        assert remove_stale_parts(tmp_path) == 9000
        left_over = sorted(path.name for path in tmp_path.iterdir())
    assert left_over[0].startswith(".best.pth.")
    assert left_over[1:] == [".notes.part", ".part"]
