from pathlib import Path

import pytest
from tensorboardX import SummaryWriter, summary

from engine import event_files
from engine.event_files import EventFile, cut_events
from engine.whole_file import UnwritableError


def write_events(folder: Path, *events: tuple[str, int]) -> Path:
    file = EventFile(folder)
    for tag, step in events:
        file.add(step, summary.scalar(tag, float(step)))
    file.close()
    return file.path


def events_in(folder: Path) -> list[tuple[str, int]]:
    return [
        (value.tag, event.step)
        for path in sorted(folder.iterdir())
        for _, event in event_files._read_records(path)
        for value in event.summary.value
    ]


def test_events_beyond_a_step_go_and_files_that_lack_them_are_not_touched(tmp_path: Path) -> None:
    first = write_events(tmp_path, ("a", 0), ("a", 1))
    write_events(tmp_path, ("a", 2), ("b", 5), ("a", 3))
    before = first.stat().st_mtime_ns
    cut_events(tmp_path, lambda tag, step: tag == "b" or step < 3)
    assert events_in(tmp_path) == [("a", 0), ("a", 1), ("a", 2), ("b", 5)]
    assert first.stat().st_mtime_ns == before


@pytest.mark.parametrize("tail", [b"\x18", bytes(12), bytes(400), b"\xff" * 90])
def test_torn_end_goes(tail: bytes, tmp_path: Path) -> None:
    path = write_events(tmp_path, ("a", 0), ("a", 1))
    whole = path.read_bytes()
    path.write_bytes(whole + tail)
    cut_events(tmp_path, lambda tag, step: True)
    assert path.read_bytes() == whole


def test_files_of_tensorboardx_are_read_at_whatever_byte_they_are_cut(tmp_path: Path) -> None:
    writer = SummaryWriter(str(tmp_path))
    for step in range(3):
        writer.add_scalar("a", step, step)
    writer.close()
    (path,) = tmp_path.iterdir()
    whole, found = path.read_bytes(), set()
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        cut_events(tmp_path, lambda tag, step: True)
        found.add(len(events_in(tmp_path)))
        assert whole.startswith(path.read_bytes())
    assert found == {0, 1, 2}


def test_two_files_of_one_second_do_not_meet(tmp_path: Path) -> None:
    assert write_events(tmp_path, ("a", 0)) != write_events(tmp_path, ("a", 1))
    assert events_in(tmp_path) == [("a", 0), ("a", 1)]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_full_disk_is_told_at_once(tmp_path: Path) -> None:
    file = EventFile(tmp_path)
    file.close()
    file.path = Path("/dev/full")
    expected = "cannot write ./dev/full.: No space left"
    with (
        file.path.open("wb", buffering=0) as file._file,
        pytest.raises(UnwritableError, match=expected),
    ):
        file.add(0, summary.scalar("a", 1.0))
