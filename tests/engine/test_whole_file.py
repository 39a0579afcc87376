from pathlib import Path

import pytest

from engine.whole_file import whole_file


def test_file_has_its_name_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    with whole_file(path) as file:
        file.write(b"new")
        assert not path.exists()
    assert path.read_bytes() == b"new"
    assert [*tmp_path.iterdir()] == [path]


def test_error_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(TypeError), whole_file(path) as file:
        file.writelines([b"new", None])
    assert path.read_text() == "old"
    assert [*tmp_path.iterdir()] == [path]


def test_writers_do_not_meet(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    with whole_file(path, writer=".0") as one, whole_file(path, writer=".1") as other:
        one.write(b"one")
        other.write(b"other")
    assert path.read_bytes() == b"one"  # the outer one ends last
    assert [*tmp_path.iterdir()] == [path]
