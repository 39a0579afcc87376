import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from datasets.annotations import (
    VideoRecord,
    label_array,
    list_digest,
    read_class_names,
    read_list,
)
from datasets.list_lines import Disk


@pytest.fixture
def listed(tmp_path: Path) -> Callable[[str], Path]:
    """Write a list file as given, byte for byte."""

    def write(text: str) -> Path:
        path = tmp_path / "list.txt"
        path.write_bytes(text.encode())
        return path

    return write


Listed = Callable[[str], Path]


def test_lines_with_and_without_counts_become_records(listed: Listed) -> None:
    assert read_list(listed("a/b 12 3\nc 0\n"), 4) == [
        VideoRecord("a/b", 12, 3, line=1),
        VideoRecord("c", 0, 0, line=2),
    ]


@pytest.mark.parametrize(
    ("line", "record"),
    [
        ("riding a bike/v 1 30 2", ("riding a bike/v 1", 30, 2)),
        ("riding a bike/v 1 2", ("riding a bike/v", 1, 2)),
        ("riding a bike/vx 2", ("riding a bike/vx", 0, 2)),
        ("a\tb\t7\t1", ("a\tb", 7, 1)),
        ("  a  9   1  ", ("a", 9, 1)),
        ("Größe/zug 5 0", ("Größe/zug", 5, 0)),
        ("5 1", ("5", 0, 1)),
        ("#1/a#b 5 1", None),
        ("a#1 5 1", ("a#1", 5, 1)),
    ],
)
def test_fields_are_split_from_the_right(
    line: str, record: tuple[str, int, int] | None, listed: Listed
) -> None:
    records = read_list(listed(f"first 1 0\n{line}\n"), 3)
    assert [entry[:3] for entry in records[1:]] == ([record] if record else [])


@pytest.mark.parametrize(
    "text",
    [
        "\n\n# a comment\na 4 0\n\n   \n  # b 4 0\nb 5 1\n\n",
        "\n\n\na 4 0\n\n\n\nb 5 1",
        "\ufeff\n\n\na 4 0\n\n\n\nb 5 1\n",
        "\r\n\r\n#\r\na 4 0\r\n\r\n\r\n\r\nb 5 1\r\n",
    ],
    ids=["comments", "no newline at the end", "byte-order mark", "windows"],
)
def test_blank_lines_comments_and_line_ends_do_not_matter(text: str, listed: Listed) -> None:
    assert read_list(listed(text), 2) == [VideoRecord("a", 4, 0, 4), VideoRecord("b", 5, 1, 8)]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("a 4 3", "label 3 is not in 0..2 (MODEL.NUM_CLASSES), labels are 0-based"),
        ("a 4 7", "label 7 is not in 0..2 (MODEL.NUM_CLASSES): "),
        ("a 4 -1", "label -1 is not in 0..2"),
        ("a 4 x", "the label 'x' is not an integer"),
        ("a 4 1.0", "the label '1.0' is not an integer"),
        ("a 0 1", "0 frames, at least 1 is needed"),
        ("a -3 1", "-3 frames, at least 1 is needed"),
        ("a", "fewer than two fields"),
        ("a\0b 4 1", "a NUL byte, which no path holds"),
    ],
)
def test_malformed_line_is_named_with_its_number_and_reason(
    line: str, reason: str, listed: Listed
) -> None:
    path = listed(f"ok 4 0\n\n{line}\nok 4 2\n")
    with pytest.raises(ValueError, match=re.escape(f"line 3: {reason}")) as error:
        read_list(path, 3)
    assert str(path) in str(error.value)
    assert repr(line) in str(error.value)
    assert "`path num_frames label`" in str(error.value)


def test_all_malformed_lines_are_listed_up_to_ten(listed: Listed) -> None:
    with pytest.raises(ValueError, match="3 malformed lines") as error:
        read_list(listed("a\nb 3 0\nc 3 9\nd x\n"), 2)
    assert re.findall(r"line (\d+):", str(error.value)) == ["1", "3", "4"]
    with pytest.raises(ValueError, match="14 malformed lines") as error:
        read_list(listed(14 * "a\n"), 2)
    numbers = re.findall(r"line (\d+):", str(error.value))
    assert numbers == [str(number) for number in range(1, 11)]
    assert str(error.value).endswith("... and 4 more")


@pytest.mark.parametrize("text", ["", "\n\n", "# nothing\n"])
def test_list_without_videos_is_an_error(text: str, listed: Listed) -> None:
    path = listed(text)
    with pytest.raises(ValueError, match=re.escape(f"{path}: the list names no video")):
        read_list(path, 2)


def test_missing_list_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"cannot read the list file '.*gone\.txt'"):
        read_list(tmp_path / "gone.txt", 2)


def test_list_that_is_not_text_is_an_error_that_names_it(tmp_path: Path) -> None:
    path = tmp_path / "frame.jpg"
    path.write_bytes(b"\xff\xd8\xff\xe0 0")
    with pytest.raises(ValueError, match=r"cannot read the list file '.*frame\.jpg'"):
        read_list(path, 2)


def test_subset_keeps_the_rows_that_the_release_keeps(
    listed: Listed, golden: Callable[[str], dict[str, Any]]
) -> None:
    kept = golden("tokshift/f_dataset_items.npz")["subset_rows"].tolist()
    text = "".join(f"video_{row} 9 0\n" for row in range(kept[-1] + 5))
    records = read_list(listed(text), 1, use_subset=True)
    assert [record.path for record in records] == [f"video_{row}" for row in kept]


def test_subset_counts_videos_not_lines(listed: Listed) -> None:
    text = "".join(f"# comment\nvideo_{row} 9 0\n" for row in range(25))
    records = read_list(listed(text), 1, use_subset=True)
    assert [record.path for record in records] == ["video_0", "video_10", "video_20"]


def test_class_names_go_by_line(tmp_path: Path) -> None:
    path = tmp_path / "classes.txt"
    path.write_bytes("\ufeffriding a bike\r\nzug fahren\r\n\r\n".encode())
    assert read_class_names(path, 2) == ["riding a bike", "zug fahren"]


@pytest.mark.parametrize("num_classes", [1, 3])
def test_wrong_number_of_class_names_is_an_error(num_classes: int, tmp_path: Path) -> None:
    path = tmp_path / "classes.txt"
    path.write_text("a\nb\n")
    with pytest.raises(ValueError, match=f"2 class names, MODEL.NUM_CLASSES is {num_classes}"):
        read_class_names(path, num_classes)


def test_missing_class_names_are_an_error_that_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"cannot read DATA\.CLASS_NAMES '.*gone\.txt'"):
        read_class_names(tmp_path / "gone.txt", 2)


def test_digest_of_a_list_tells_order_and_labels_apart() -> None:
    a, b = VideoRecord("a", 12, 0, line=1), VideoRecord("b", 7, 1, line=2)
    digest = list_digest([a, b])
    assert len(digest) == 64
    assert digest == list_digest([a._replace(num_frames=0, line=5), b])
    others = [[b, a], [a], [a._replace(label=1), b], [a._replace(path="a\udce9"), b]]
    assert len({digest, *map(list_digest, others)}) == 5


# Several labels a video


@pytest.mark.parametrize(
    ("line", "record"),
    [
        ("a b/c 16 3,7", VideoRecord("a b/c", 16, 3, 1, (3, 7))),
        ("a b/c.mp4 3,7,0", VideoRecord("a b/c.mp4", 0, 3, 1, (3, 7, 0))),
        ("a b/c 16 3", VideoRecord("a b/c", 16, 3, 1, (3,))),
        ("a 2", VideoRecord("a", 0, 2, 1, (2,))),
        ("a,b 5 1,2", VideoRecord("a,b", 5, 1, 1, (1, 2))),
    ],
)
def test_lines_with_several_labels(line: str, record: VideoRecord, listed: Listed) -> None:
    assert read_list(listed(f"{line}\n"), 8, takes_several=True) == [record]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("a 16 3,8", "label 8 is not in 0..7 (MODEL.NUM_CLASSES), labels are 0-based"),
        ("a 16 3,-1", "label -1 is not in 0..7"),
        ("a 16 3,3", "the labels '3,3' name a class twice"),
        ("a 16 3,x", "the label 'x' is not an integer"),
        ("a 16 3,", "the label '' is not an integer"),
        ("a 16 3, 7", "fields are separated by spaces, labels by commas alone"),
        ("a,16,3", "fields are separated by spaces, labels by commas alone"),
        ("a", "fewer than two fields"),
    ],
)
def test_malformed_labels_are_named(line: str, reason: str, listed: Listed) -> None:
    with pytest.raises(ValueError, match=re.escape(f"line 1: {reason}")):
        read_list(listed(f"{line}\n"), 8, takes_several=True)


@pytest.mark.parametrize(
    ("line", "way_out"),
    [
        ("a/b 16 3,7", ": 'a/b 16 3,7'"),
        ("a/b 3,7,1", ": 'a/b 3,7,1'"),
        ("a/b 3,7", "; or, of a count and a label, write 'a/b 3 7'"),
    ],
)
@pytest.mark.parametrize("is_there", [True, False])
def test_several_labels_without_the_key_are_an_error_that_names_it(
    line: str, way_out: str, is_there: bool, listed: Listed, tmp_path: Path
) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    path = listed(f"a/b 16 3\n{line}\n")
    labels = line.split()[-1]
    expected = f"line 2: several labels, {labels}, which DATA.MULTI_LABEL True takes{way_out}"
    with pytest.raises(ValueError, match=re.escape(expected)):
        read_list(path, 8, disk=Disk(tmp_path) if is_there else None)


def test_digest_tells_several_labels_apart() -> None:
    one = VideoRecord("a", 12, 3, 1)
    assert list_digest([one]) == list_digest([one._replace(labels=(3,))])
    assert list_digest([one]) != list_digest([one._replace(labels=(3, 7))])


def test_labels_as_arrays() -> None:
    records = [VideoRecord("a", 1, 2, 1, (2, 0)), VideoRecord("b", 1, 1, 2, (1,))]
    assert label_array(records, 3).tolist() == [[1, 0, 1], [0, 1, 0]]
    assert label_array(records).tolist() == [2, 1]
