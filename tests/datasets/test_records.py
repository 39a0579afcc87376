from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from yacs.config import CfgNode

from datasets.annotations import VideoRecord
from datasets.readers import FrameFolder
from datasets.records import read_records

Golden = Callable[[str], dict[str, Any]]
Config = Callable[..., CfgNode]
Open = Callable[[VideoRecord], FrameFolder]


def test_frames_are_counted_where_the_list_does_not(
    config: Config, root: Path, records: list[VideoRecord]
) -> None:
    counted = read_records(config(), "val")
    assert [(record.path, record.num_frames) for record in counted] == [
        (record.path, record.num_frames) for record in records
    ]
    listed = root / "counted.txt"
    listed.write_text("landscape 7 0\nsquare 2\n")
    counted = read_records(config(DATA__VAL_LIST=listed), "val")
    assert [record.num_frames for record in counted] == [7, 40]


def test_test_list_is_the_validation_s_where_there_is_none(config: Config, tmp_path: Path) -> None:
    assert read_records(config(), "test") == read_records(config(), "val")
    other = tmp_path / "test.txt"
    other.write_text("square 3 0\n")
    (record,) = read_records(config(DATA__TEST_LIST=other), "test")
    assert record == VideoRecord("square", 3, 0, 1)


@pytest.mark.parametrize(
    ("overrides", "reason"),
    [
        ({"DATA__VAL_LIST": ""}, r"DATA\.VAL_LIST is not set"),
        ({"DATA__VAL_LIST": "gone.txt"}, r"cannot read the list file 'gone\.txt'"),
        ({"DATA__ROOT": "gone"}, r"DATA\.ROOT='gone' is not a folder"),
        ({"MODEL__NUM_CLASSES": 2}, r"line 3: label 2 is not in 0\.\.1"),
    ],
)
def test_unusable_list_is_an_error(overrides: dict[str, Any], reason: str, config: Config) -> None:
    with pytest.raises(ValueError, match=reason):
        read_records(config(**overrides), "val")


@pytest.mark.parametrize(
    ("folder", "reason"),
    [("empty", "line 2: 'empty' holds no frames"), ("gone", "gone: No such file or directory")],
)
def test_video_without_frames_to_count_is_an_error(
    folder: str, reason: str, config: Config, root: Path, tmp_path: Path
) -> None:
    (root / "empty").mkdir(exist_ok=True)
    listed = tmp_path / "broken.txt"
    listed.write_text(f"square 0\n{folder} 1\n")
    with pytest.raises(ValueError, match=reason):
        read_records(config(DATA__VAL_LIST=listed), "val")


def test_counts_that_most_videos_contradict_are_said(
    config: Config, root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    listed = root / "labels.txt"
    listed.write_text("landscape 1 0\nsquare 2 1\n")
    read_records(config(DATA__VAL_LIST=listed), "val")
    assert "the counts differ from the videos in 2 of 2 looked at; line 1 says 1 fr" in caplog.text
    assert "`path label label` is not read" in caplog.text
    caplog.clear()
    listed.write_text("landscape 7 0\nsquare 40 1\n")
    read_records(config(DATA__VAL_LIST=listed), "val")
    assert not caplog.text


def test_name_that_ends_in_a_number_is_no_count(config: Config, root: Path) -> None:
    listed = root / "numbers.txt"
    (root / "take 5").symlink_to(root / "square")
    listed.write_text("take 5 0\n")
    try:
        (record,) = read_records(config(DATA__VAL_LIST=listed), "val")
    finally:
        (root / "take 5").unlink()
    assert record[:3] == ("take 5", 40, 0)
