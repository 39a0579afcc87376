import os
from pathlib import Path

import pytest

from tools.writing.places import check_folder, check_not_read, check_places


def test_what_is_there_stays_and_folders_are_made(tmp_path: Path) -> None:
    there = tmp_path / "there.json"
    there.write_text("kept")
    check_places({"--json": there, "--csv": tmp_path / "a/b/new.csv", "--none": None}, ["", None])
    assert there.read_text() == "kept"
    assert (tmp_path / "a/b").is_dir()
    assert not list((tmp_path / "a/b").iterdir())


@pytest.mark.parametrize("link", ["same", "symlink", "hardlink", "dots"])
def test_input_is_no_place_to_write_by_whatever_name(link: str, tmp_path: Path) -> None:
    video = tmp_path / "v.mp4"
    video.write_text("video")
    other = tmp_path / "other.mp4"
    if link == "symlink":
        other.symlink_to(video)
    elif link == "hardlink":
        os.link(video, other)
    path = {"same": video, "dots": tmp_path / "x" / ".." / "v.mp4"}.get(link, other)
    (tmp_path / "x").mkdir()
    with pytest.raises(ValueError, match=r"--overlay .*\.mp4 is what is read; name another"):
        check_places({"--overlay": path}, ["missing.txt", str(video)])
    assert video.read_text() == "video"


def test_frame_of_an_input_folder_is_no_place_to_write(tmp_path: Path) -> None:
    for name in ("img_00001.png", "notes.txt"):
        (tmp_path / name).touch()
    with pytest.raises(ValueError, match="is what is read"):
        check_not_read({"--timeline": tmp_path / "img_00001.png"}, [tmp_path])
    check_not_read({"--json": tmp_path / "notes.txt"}, [tmp_path])


def test_one_file_for_two_options_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"--json and --csv are both .*; name two files"):
        check_places({"--json": tmp_path / "x", "--csv": tmp_path / "y" / ".." / "x"})


def test_places_that_cannot_be_written_are_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=r"cannot write --json .*file/x: (File exists|Not a dir)"):
        check_places({"--json": tmp_path / "file" / "x"})
    with pytest.raises(ValueError, match=r"cannot write --json .*: it is a folder"):
        check_places({"--json": tmp_path})
    with pytest.raises(ValueError, match=r"cannot write --csv .*none is not a folder"):
        check_places({"--csv": tmp_path / "none/x.csv"}, makes_folders=False)
    assert not (tmp_path / "none").exists()
    with pytest.raises(ValueError, match=r"cannot make the folder --output .*file/x"):
        check_folder("--output", tmp_path / "file" / "x", [])
    with pytest.raises(ValueError, match=r"--output .* is what is read; name another folder"):
        check_folder("--output", tmp_path, [str(tmp_path)])


def test_pipes_and_devices_are_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    check_places({"--json": tmp_path / "pipe", "--csv": Path(os.devnull)})
