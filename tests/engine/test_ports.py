import socket
import threading
import time
from collections.abc import Callable

import pytest

from engine import ports
from engine.ports import connect, listen


def test_port_that_is_taken_is_named_with_the_way_out() -> None:
    with listen("", 0) as first:
        port = first.getsockname()[1]
        with pytest.raises(ValueError, match=rf"port {port} of this host, .* \(it is taken\): "):
            listen("", port)


def test_every_address_of_this_host_is_listened_on() -> None:
    with listen("", 0) as door:
        socket.create_connection(("127.0.0.1", door.getsockname()[1]), timeout=5).close()


def test_host_that_there_is_not_is_said_at_once() -> None:
    begin = time.monotonic()
    with pytest.raises(ValueError, match=r"no\.such\.host\.invalid:1: there is no host of this n"):
        connect("no.such.host.invalid", 1, 10.0, "process 1", "process 0")
    assert time.monotonic() - begin < 60


def test_port_is_awaited_in_plain_sight(
    free_port: Callable[[], int],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(ports, "SAY_SECONDS", 0.15)
    port = free_port()
    doors: list[socket.socket] = []
    timer = threading.Timer(0.5, lambda: doors.append(listen("127.0.0.1", port)))
    timer.start()
    connect("127.0.0.1", port, 1.0, "process 1", "process 0").close()
    timer.join()
    doors[0].close()
    expected = f"process 1 waits for process 0 at 127.0.0.1:{port} (Connection refused)"
    assert expected in caplog.messages


def test_port_that_nobody_opens_is_an_error(free_port: Callable[[], int]) -> None:
    port = free_port()
    text = rf"process 1 has waited 0\.005 minutes for process 0 at 127\.0\.0\.1:{port} \(Conn"
    with pytest.raises(ValueError, match=text):
        connect("127.0.0.1", port, 0.005, "process 1", "process 0")
