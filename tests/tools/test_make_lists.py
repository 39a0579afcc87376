import json
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from datasets.annotations import read_class_names, read_list
from tools.listing.official_annotations import (
    OFFICIAL_COUNTS,
    Entry,
    label_entries,
    read_class_file,
    read_kinetics,
)
from tools.make_lists import main


def write(path: Path, *lines: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
    return path


def add_frames(folder: Path, count: int) -> None:
    folder.mkdir(parents=True)
    for number in range(1, count + 1):
        Image.new("RGB", (4, 4)).save(folder / f"img_{number:05d}.jpg")


def test_counting_without_a_decoder_is_an_error_that_names_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "videos/red/0.mp4", "not looked at")
    monkeypatch.setattr("datasets.decode.video_file.find_spec", lambda name: None)
    monkeypatch.setitem(sys.modules, "av", None)
    words = ["tree", tmp_path / "videos", "--root", tmp_path / "videos", "--videos", "--count"]
    assert main([str(word) for word in [*words, "--write-list", tmp_path / "all.txt"]]) == 2
    assert capsys.readouterr().err == "error: decoding videos needs PyAV: pip install av\n"


def test_kinetics_csv_with_missing_videos(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    annotation = write(
        tmp_path / "k400.csv",
        "label,youtube_id,time_start,time_end,split",
        "air drumming,abcdefghijk,3,13,train",
        "abseiling,-_x_yz12345,100,110,train",
        "abseiling,gonegonegon,0,10,train",
        "abseiling,valvalvalva,0,10,val",
    )
    add_frames(tmp_path / "frames/air drumming/abcdefghijk_000003_000013", 5)
    add_frames(tmp_path / "frames/abseiling/-_x_yz12345_000100_000110", 3)
    listed, classes = tmp_path / "lists/train.txt", tmp_path / "classes.txt"
    words = ["kinetics", annotation, "--subset", "train", "--root", tmp_path / "frames"]
    words += ["--prefix", "k400/train", "--write-list", listed, "--write-classes", classes]
    assert main([str(word) for word in words]) == 1
    assert [record[:3] for record in read_list(listed, num_classes=2)] == [
        ("k400/train/air drumming/abcdefghijk_000003_000013", 5, 1),
        ("k400/train/abseiling/-_x_yz12345_000100_000110", 3, 0),
    ]
    assert read_class_names(classes, 2) == ["abseiling", "air drumming"]
    missing = tmp_path / "lists/train.txt.missing.txt"
    assert missing.read_text() == "abseiling/gonegonegon_000000_000010\n"
    shown = capsys.readouterr().out
    assert "3 videos (no official count to compare with)" in shown
    assert "2 classes (official 400, DIFFERENT)" in shown
    assert "2 of 3 videos" in shown
    assert "left out 1" in shown


def test_kinetics_class_folders_may_have_underscores_or_be_absent(tmp_path: Path) -> None:
    annotation = write(
        tmp_path / "k.csv", "label,youtube_id,time_start,time_end", "air drumming,a-b,1.0,11.0"
    )
    (entry,) = read_kinetics(annotation, "", 1)
    name = "a-b_000001_000011"
    assert entry.stems == (f"air drumming/{name}", f"air_drumming/{name}", name)


@pytest.mark.parametrize("subset", ["train", "test"])
def test_ucf101_labels_become_zero_based(
    tmp_path: Path, subset: str, capsys: pytest.CaptureFixture[str]
) -> None:
    number = {"train": (" 1", " 2"), "test": ("", "")}[subset]
    annotation = write(
        tmp_path / f"{subset}list01.txt",
        f"ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi{number[0]}",
        f"Archery/v_Archery_g01_c01.avi{number[1]}",
    )
    classes = write(tmp_path / "classInd.txt", "1 ApplyEyeMakeup", "2 Archery")
    for line in ("ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi", "Archery/v_Archery_g01_c01.avi"):
        write(tmp_path / "videos" / line, "not empty")
    listed = tmp_path / "out.txt"
    words = ["ucf101", annotation, "--subset", subset, "--classes", classes, "--videos"]
    words += ["--root", tmp_path / "videos", "--write-list", listed]
    assert main([str(word) for word in words]) == 0
    assert listed.read_text().splitlines() == [
        "ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi 0",
        "Archery/v_Archery_g01_c01.avi 1",
    ]
    official = OFFICIAL_COUNTS["ucf101", 1, subset]
    assert f"2 videos (official {official}, DIFFERENT)" in capsys.readouterr().out


def test_video_files_are_counted_where_asked_and_broken_ones_left_out_with_the_reason(
    tmp_path: Path, make_clip: Callable[..., Path]
) -> None:
    videos = tmp_path / "videos"
    for name, content in (
        ("run/a b.mp4", make_clip("x264.mp4").read_bytes()),
        ("run/c.avi", make_clip("mpeg4.avi").read_bytes()),
        ("swim/d.mp4", b"no video"),
    ):
        (videos / name).parent.mkdir(parents=True, exist_ok=True)
        (videos / name).write_bytes(content)
    listed = tmp_path / "out.txt"
    words = ["tree", videos, "--root", videos, "--videos", "--count", "--prefix", "mine"]
    assert main([str(word) for word in (*words, "--write-list", listed)]) == 1
    assert listed.read_text().splitlines() == ["mine/run/a b.mp4 61 0", "mine/run/c.avi 61 0"]
    (line,) = (tmp_path / "out.txt.missing.txt").read_text().splitlines()
    assert line.startswith(f"swim/d.mp4\t{videos}/swim/d.mp4: PyAV: InvalidDataError: ")


def test_a_number_that_is_not_the_classes_is_an_error(tmp_path: Path) -> None:
    entries = [Entry(("Archery/v",), "Archery", number=0)]
    with pytest.raises(ValueError, match="classInd"):
        label_entries(entries, ["ApplyEyeMakeup", "Archery"])


@pytest.mark.parametrize(("subset", "expected"), [("train", ["a 0", "d 1"]), ("test", ["b 0"])])
def test_hmdb51_takes_ones_to_train_and_twos_to_test(
    tmp_path: Path, subset: str, expected: list[str]
) -> None:
    write(tmp_path / "splits/brush_hair_test_split2.txt", "a.avi 1 ", "b.avi 2 ", "c.avi 0 ")
    write(tmp_path / "splits/cartwheel_test_split2.txt", "d.avi 1 ")
    write(tmp_path / "splits/cartwheel_test_split1.txt", "e.avi 1 ")
    classes = write(tmp_path / "classes.txt", "brush_hair", "cartwheel")
    listed = tmp_path / "out.txt"
    words = ["hmdb51", tmp_path / "splits", "--subset", subset, "--split", "2"]
    words += ["--classes", classes, "--write-list", listed]
    assert main([str(word) for word in words]) == 0
    lines = [line.rsplit("/")[-1] for line in listed.read_text().splitlines()]
    assert lines == expected


@pytest.mark.parametrize("name", ["ssv1", "jester"])
def test_semicolon_files_take_the_alphabets_order(tmp_path: Path, name: str) -> None:
    annotation = write(tmp_path / "train.csv", "100218;Swiping Right", "7;Swiping Left")
    add_frames(tmp_path / "frames/100218", 2)
    add_frames(tmp_path / "frames/7", 1)
    listed = tmp_path / "out.txt"
    words = [name, annotation, "--root", tmp_path / "frames", "--write-list", listed]
    assert main([str(word) for word in words]) == 0
    assert listed.read_text().splitlines() == ["100218 2 1", "7 1 0"]


def test_something_v2_takes_the_template_without_brackets(tmp_path: Path) -> None:
    rows = [{"id": "78687", "label": "x", "template": "Holding [something] next to [something]"}]
    annotation = write(tmp_path / "train.json", json.dumps(rows))
    names = {"Approaching something": "0", "Holding something next to something": "1"}
    classes = write(tmp_path / "labels.json", json.dumps(names))
    write(tmp_path / "videos/78687.webm", "not empty")
    listed = tmp_path / "out.txt"
    words = ["ssv2", annotation, "--classes", classes, "--videos"]
    words += ["--root", tmp_path / "videos", "--write-list", listed]
    assert main([str(word) for word in words]) == 0
    assert listed.read_text() == "78687.webm 1\n"


def test_a_tree_of_folders(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    add_frames(tmp_path / "mine/walk/one.v2", 2)
    add_frames(tmp_path / "mine/fall down/two", 1)
    listed = tmp_path / "out.txt"
    words = ["tree", tmp_path / "mine", "--root", tmp_path / "mine", "--write-list", listed]
    assert main([str(word) for word in words]) == 0
    assert listed.read_text().splitlines() == ["fall down/two 1 0", "walk/one.v2 2 1"]
    assert "2 classes\n" in capsys.readouterr().out


def pack(folder: Path, path: Path, method: int = zipfile.ZIP_STORED) -> None:
    with zipfile.ZipFile(path, "w", method) as archive:
        for file in folder.iterdir():
            archive.write(file, file.name)


def test_a_tree_of_packs_and_folders(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mine, listed = tmp_path / "mine", tmp_path / "out.txt"
    add_frames(mine / "walk/two", 2)
    pack(mine / "walk/two", mine / "walk/one.v2.ZIP")
    pack(mine / "walk/two", mine / "walk/squeezed.zip", zipfile.ZIP_DEFLATED)
    with zipfile.ZipFile(mine / "walk/notes.zip", "w") as archive:
        archive.writestr("notes.txt", "no video")
    words = ["tree", mine, "--root", mine, "--write-list", listed]
    assert main([str(word) for word in words]) == 1
    assert listed.read_text().splitlines() == ["walk/one.v2.ZIP 2 0", "walk/two 2 0"]
    out = capsys.readouterr().out
    assert "ignored: 1 .zip files" in out
    assert "walk/squeezed.zip" in out
    missing = Path(f"{listed}.missing.txt").read_text()
    assert "is compressed; store the images as they are" in missing


def test_packs_are_found_where_an_annotation_says(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    add_frames(tmp_path / "frames", 3)
    pack(tmp_path / "frames", tmp_path / "root/78687.zip")
    labels, listed = write(tmp_path / "labels.csv", "78687;Doing something"), tmp_path / "out.txt"
    words = ["ssv1", labels, "--root", tmp_path / "root", "--write-list", listed]
    assert main([str(word) for word in words]) == 0
    assert listed.read_text() == "78687.zip 3 0\n"


@pytest.mark.parametrize(
    ("name", "lines", "text"),
    [
        ("kinetics", ["a,b", "1,2"], "the first line must name the columns"),
        ("ucf101", ["no-class 1"], "a line is `Class/video.avi`"),
        ("ssv1", ["12345"], "the test set has no labels"),
        ("ssv2", ['[{"id": "1"}]'], "the test set has no labels"),
        ("ssv2", ["not json"], "is not JSON"),
        ("tree", ["a file"], "is not a folder"),
        ("hmdb51", ["a file"], "needs --subset"),
    ],
)
def test_other_files_are_refused_with_the_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, lines: list[str], text: str
) -> None:
    annotation = write(tmp_path / "annotation", *lines)
    assert main([name, str(annotation), "--write-list", str(tmp_path / "out.txt")]) == 2
    assert text in capsys.readouterr().err
    assert not (tmp_path / "out.txt").exists()


def test_an_empty_root_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    annotation = write(tmp_path / "train.csv", "1;Shaking Hand")
    words = ["jester", annotation, "--root", tmp_path, "--write-list", tmp_path / "out.txt"]
    assert main([str(word) for word in words]) == 2
    assert "none of 1 videos is under" in capsys.readouterr().err


def test_class_files_of_every_kind(tmp_path: Path) -> None:
    assert read_class_file(write(tmp_path / "a.txt", "air drumming", "yoga")) == [
        "air drumming",
        "yoga",
    ]
    assert read_class_file(write(tmp_path / "b.txt", "0 yoga", "1 golf")) == ["yoga", "golf"]
    with pytest.raises(ValueError, match="not consecutive"):
        read_class_file(write(tmp_path / "c.txt", "1 yoga", "3 golf"))


def run(*words: object) -> int:
    return main([str(word) for word in words])


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    for label, name in enumerate(("walk", "run")):
        for number in range(10):
            path = tmp_path / f"videos/{name}/r{number // 2}_{label}{number}.MP4"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"x")
    return tmp_path / "videos"


def test_one_command_divides_a_tree_by_class(
    videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("tree", videos, "--split", "0.8") == 0
    records = {part: read_list(tmp_path / f"{part}.txt", 2) for part in ("train", "val")}
    assert {part: len(found) for part, found in records.items()} == {"train": 16, "val": 4}
    assert all((videos / record.path).is_file() for found in records.values() for record in found)
    assert read_class_names(tmp_path / "classes.txt", 2) == ["run", "walk"]
    shown = capsys.readouterr().out
    assert "class   train     val\nrun         8       2\nwalk        8       2\n" in shown
    assert run("tree", videos, "--split", "0.8") == 0  # the same again


def test_lists_of_another_division_are_not_replaced_unasked(
    videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("tree", videos, "--split", "0.8") == 0
    before = (tmp_path / "val.txt").read_text()
    assert run("tree", videos, "--split", "0.5") == 2
    assert "is there already, with other lines; --overwrite replaces it" in capsys.readouterr().err
    assert (tmp_path / "val.txt").read_text() == before
    assert run("tree", videos, "--split", "0.5", "--overwrite") == 0
    assert len(read_list(tmp_path / "val.txt", 2)) == 10


def test_list_that_exists_is_divided_with_its_recordings_whole(
    videos: Path, tmp_path: Path
) -> None:
    listed, out = tmp_path / "all.txt", tmp_path / "out"
    assert run("tree", videos, "--write-list", listed, "--prefix", "videos") == 0
    words = ["--group-by", r"/(r\d)", "--output", out]
    assert run("split", listed, "--split", "0.6,0.2,0.2", *words) == 0
    parts = [read_list(out / f"{part}.txt", 2) for part in ("train", "val", "test")]
    assert [len(part) for part in parts] == [12, 4, 4]
    groups = [{record.path.split("/")[2][:2] for record in part} for part in parts]
    assert sum(map(len, groups)) == 5
    lines = [line for part in ("train", "val", "test") for line in (out / f"{part}.txt").open()]
    assert sorted(lines) == sorted(listed.open())


def test_folds_validate_each_video_once(videos: Path, tmp_path: Path) -> None:
    assert run("tree", videos, "--folds", "5", "--output", tmp_path / "cv") == 0
    names = [read_list(tmp_path / f"cv/val_fold{fold}.txt", 2) for fold in range(1, 6)]
    assert sorted(record.path for fold in names for record in fold) == sorted(
        f"{path.parent.name}/{path.name}" for path in videos.rglob("*.MP4")
    )
    assert all(len(read_list(tmp_path / f"cv/train_fold{n}.txt", 2)) == 16 for n in range(1, 6))


def test_class_names_with_numbers_are_read_again(tmp_path: Path) -> None:
    for name in ("1 run/a.mp4", "2 walk/b.mp4"):
        write(tmp_path / "t" / name, "not empty")
    lists, classes = [tmp_path / "a.txt", tmp_path / "b.txt"], tmp_path / "classes.txt"
    assert run("tree", tmp_path / "t", "--write-list", lists[0], "--write-classes", classes) == 0
    assert run("tree", tmp_path / "t", "--write-list", lists[1], "--classes", classes) == 0
    assert lists[0].read_text() == lists[1].read_text() == "1 run/a.mp4 0\n2 walk/b.mp4 1\n"


def test_odd_names_are_listed_and_one_that_cannot_be_costs_one_video(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ["#20_clap.mp4", "caf\udce9.mp4", " lead.mp4", "take 2.mp4", "a\nb.mp4", "same.avi"]
    for name in [*names, "same.mp4"]:
        write(tmp_path / "t/c" / name, "not empty")
    add_frames(tmp_path / "t/c/two names", 1)
    write(tmp_path / "t/c/two names/thumb_1.png", "x")
    write(tmp_path / "t/c/two names/frame_1.png", "x")
    (tmp_path / "t/c/two names/img_00001.jpg").unlink()
    listed = tmp_path / "l.txt"
    assert run("tree", tmp_path / "t", "--write-list", listed, "--prefix", "") == 1
    paths = [record.path for record in read_list(listed, 1)]
    assert sorted(paths) == sorted([*(f"c/{n}" for n in names if "\n" not in n), "c/same.mp4"])
    assert all((tmp_path / "t" / path).is_file() for path in paths)
    missing = (tmp_path / "l.txt.missing.txt").read_text().splitlines()
    assert [line.split("\t")[0] for line in missing] == ["c/a\\nb.mp4", "c/two names"]
    assert "images of several names: frame_N.png, thumb_N.png" in missing[1]
    assert "left out 2" in capsys.readouterr().out


def test_names_that_begin_with_a_comment_sign_are_written_so_that_they_are_read(
    tmp_path: Path,
) -> None:
    write(tmp_path / "flat/#20_clap.AVI", "not empty")
    write(tmp_path / "splits/clap_test_split1.txt", "#20_clap.avi 1")
    words = ["--subset", "train", "--root", tmp_path / "flat", "--write-list", tmp_path / "l.txt"]
    assert run("hmdb51", tmp_path / "splits", *words) == 0
    (record,) = read_list(tmp_path / "l.txt", 51)
    assert (tmp_path / "flat" / record.path).is_file()


def test_test_list_of_ucf101_takes_the_official_labels(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    annotation = write(tmp_path / "testlist01.txt", "Archery/v_a.avi", "YoYo/v_b.avi")
    listed = tmp_path / "l.txt"
    assert run("ucf101", annotation, "--subset", "test", "--write-list", listed) == 0
    assert listed.read_text() == "Archery/v_a 2\nYoYo/v_b 100\n"
    assert "101 classes (official 101, equal)" in capsys.readouterr().out
    annotation = write(tmp_path / "testlist02.txt", "Archery/v_a.avi", "Mine/v_b.avi")
    assert run("ucf101", annotation, "--write-list", listed) == 2
    assert "give --classes classInd.txt" in capsys.readouterr().err


def test_list_that_fails_leaves_the_old_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "t/\udce9/a.mp4", "x")
    listed = write(tmp_path / "l.txt", "old content")
    assert run("tree", tmp_path / "t", "--write-list", listed) == 2
    assert "is not UTF-8 text; rename it" in capsys.readouterr().err
    assert listed.read_text() == "old content\n"


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["tree", "t"], "give --write-list LIST, or --split SHARE"),
        (["split", "l.txt"], "split takes --split SHARE or --folds K"),
        (["tree", "t", "--split", "0.8", "--folds", "3"], "give one of them"),
        (["tree", "t", "--write-list", "l", "--group-by", "x"], "is for --split and --folds"),
        (["ucf101", "f", "--split", "4", "--write-list", "l"], "the splits of ucf101 are 1, 2"),
        (["tree", "t", "--folds", "1"], "1 is no number from 2 to 1000"),
    ],
)
def test_command_lines_that_cannot_be_meant_are_refused(
    words: list[str], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(words)
    assert reason in capsys.readouterr().err
