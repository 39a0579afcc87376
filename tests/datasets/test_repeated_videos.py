from datasets.annotations import VideoRecord
from datasets.repeated_videos import list_remarks, repeated_videos, shared_videos


def records_of(*paths: str) -> list[VideoRecord]:
    return [VideoRecord(path, 5, 0, line) for line, path in enumerate(paths, start=1)]


def test_each_line_that_names_a_video_again_is_found() -> None:
    records = records_of("a", "b", "./a", "c", "x/../a")
    assert repeated_videos(records) == [(records[0], records[2]), (records[0], records[4])]


def test_shared_videos_are_those_of_the_first_list() -> None:
    records = records_of("a", "b/", "c")
    assert shared_videos(records, records_of("b", "x", "./c")) == records[1:]


def test_lists_without_repetition_are_not_remarked_on() -> None:
    val = records_of("c", "d")
    assert list_remarks({"train": records_of("a", "b"), "val": val, "test": list(val)}) == []


def test_each_fault_of_the_lists_is_a_line() -> None:
    lists = {
        "train": records_of("a", "b"),
        "val": records_of("c", "d", "c"),
        "test": records_of("b", "d"),
    }
    assert list_remarks(lists) == [
        "the val list: 1 of 3 lines name a video again, which counts each time; first lines 1 and "
        "3: 'c'",
        "the test list: 1 of 2 videos are trained on too: its accuracy is too high; first 'b'",
        "the test list: 1 of 2 videos are of the val list too, which chooses the best checkpoint; "
        "first 'd'",
    ]
