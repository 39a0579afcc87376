"""A share of the damaged texts of tests/faults/fuzz_texts.py, the same each time."""

import os
import zipfile
from pathlib import Path

import numpy as np
import pytest

from config.class_names import read_class_names
from config.command_line import parse_args
from config.text_files import read_text
from datasets.annotations import read_list
from engine.scores import Scores
from tests.faults import fuzz_texts
from tools.listing.official_annotations import Entry, check_names, read_class_file, read_ssv2


def test_damaged_texts_are_read_as_they_are_or_refused(tmp_path: Path) -> None:
    outcomes, faults = fuzz_texts.run(list(fuzz_texts.targets()), 360, 7, tmp_path)
    assert not faults, "\n".join(faults)
    for name in fuzz_texts.targets():
        assert outcomes[f"{name}: read"] + outcomes[f"{name}: refused"] == 30


def test_fault_that_is_looked_for_would_be_told(tmp_path: Path) -> None:
    def hangs(path: Path) -> None:
        while True:
            pass

    def accepts(path: Path) -> None:
        raise AssertionError("false")

    def recurses(path: Path) -> None:
        recurses(path)

    def answers(path: Path) -> None:
        raise ValueError("x" * 100_000)

    assert fuzz_texts.outcome(fuzz_texts.Target([], accepts), tmp_path).startswith("AssertionError")
    assert fuzz_texts.outcome(fuzz_texts.Target([], recurses), tmp_path).startswith("RecursionErr")
    assert fuzz_texts.outcome(fuzz_texts.Target([], answers), tmp_path).startswith("ValueError")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fuzz_texts, "SECONDS", 0.05)
        assert fuzz_texts.outcome(fuzz_texts.Target([], hangs), tmp_path).startswith("hang")


def test_pipe_device_folder_and_huge_file_are_no_texts(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, kind in ((tmp_path / "pipe", "FIFO"), (Path("/dev/zero"), "device")):
        with pytest.raises(ValueError, match=f"cannot read the list .*it is a {kind}, not a file"):
            read_text(path, "the list")
    with pytest.raises(ValueError, match=r"cannot read the list .*Is a directory"):
        read_text(tmp_path, "the list")
    (tmp_path / "long").write_bytes(b"x" * 11)
    with pytest.raises(ValueError, match=r"cannot read the list .*over 10 bytes"):
        read_text(tmp_path / "long", "the list", max_bytes=10)
    with pytest.raises(ValueError, match=r"cannot read the list .*NUL byte"):
        read_text("a\0b", "the list")
    with pytest.raises(ValueError, match=r"cannot read the list .*no path has these letters"):
        read_text("a\ud800", "the list")


def test_byte_that_is_no_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "names").write_bytes(b"a\nb\n\xe9\n")
    with pytest.raises(ValueError, match=r"cannot read DATA\.CLASS_NAMES .*byte 4 is not UTF-8"):
        read_class_names(tmp_path / "names", 3)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (f"a {2**63} 1", "the number of frames '9223372036854775808' is beyond"),
        (f"a {'9' * 5000} 1", "the number of frames '999"),
        (f"a 4 {'9' * 5000}", "the label '999"),
        (f"a {2**31} 1", "2147483648 frames, at most 2147483647"),
        ("a +-4", "the label '+-4' is not an integer"),
        ("a ٣", "the label '٣' is not an integer"),
    ],
)
def test_number_that_no_list_means_is_a_fault_of_its_line(
    line: str, reason: str, tmp_path: Path
) -> None:
    (tmp_path / "list").write_text(f"a 4 0\n{line}\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"1 malformed lines") as caught:
        read_list(tmp_path / "list", 2)
    assert f"line 2: {reason}" in str(caught.value)
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize(
    ("words", "flag"),
    [
        (["--start-epoch", "-3"], "--start-epoch"),
        (["-j", "-2"], "-j/--workers"),
        (["--seed", "9" * 30], "--seed"),
        (["--seed", "1_0"], "--seed"),
    ],
)
def test_absurd_number_of_a_flag_is_refused(
    words: list[str], flag: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        parse_args(["--cfg", "a.yml", *words])
    assert f"argument {flag}: " in capsys.readouterr().err


@pytest.mark.parametrize("name", ["a\nb", "", " ", "../a", "/a", "a/../b", "\ud800", "a\0"])
def test_name_that_no_list_can_say_is_refused(name: str) -> None:
    check_names([Entry(("a..b/c",), "x y")])
    for entry in (Entry((name,), "x"), Entry(("a",), name)):
        with pytest.raises(ValueError, match=r"^the name '.*make the list again"):
            check_names([entry])


@pytest.mark.parametrize("text", ["[" * 100_000, "{}", "[1]", '[{"id": [1], "template": "a"}]'])
def test_json_of_another_shape_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"a\.json"):
        read_ssv2(path, "train", 1)
    if text != "{}":
        with pytest.raises(ValueError, match=r"a\.json"):
            read_class_file(path)


def test_scores_that_ask_for_more_than_their_file_are_refused(tmp_path: Path) -> None:
    scores = Scores(np.array(["a"]), np.array([0]), np.zeros((1, 3, 4), np.float32), 1, 3)
    sound, path = tmp_path / "sound.npz", tmp_path / "scores.npz"
    scores.save(sound, scores.averaged())
    huge = b"(1000000, 1000000, 4), }"
    for old, new, reason in (
        (b"(1, 3, 4), }" + b" " * 12, huge, "'view_logits' in it has 48 bytes"),
        (b"'<f4'", b"'|O8'", "'view_logits' in it is no array of numbers or texts"),
    ):
        with zipfile.ZipFile(sound) as archive, zipfile.ZipFile(path, "w") as crafted:
            for info in archive.infolist():
                content = archive.read(info)
                if info.filename == "view_logits.npy":
                    content = content.replace(old, new)
                crafted.writestr(info.filename, content)
        with pytest.raises(ValueError, match=rf"scores\.npz is not a scores\.npz .*({reason})"):
            Scores.load(path)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"labels": np.array([4])}, "labels are int64 and not all in 0..3"),
        ({"labels": np.array([0, 1])}, "labels and videos are"),
        ({"num_clips": np.array(2)}, "3 views are not those of 2 clips x 3 crops"),
        ({"num_clips": np.array(-1)}, "3 views are not those of -1 clips"),
        ({"view_logits": np.full((1, 3, 4), np.nan, np.float32)}, "logits that are not finite"),
        ({"view_logits": np.zeros((1, 3, 4))}, "view_logits is float64"),
        ({"videos": np.array([b"a"])}, "'videos' in it is no array"),
    ],
)
def test_scores_that_are_none_are_refused(
    changes: dict[str, np.ndarray], reason: str, tmp_path: Path
) -> None:
    arrays = {
        "videos": np.array(["a"]),
        "labels": np.array([0]),
        "view_logits": np.zeros((1, 3, 4), np.float32),
        "num_clips": np.array(1),
        "num_crops": np.array(3),
    }
    np.savez(tmp_path / "scores.npz", **(arrays | changes))
    with pytest.raises(ValueError, match=reason):
        Scores.load(tmp_path / "scores.npz")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match="it is a FIFO, not a file"):
        Scores.load(tmp_path / "pipe")
