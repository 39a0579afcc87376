import logging
from pathlib import Path

import pytest

from tools.extracting import video_jobs
from tools.extracting.video_jobs import VideoJob


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Two classes, a path with spaces, dots and unicode, upper case, and two files to ignore."""
    source = tmp_path / "my videos"
    names = ["swim/a b.c.mp4", "swim/Größe.AVI", "run fast/z.mp4", "swim/notes.txt", "readme.md"]
    for name in names:
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).touch()
    return source


def test_a_class_tree_gives_its_videos_in_order_and_says_what_it_ignores(
    tree: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    out = tmp_path / "out"
    assert video_jobs.plan_jobs(tree, out) == [
        VideoJob(tree / "run fast" / "z.mp4", out / "run fast" / "z", 0),
        VideoJob(tree / "swim" / "Größe.AVI", out / "swim" / "Größe", 1),
        VideoJob(tree / "swim" / "a b.c.mp4", out / "swim" / "a b.c", 1),
    ]
    assert f"3 videos in {tree}; 2 other entries ignored" in caplog.text


def test_classes_file_gives_the_labels_of_a_tree(tree: Path, tmp_path: Path) -> None:
    classes = tmp_path / "classes.txt"
    classes.write_text("swim\nfly\nrun fast\n")
    jobs = video_jobs.plan_jobs(tree, tmp_path / "out", classes_path=classes)
    assert [(job.source.name, job.label) for job in jobs] == [
        ("z.mp4", 2),
        ("Größe.AVI", 0),
        ("a b.c.mp4", 0),
    ]
    classes.write_text("swim\n")
    with pytest.raises(ValueError, match=r"class folders \['run fast'\].*not in --classes"):
        video_jobs.plan_jobs(tree, tmp_path / "out", classes_path=classes)


@pytest.mark.parametrize("line", ["only_a_path.mp4", "a.mp4 walk", "a.mp4 -1", "a.mp4 2", " 1"])
def test_malformed_list_line_is_named_with_what_is_allowed(line: str, tmp_path: Path) -> None:
    videos, classes = tmp_path / "videos.txt", tmp_path / "classes.txt"
    videos.write_text(f"good.mp4 0\n{line}\n")
    classes.write_text("walk\nrun\n")
    with pytest.raises(ValueError, match=r"need 'relative/path\.ext label'") as caught:
        video_jobs.plan_jobs(tmp_path, tmp_path / "out", videos, classes)
    assert f"{videos}:2: got {line!r}" in str(caught.value)
    assert "an integer from 0 to 1" in str(caught.value)


def test_two_videos_for_one_folder_are_an_error_that_names_both(tmp_path: Path) -> None:
    for name in ("same.mp4", "same.avi"):
        (tmp_path / "videos" / "c").mkdir(parents=True, exist_ok=True)
        (tmp_path / "videos" / "c" / name).touch()
    with pytest.raises(ValueError, match="would both be written to") as caught:
        video_jobs.plan_jobs(tmp_path / "videos", tmp_path / "out")
    assert "same.mp4" in str(caught.value)
    assert "same.avi" in str(caught.value)


@pytest.mark.parametrize("text", ["walk\n\nrun\n", "walk\nwalk\n", "walk/run\n", "..\n"])
def test_classes_file_with_a_bad_name_is_an_error(text: str, tmp_path: Path) -> None:
    path = tmp_path / "classes.txt"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"classes\.txt:[12]: .*(cannot name a folder|twice)"):
        video_jobs.read_classes(path)


@pytest.mark.parametrize("video", [".", "..", "folder/..", "a\\b.mp4"])
def test_video_whose_name_cannot_name_a_folder_is_an_error(video: str, tmp_path: Path) -> None:
    (tmp_path / "videos.txt").write_text(f"{video} 0\n")
    with pytest.raises(ValueError, match=r"videos\.txt:1: .* cannot name a folder"):
        video_jobs.plan_jobs(tmp_path, tmp_path / "out", tmp_path / "videos.txt")
