import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.test_main import Experiment
from tools.diagnosis.data_findings import check_classes, check_files, check_lists
from tools.diagnosis.examination import Examination
from tools.diagnosis.findings import Finding

Examine = Callable[..., Examination]
Only = Callable[..., Finding]


def lines_of(experiment: Experiment, split: str) -> list[str]:
    return (experiment.folder / f"{split}.txt").read_text().splitlines()


def write(experiment: Experiment, split: str, lines: list[str]) -> None:
    (experiment.folder / f"{split}.txt").write_text("\n".join(lines) + "\n")


def files_of(examination: Examination) -> list[Finding]:
    list(check_lists(examination))
    return list(check_files(examination))


def test_sound_data_have_no_fault(examine: Examine) -> None:
    examination = examine()
    found = [
        *check_lists(examination),
        *check_classes(examination),
        *check_files(examination),
    ]
    assert {finding.level for finding in found} == {"ok"}
    assert [len(examination.readable[split]) for split in ("train", "val")] == [12, 6]


def test_every_malformed_line_is_told_with_its_number(
    experiment: Experiment, examine: Examine, only: Only
) -> None:
    write(experiment, "train", [*lines_of(experiment, "train"), "a/b 10 3", "only_a_path"])
    text = only(check_lists(examine()), "error").text
    assert "line 13: label 3 is not in 0..2" in text
    assert "line 14: fewer than two fields" in text


def test_missing_list_and_root_are_told(examine: Examine, only: Only) -> None:
    found = list(check_lists(examine("DATA.VAL_LIST", "/no/list", "DATA.ROOT", "/no/root")))
    assert only(found, "error", "/no/list").fix == "set DATA.VAL_LIST"
    assert "DATA.ROOT" in only(found, "error", "/no/root").fix


def test_video_that_is_there_twice_is_a_warning_and_of_two_classes_an_error(
    experiment: Experiment, examine: Examine, only: Only
) -> None:
    lines = lines_of(experiment, "train")
    path, count, label = lines[0].rsplit(maxsplit=2)
    write(experiment, "train", [*lines, f"./{path} {count} {label}"])
    assert f"lines 1 and 13: ./{path}" in only(check_lists(examine()), "warning").text
    write(experiment, "train", [*lines, f"{path} {count} {(int(label) + 1) % 3}"])
    assert "1 videos have two classes" in only(check_lists(examine()), "error").text


def test_video_in_both_lists_is_told_as_a_leak(
    experiment: Experiment, examine: Examine, only: Only
) -> None:
    leaked = lines_of(experiment, "train")[0]
    write(experiment, "val", [*lines_of(experiment, "val"), leaked])
    text = only(check_lists(examine()), "warning").text
    assert "leak: 1 of 7 videos of the val list" in text
    assert leaked.rsplit(maxsplit=2)[0] in text


def test_toy_data_that_are_not_made_yet_are_told_with_the_command(
    examine: Examine, only: Only, tmp_path: Path
) -> None:
    words = ("DATA.GENERATE_TOY", True, "DATA.VAL_LIST", tmp_path / "toy/val.txt")
    examination = examine(*words, "DATA.ROOT", tmp_path / "toy")
    finding = only(check_lists(examination), "warning")
    assert finding.fix.startswith(f"python -m datasets.toy {tmp_path}/toy")
    assert {f.level for f in (*check_classes(examination), *check_files(examination))} == {"ok"}


def test_a_list_of_another_name_is_not_taken_for_toy_data_to_be_made(
    examine: Examine, only: Only, tmp_path: Path
) -> None:
    examination = examine("DATA.GENERATE_TOY", True, "DATA.VAL_LIST", tmp_path / "nope.txt")
    assert "nope.txt" in only(check_lists(examination), "error").text


def test_empty_and_uneven_classes_are_told(
    experiment: Experiment, examine: Examine, only: Only
) -> None:
    lines = lines_of(experiment, "train")
    (experiment.folder / "names.txt").write_text("red\ngreen\nblue\n")
    names = ("DATA.CLASS_NAMES", experiment.folder / "names.txt")
    of_class = [[line for line in lines if line.endswith(str(label))] for label in range(3)]
    write(experiment, "train", of_class[0] * 6 + of_class[1][:1])
    examination = examine(*names)
    list(check_lists(examination))
    found = list(check_classes(examination))
    assert "train: 1 of 3 classes have no video: blue" in only(found, "warning", "no video").text
    assert "1 to 24 videos a class, the most of red, the fewest of green" in (
        only(found, "warning", "the most").text
    )


@pytest.mark.parametrize(
    ("names", "level", "words"),
    [
        ("a\nb\n", "error", "2 class names, MODEL.NUM_CLASSES is 3"),
        ("a\nb\na\n", "warning", "a name two classes each"),
    ],
)
def test_class_names_that_do_not_fit_are_told(
    names: str, level: str, words: str, examine: Examine, only: Only, tmp_path: Path
) -> None:
    (tmp_path / "names.txt").write_text(names)
    examination = examine("DATA.CLASS_NAMES", tmp_path / "names.txt")
    list(check_lists(examination))
    assert words in only(check_classes(examination), level).text


def test_missing_and_miscounted_videos_are_told_with_the_reason(
    experiment: Experiment, examine: Examine, only: Only
) -> None:
    lines = lines_of(experiment, "val")
    (gone, _, _), (short, count, label) = lines[0].rsplit(maxsplit=2), lines[1].rsplit(maxsplit=2)
    shutil.rmtree(experiment.frames / gone)
    write(experiment, "val", [lines[0], f"{short} {int(count) + 5} {label}", *lines[2:]])
    text = only(files_of(examine()), "error").text
    assert "val: 2 of 6 videos are damaged" in text
    assert f"{gone}: No such file or directory" in text
    assert f"{short}: the list says {int(count) + 5} frames, it holds {count}" in text


def test_damaged_videos_are_borne_where_the_run_bears_them(
    experiment: Experiment, examine: Examine, only: Only
) -> None:
    shutil.rmtree(experiment.frames / lines_of(experiment, "train")[0].rsplit(maxsplit=2)[0])
    shutil.rmtree(experiment.frames / lines_of(experiment, "val")[0].rsplit(maxsplit=2)[0])
    found = files_of(examine("TRAIN.MAX_BAD_SHARE", 0.1, "TEST.SKIPS_UNREADABLE", True))
    assert [finding.level for finding in found if "damaged" in finding.text] == ["warning"] * 2
    found = files_of(examine("TRAIN.MAX_BAD_SHARE", 0.05))
    assert [finding.level for finding in found if "damaged" in finding.text] == ["error"] * 2


def test_frames_that_the_list_leaves_unused_are_told(
    experiment: Experiment, examine: Examine, only: Only
) -> None:
    lines = lines_of(experiment, "train")
    path, count, label = lines[0].rsplit(maxsplit=2)
    write(
        experiment, "train", [f"{path} 2 {label}", *lines[1:-1], lines[-1].rsplit(" ", 2)[0] + " 2"]
    )
    found = files_of(examine())
    assert f"as {path}: {count}, listed 2" in only(found, "warning").text
    assert "lines without a number of frames" in only(found, "ok", "number").text


def test_cut_video_file_is_told_with_the_real_exception(
    experiment: Experiment, examine: Examine, only: Only, make_clip: Callable[..., Path]
) -> None:
    data = make_clip("x264.mp4").read_bytes()
    (experiment.frames / "whole.mp4").write_bytes(data)
    (experiment.frames / "cut.mp4").write_bytes(data[: len(data) // 2])
    write(experiment, "val", ["whole.mp4 61 0", "cut.mp4 61 1", "whole.mp4 2"])
    text = only(files_of(examine()), "error").text
    assert "val: 1 of 3 videos are damaged" in text
    assert "cut.mp4: PyAV:" in text


def test_sample_is_spread_over_the_list_and_read_by_several_processes(
    experiment: Experiment, examine: Examine
) -> None:
    write(experiment, "train", lines_of(experiment, "train") * 5)
    examination = examine(sample=50, num_workers=2)
    found = files_of(examination)
    assert any("train: 50 of 60 opened" in finding.text for finding in found)
    lines = [record.line for record in examination.readable["train"]]
    assert (min(lines), max(lines), len(set(lines))) == (1, 60, 50)
