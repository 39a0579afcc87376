import json
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import pytest

from engine import watch as watching
from engine.departure import FaultExit
from engine.links import Link, Peer
from engine.stop_signals import stop_signals
from engine.watch import Watch

# a thread that leaves ends alone here
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")

BEAT = 0.02  # seconds
SILENCE = 10 * BEAT


@pytest.fixture
def statuses(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Exit statuses that processes leave with, which end the thread alone here."""
    left: list[int] = []

    def leave(status: int, tidy: Any = ()) -> NoReturn:
        left.append(status)
        raise SystemExit(status)

    monkeypatch.setattr(watching, "leave", leave)
    monkeypatch.setattr(watching, "_BEAT_SECONDS", BEAT)
    monkeypatch.setattr(watching, "_GRACE_SECONDS", 2 * BEAT)
    monkeypatch.setattr(watching, "_STOP_SECONDS", 20 * BEAT)
    yield left
    stop_signals.tidy.clear()
    for thread in threading.enumerate():
        if thread.name == "watch":
            thread.join(timeout=10)  # or it would leave in earnest
            assert not thread.is_alive()


class OtherEnd:
    """A peer's end of a link, by hand."""

    def __init__(self, rank: int) -> None:
        ours, self.socket = socket.socketpair()
        self.link = Link(Peer(rank, f"host{rank}"), ours)

    def say(self, **message: Any) -> None:
        self.socket.sendall(json.dumps(message).encode() + b"\n")

    def heard(self) -> list[dict[str, Any]]:
        """What has come, but for signs of life."""
        self.socket.settimeout(0.05)
        text = b""
        try:
            while part := self.socket.recv(65536):
                text += part
        except TimeoutError:
            pass
        return [message for line in text.splitlines() if (message := json.loads(line))]


def watch(*ends: OtherEnd, rank: int = 0, local_rank: int = 0) -> Watch:
    links = [end.link for end in ends]
    return Watch(Peer(rank, "here"), links, local_rank=local_rank, minutes=SILENCE / 60)


def wait_until(holds: Callable[[], Any], seconds: float = 5.0) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_peer_that_dies_ends_the_others_who_say_it_in_a_line(
    statuses: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    dies, lives = OtherEnd(1), OtherEnd(2)
    watch(dies, lives)
    dies.socket.close()
    wait_until(lambda: statuses)
    assert statuses == [1]
    assert caplog.messages == ["error: process 1 on host1 is gone, see its error"]
    assert lives.heard() == [{"lost": [1, "host1", 0.0, "", False]}]


def test_process_hears_from_process_0_who_is_lost(
    statuses: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    main = OtherEnd(0)
    watch(main, rank=2)
    main.say(lost=[1, "host1", 0.0, "the list is empty", False])
    wait_until(lambda: statuses)
    assert caplog.messages == ["error: process 1 on host1: the list is empty"]


def test_silence_ends_the_others_and_names_the_silent_one(
    statuses: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    silent, lives = OtherEnd(1), OtherEnd(2)
    is_done = threading.Event()

    def live() -> None:
        while not is_done.wait(BEAT):
            lives.say()

    alive = threading.Thread(target=live)
    alive.start()
    watch(silent, lives)
    wait_until(lambda: statuses)
    is_done.set()
    alive.join()
    assert len(caplog.messages) == 1
    assert caplog.messages[0].startswith("error: process 1 on host1 has been silent for 0.00")
    assert "it is stopped, or its host is cut off" in caplog.messages[0]


def test_peer_that_lives_or_has_ended_well_is_no_loss(statuses: list[int]) -> None:
    lives, ends = OtherEnd(1), OtherEnd(2)
    with watch(lives, ends):
        ends.say(bye=True)
        ends.socket.close()
        end = time.monotonic() + 2 * SILENCE
        while time.monotonic() < end:
            lives.say()
            time.sleep(BEAT)
    assert statuses == []
    assert lives.heard() == [{"bye": True}]


def test_process_that_was_stopped_itself_does_not_take_the_others_for_silent(
    statuses: list[int],
) -> None:
    peer = OtherEnd(1)
    with watch(peer) as ours:
        ours._beat(2 * BEAT)  # what a beat counts at most, however long this process slept
        assert ours._loss is None
    assert statuses == []


@pytest.mark.parametrize("is_held", [True, False])
def test_process_follows_a_peer_that_a_signal_stops_unless_it_is_about_to_save(
    is_held: bool, statuses: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    followed: list[int] = []
    monkeypatch.setattr(stop_signals, "_is_held", is_held)
    monkeypatch.setattr(stop_signals, "follow", followed.append)
    peer = OtherEnd(1)
    with watch(peer):
        peer.say(failed="it was stopped by a signal", signal=15)
        peer.socket.close()
        time.sleep(6 * BEAT)
    assert (followed, statuses) == ([] if is_held else [15], [])


def test_collective_that_a_stopped_peer_breaks_ends_the_process_by_the_same_signal(
    statuses: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def follow(number: int) -> NoReturn:
        raise SystemExit(128 + number)

    monkeypatch.setattr(stop_signals, "follow", follow)
    peer = OtherEnd(1)
    peer.say(failed="it was stopped by a signal", signal=15)
    peer.socket.close()
    with pytest.raises(SystemExit, match="143"), watch(peer):
        raise RuntimeError("[gloo/transport/tcp/pair.cc:547] Connection closed by peer")
    stop_signals.tidy[0]()  # ends the thread


@pytest.mark.parametrize(
    ("rank", "local_rank", "lost", "speaks"),
    [(2, 0, 1, True), (3, 1, 1, False), (3, 1, 2, True), (0, 0, 3, True), (1, 1, 0, True)],
)
def test_one_process_of_a_host_speaks(
    rank: int,
    local_rank: int,
    lost: int,
    speaks: bool,
    statuses: list[int],
    caplog: pytest.LogCaptureFixture,
) -> None:
    peer = OtherEnd(lost)
    watch(peer, rank=rank, local_rank=local_rank)
    peer.socket.close()
    wait_until(lambda: statuses)
    assert len(caplog.messages) == speaks


@pytest.mark.parametrize(
    ("error", "status", "told"),
    [
        (FaultExit(), 1, {"failed": ""}),
        (FaultExit(untold="the list is empty"), 1, {"failed": "the list is empty"}),
        (SystemExit(3), 3, {"failed": ""}),
        (SystemExit("why"), 1, {"failed": ""}),
        (SystemExit(0), 0, {"bye": True}),
        (ZeroDivisionError("of ours"), 1, {"failed": ""}),
    ],
)
def test_error_ends_the_process_and_is_told_to_the_others(
    error: BaseException,
    status: int,
    told: dict[str, Any],
    statuses: list[int],
    capsys: pytest.CaptureFixture[str],
) -> None:
    peer = OtherEnd(1)
    with pytest.raises(SystemExit), watch(peer):
        raise error
    assert statuses == [status]
    assert peer.heard() == [told]
    console = capsys.readouterr().err
    assert ("ZeroDivisionError: of ours" in console) == isinstance(error, ZeroDivisionError)


def test_process_with_an_untold_error_leaves_after_the_one_that_tells_it(
    statuses: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "_GRACE_SECONDS", 60.0)
    peer = OtherEnd(0)
    ended: list[float] = []

    def end() -> None:
        time.sleep(5 * BEAT)
        ended.append(time.monotonic())
        peer.socket.close()

    threading.Thread(target=end).start()
    with pytest.raises(SystemExit), watch(peer, rank=1, local_rank=1):
        raise FaultExit(untold="the list is empty")
    assert time.monotonic() >= ended[0]
    assert statuses == [1]


def test_collective_that_a_lost_peer_breaks_has_no_traceback(
    statuses: list[int], caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    peer = OtherEnd(1)
    ours = watch(peer)
    peer.socket.close()
    with pytest.raises(SystemExit), ours:
        raise RuntimeError("[gloo/transport/tcp/pair.cc:547] Connection closed by peer")
    assert set(statuses) == {1}
    assert caplog.messages == ["error: process 1 on host1 is gone, see its error"]
    assert capsys.readouterr().err == ""


def test_collective_that_breaks_without_a_loss_keeps_its_traceback(
    statuses: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    peer = OtherEnd(1)
    with pytest.raises(SystemExit), watch(peer):
        raise RuntimeError("gloo: shapes differ")
    assert "RuntimeError: gloo: shapes differ" in capsys.readouterr().err


def test_what_takes_longer_than_it_may_ends_all(
    statuses: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    peer = OtherEnd(1)
    ours = watch(peer)
    with ours.limited("no way to each other"):
        for _ in range(100):
            peer.say()
            time.sleep(BEAT)
            if statuses:
                break
    assert statuses == [1]
    assert caplog.messages == ["error: no way to each other"]
    assert peer.heard() == [{"failed": "no way to each other"}]


def test_signal_that_stops_this_process_is_told_first_of_all(
    statuses: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stop_signals, "received", 15)
    peer = OtherEnd(1)
    stop_signals.tidy.append(lambda: None)
    with watch(peer) as ours:
        assert stop_signals.tidy[0] == ours.stop
        ours.stop()
    assert peer.heard()[0] == {"failed": "it was stopped by a signal", "signal": 15}
