import datetime
import socket
from collections.abc import Callable

import pytest

from engine import rendezvous
from engine.ports import STORE_FD, listen
from engine.rendezvous import Address, open_store, read_address


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("tcp://a.b:12", Address("a.b", 12)),
        ("tcp://10.0.0.1:29500/", Address("10.0.0.1", 29500)),
        ("tcp://[::1]:29500", Address("::1", 29500)),
    ],
)
def test_url_names_host_and_port(url: str, expected: Address) -> None:
    assert read_address(url) == expected


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("http://a:1", r"--dist-url http://a:1: it must be tcp://HOST:PORT or env://"),
        ("tcp://a", r"--dist-url tcp://a: it must be"),
        ("tcp://a:0", r"--dist-url tcp://a:0: the port must be a number from 1 to 65535"),
        ("tcp://a:65536", "the port must be a number"),
        ("tcp://a:x", "the port must be a number"),
    ],
)
def test_url_that_names_none_is_an_error(url: str, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        read_address(url)


def test_environment_names_host_and_port(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MASTER_ADDR", "a")
    monkeypatch.delenv("MASTER_PORT", raising=False)
    with pytest.raises(ValueError, match="the environment lacks MASTER_PORT, where process 0 is"):
        read_address("env://")
    monkeypatch.setenv("MASTER_PORT", "99999")
    with pytest.raises(ValueError, match="MASTER_PORT=99999: the port must be"):
        read_address("env://")
    monkeypatch.setenv("MASTER_PORT", "29500")
    monkeypatch.setenv("TORCHELASTIC_USE_AGENT_STORE", "True")
    assert read_address("env://") == Address("a", 29500, is_served=True)


def test_store_that_the_launcher_listens_for_is_found_by_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    door = listen("127.0.0.1", 0)
    address = Address("127.0.0.1", door.getsockname()[1])
    monkeypatch.setenv(STORE_FD, str(door.detach()))
    served = open_store(address, 0, 2, minutes=1.0)
    served.set("a", "b")
    assert open_store(address, 1, 2, minutes=1.0).get("a") == b"b"


def test_port_of_process_0_that_is_taken_is_an_error() -> None:
    with listen("", 0) as door:
        port = door.getsockname()[1]
        with pytest.raises(ValueError, match=rf"port {port} of this host, .* \(it is taken\)"):
            open_store(Address("127.0.0.1", port), 0, 2, minutes=1.0)


def test_other_program_at_the_port_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rendezvous, "_HANDSHAKE", datetime.timedelta(seconds=1))
    with socket.create_server(("127.0.0.1", 0)) as other:  # it takes what comes, and says nothing
        address = Address("127.0.0.1", other.getsockname()[1])
        with pytest.raises(ValueError, match="is not process 0 of this run: another program has"):
            open_store(address, 1, 2, minutes=1.0)


def test_process_0_that_does_not_answer_is_an_error(free_port: Callable[[], int]) -> None:
    with pytest.raises(ValueError, match=r"process 1 on .* has waited .* for process 0 at"):
        open_store(Address("127.0.0.1", free_port()), 1, 2, minutes=0.005)
