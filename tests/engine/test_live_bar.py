import io
import logging
import sys

import pytest

from engine import live_bar
from engine.live_bar import LiveBar


class Clock:
    now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(live_bar, "time", clock)
    return clock


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_lines_in_a_file_are_seconds_apart_and_the_last_one_is_the_end(clock: Clock) -> None:
    lines: list[str] = []
    with LiveBar(200, "video", "test", say=lines.append) as bar:
        for number in range(200):
            clock.now += 0.125
            bar.update(num_failed=number == 4)
    assert lines == [
        "test 40/200 videos, 1 failed, 8.0 videos/s, 00:20 left",
        "test 80/200 videos, 1 failed, 8.0 videos/s, 00:15 left",
        "test 120/200 videos, 1 failed, 8.0 videos/s, 00:10 left",
        "test 160/200 videos, 1 failed, 8.0 videos/s, 00:05 left",
        "test 200/200 videos, 1 failed, 8.0 videos/s, 00:00 left",
    ]


def test_long_work_has_fewer_lines(clock: Clock) -> None:
    lines: list[str] = []
    with LiveBar(36_000, "video", say=lines.append) as bar:
        for _ in range(36_000):  # ten hours
            clock.now += 1.0
            bar.update()
    assert len(lines) < 400


def test_work_of_a_moment_has_no_line(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with LiveBar(20, "video") as bar:
        for _ in range(20):
            clock.now += 0.05
            bar.update()
    assert not caplog.text


def test_other_processes_show_nothing(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with LiveBar(2, "video", is_shown=False) as bar:
        for _ in range(2):
            clock.now += 60
            bar.update()
    assert not caplog.text


def test_terminal_has_one_bar_with_rate_and_time_left_and_whole_lines_above(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr(sys, "stdout", terminal)
    logger = logging.getLogger("test_live_bar")
    handler = logging.StreamHandler(terminal)
    logging.getLogger().addHandler(handler)
    try:
        with LiveBar(3, "video", "test") as bar:
            bar.update()
            logger.warning("a warning")
            with bar.aside():
                terminal.write("a result\n")
            bar.update(5)  # more than there are: each process counts for all
    finally:
        logging.getLogger().removeHandler(handler)
    text = terminal.getvalue()
    assert "1/3 [" in text or "0/3 [" in text
    assert "video" in text
    for line in ("a warning\n", "a result\n"):
        assert text[text.index(line) - 1] in "\r\n"  # not behind a bar
    assert text.endswith("\r")  # it is taken away in the end
