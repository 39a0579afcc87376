import random
from pathlib import Path

import pytest
from PIL import Image

from datasets.annotations import read_list
from datasets.list_lines import Disk, is_comment, split_line, written_path
from datasets.readers import FrameFolder

ODD_WORDS = [
    *("take", "take 2", "take 2 0", "2", "12 3", "#tag", "# 5 1", "#", " lead", "trail ", "a  b"),
    *("a,b", "a,", "a, 3", "'q'", '"q" 1', "a\\b", "ü 1", "動画", "a\u00a05", "\u3000x", "x\u2028"),
    *("\udce9t\udce9", "\ufeffa", "x\x85", "-3", "+5", "٣", ".", "a.b c", "./a", "~", "$HOME"),
    *("x" * 200, "0 0 0", "a\u200b", "null", "{:05d}", "--help", "*?[1]", "a;b", "a; 3", "a\ttab"),
]


def add_frames(folder: Path, count: int) -> None:
    folder.mkdir(parents=True)
    for number in range(1, count + 1):
        Image.new("RGB", (2, 2)).save(folder / f"{number}.png")


def disk_of(root: Path) -> Disk:
    return Disk(root, lambda path: len(FrameFolder(root / path)))


@pytest.mark.parametrize("seed", range(4))
def test_what_is_written_is_read_again_whatever_the_names(seed: int, tmp_path: Path) -> None:
    rng = random.Random(seed)
    written = {}
    for _ in range(60):
        path = "/".join(rng.sample(ODD_WORDS, rng.randint(1, 2)))
        count, label = rng.choice([3, 4]), rng.randrange(5)
        try:
            (tmp_path / path).mkdir(parents=True)
        except (FileExistsError, NotADirectoryError):
            continue
        for number in range(count):
            (tmp_path / path / f"{number}.png").touch()
        try:
            written[written_path(path)] = (count, label)
        except ValueError:  # of a name with a control character: it is left out, and said
            assert "\t" in path
    lines = [f"{path} {count} {label}\n" for path, (count, label) in written.items()]
    listed = tmp_path / "list.txt"
    listed.write_bytes("".join(lines).encode(errors="surrogateescape"))
    records = read_list(listed, 5, disk=disk_of(tmp_path))
    assert len(records) == len(written) > 20
    for record, (path, fields) in zip(records, written.items(), strict=True):
        assert (record.path, (record.num_frames, record.label)) == (path, fields)
        assert (tmp_path / record.path).is_dir()


@pytest.mark.parametrize("name", ["", "  ", "a\nb", "a\rb", "a\0", "a\x1f", "x" * 5000])
def test_name_that_no_line_can_hold_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"^the name '"):
        written_path(name)


@pytest.mark.parametrize(
    ("line", "fields"),
    [
        ("take 2 0", ("take 2", 0, 0)),
        ("take 3 3", ("take 3", 0, 3)),
        ("take 20 1", ("take", 20, 1)),
        ("take 2", ("take", 0, 2)),
        ("take 2 5 1", ("take 2", 5, 1)),
        ("gone 7 1", ("gone", 7, 1)),
        ("only 4 1", ("only 4", 0, 1)),
        ("twin 6 0", ("twin", 6, 0)),
        ("#clap 9 2", ("#clap", 9, 2)),
    ],
)
def test_what_exists_decides_between_two_readings(
    line: str, fields: tuple[str, int, int], tmp_path: Path
) -> None:
    for name, count in {"take": 5, "take 2": 5, "take 3": 5, "only 4": 1, "twin": 6}.items():
        add_frames(tmp_path / "v" / name, count)
    add_frames(tmp_path / "v/twin 6", 1)
    add_frames(tmp_path / "v/#clap", 1)
    (tmp_path / "list.txt").write_text(line)
    (record,) = read_list(tmp_path / "list.txt", 4, disk=disk_of(tmp_path / "v"))
    assert record[:3] == fields


def test_comments_stay_comments_unless_they_name_a_video(tmp_path: Path) -> None:
    (tmp_path / "#a b.mp4").touch()
    disk = Disk(tmp_path)
    assert [is_comment(line, disk) for line in ("#a b.mp4 3", "#a b.mp4", "# a 3", "#", " ")] == [
        False,
        False,
        True,
        True,
        True,
    ]
    assert is_comment("#a b.mp4 3")


@pytest.mark.parametrize(
    ("line", "mended"),
    [
        ("a b.mp4,3", "a b.mp4 3"),
        ("a b.mp4, 3", "a b.mp4 3"),
        ("a b.mp4,12,3", "a b.mp4 12 3"),
        ('"a b.mp4", 12, 3', "a b.mp4 12 3"),
        ("a b.mp4;12;3", "a b.mp4 12 3"),
        ("'a b.mp4' 12 3", "a b.mp4 12 3"),
        ('"a b.mp4" 3', "a b.mp4 3"),
        ("c\\d.mp4 3", "c/d.mp4 3"),
    ],
)
def test_line_of_another_syntax_is_shown_as_it_should_be(
    line: str, mended: str, tmp_path: Path
) -> None:
    (tmp_path / "c").mkdir()
    for name in ("a b.mp4", "c/d.mp4"):
        (tmp_path / name).touch()
    listed = tmp_path / "list.txt"
    listed.write_text(f"{line}\n")
    with pytest.raises(ValueError, match=r"1 malformed lines") as caught:
        read_list(listed, 4, disk=Disk(tmp_path))
    assert f"write {mended!r}" in str(caught.value)
    if "," in line or ";" in line:
        with pytest.raises(ValueError, match=r"separated by spaces, not by commas: write"):
            read_list(listed, 4)


def test_names_that_are_not_utf8_keep_their_bytes(tmp_path: Path) -> None:
    (tmp_path / "l.txt").write_bytes(b"c/caf\xe9 10 0\nc/good 10 0\n")
    paths = [record.path for record in read_list(tmp_path / "l.txt", 3)]
    assert [path.encode(errors="surrogateescape") for path in paths] == [b"c/caf\xe9", b"c/good"]


@pytest.mark.parametrize(
    ("content", "kind"),
    [(b"\xff\xfea\0", "UTF-16 text; save it as UTF-8"), (b"PK\x03\x04", "a ZIP archive")],
)
def test_file_that_is_no_list_is_called_what_it_is(
    content: bytes, kind: str, tmp_path: Path
) -> None:
    (tmp_path / "l.txt").write_bytes(content)
    with pytest.raises(ValueError, match=rf"cannot read the list file .*: it is {kind}"):
        read_list(tmp_path / "l.txt", 3)


@pytest.mark.parametrize("line", ["a 5 1, 2", "a 5 1 , 2", "b c 300 3, 7, 11"])
def test_labels_with_spaces_between_them_are_not_told_to_be_a_count(line: str) -> None:
    with pytest.raises(ValueError, match=r"joined by commas alone, `3,7`, which DATA.MULTI_LABEL"):
        split_line(line)
