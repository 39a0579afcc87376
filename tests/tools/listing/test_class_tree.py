from pathlib import Path

import pytest

from tools.extracting.video_jobs import plan_jobs
from tools.listing.class_tree import check_parts, ordered_classes, read_class_tree


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def test_folders_that_are_no_classes_are_counted_by_kind(tmp_path: Path) -> None:
    tree = touch(
        tmp_path / "t",
        *("run/a.MP4", "run/b.ts", "run/notes.txt", "run/.x.mp4", "walk/frames/frame (1).jpg"),
        *(".ipynb_checkpoints/c.mp4", "__MACOSX/run/._a.mp4", "@eaDir/a.mp4", "docs/readme.md"),
        *("run/deep/x.mp4", "top.mp4", "list.csv", "run/__MACOSX/1.jpg", "run/other/a.txt"),
    )
    (tree / "empty").mkdir()
    found = read_class_tree(tree)
    assert found.classes == ["run", "walk"]
    assert [(v.path, v.kind) for v in found.videos] == [
        ("run/a.MP4", "file"),
        ("run/b.ts", "file"),
        ("walk/frames", "frames"),
    ]
    assert dict(found.ignored) == {
        "hidden folders": 1,
        "hidden files": 1,
        "__MACOSX folders": 2,
        "@eaDir folders": 1,
        "folders without a video": 3,
        "folders of videos, a level too deep": 1,
        ".txt files": 1,
        ".md files": 1,
        ".mp4 files beside the class folders": 1,
        ".csv files beside the class folders": 1,
    }
    assert [job.label for job in plan_jobs(tree, tmp_path / "out")] == [0, 0]


@pytest.mark.parametrize(
    ("names", "classes", "note"),
    [
        (["b", "a"], ["a", "b"], ""),
        ([str(n) for n in range(11)], [str(n) for n in range(11)], ""),
        (["10", "2", "1"], ["1", "2", "10"], "'1' is label 0, '2' is label 1, '10' is label 2"),
        (["10 run", "2 walk"], ["10 run", "2 walk"], ""),
    ],
)
def test_class_folders_that_are_numbers_follow_these(
    names: list[str], classes: list[str], note: str
) -> None:
    found, told = ordered_classes(names)
    assert found == classes
    assert note in told
    assert bool(note) == bool(told)


@pytest.mark.parametrize("parts", [("train", "val"), ("train_videos", "Testing"), ("trn", "dev")])
def test_part_that_lacks_a_class_of_another_is_refused(
    parts: tuple[str, str], tmp_path: Path
) -> None:
    for part, names in zip(parts, (("a", "b", "c"), ("b", "c")), strict=True):
        touch(tmp_path / part, *(f"{name}/v.mp4" for name in names))
    (tmp_path / parts[1] / "a").mkdir()  # empty: no class
    check_parts(tmp_path / parts[0], ["a", "b", "c"])
    with pytest.raises(ValueError, match=r"lacks 1 of the 3 classes of .*\['a'\].*--classes FILE"):
        check_parts(tmp_path / parts[1], ["b", "c"])
    with pytest.raises(ValueError, match=r"lacks 1 of the 3 classes"):
        plan_jobs(tmp_path / parts[1], tmp_path / "out")


def test_folders_that_are_no_parts_may_have_other_classes(tmp_path: Path) -> None:
    touch(tmp_path, "set_one/a/v.mp4", "set_two/a/v.mp4", "set_two/b/v.mp4", "train/x/v.mp4")
    check_parts(tmp_path / "set_one", ["a"])
    check_parts(tmp_path / "train", ["x"])


@pytest.mark.parametrize("name", ["a\nb", "\udce9", "\ufeffa"])
def test_class_that_no_file_of_names_can_hold_is_refused(name: str, tmp_path: Path) -> None:
    touch(tmp_path, f"{name}/v.mp4")
    with pytest.raises(ValueError, match=r"the class folder .* rename it"):
        read_class_tree(tmp_path)


def test_spaces_around_a_class_name_are_not_a_part_of_it(tmp_path: Path) -> None:
    touch(tmp_path, " run /v.mp4")
    tree = read_class_tree(tmp_path)
    assert tree.classes == ["run"]
    assert tree.videos[0].path == " run /v.mp4"
    touch(tmp_path, "run/v.mp4")
    with pytest.raises(ValueError, match="differs from ' run ' by spaces alone"):
        read_class_tree(tmp_path)
