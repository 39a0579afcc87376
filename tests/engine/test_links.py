import json
import logging
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch.distributed as dist

from engine import links
from engine.links import Link, Peer, gather_links, join_links

MAIN = Peer(0, "first")


def test_processes_are_linked_with_process_0_in_any_order() -> None:
    store = dist.HashStore()
    with ThreadPoolExecutor() as pool:
        others = [pool.submit(join_links, Peer(rank, "b"), store, 1.0) for rank in (2, 1)]
        gathered = gather_links(MAIN, 3, "127.0.0.1", store, minutes=1.0)
        joined = [other.result(timeout=20)[0] for other in others]
    assert {link.peer for link in gathered} == {Peer(1, "b"), Peer(2, "b")}
    assert [link.peer for link in joined] == [MAIN, MAIN]
    by_rank = {link.peer.rank: link for link in gathered}
    joined[0].send({"a": 1})
    assert by_rank[2].receive() == [{"a": 1}]
    by_rank[1].send({"b": 2})
    assert joined[1].receive() == [{"b": 2}]
    for link in (*gathered, *joined):
        link.socket.close()


def test_processes_that_do_not_come_are_named_to_those_that_have(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(links, "SAY_SECONDS", 0.0)
    caplog.set_level(logging.INFO)
    store = dist.HashStore()
    with ThreadPoolExecutor() as pool:
        other = pool.submit(join_links, Peer(2, "b"), store, 1.0)
        text = "process 0 on first has waited .* for processes that have not come: 1, 3 of 4"
        with pytest.raises(ValueError, match=text):
            gather_links(MAIN, 4, "localhost", store, minutes=1.5 / 60)
        with pytest.raises(ValueError, match=text):
            other.result(timeout=20)
    assert "waiting for processes that have not come: 1, 3 of 4" in caplog.messages


def test_strangers_at_the_door_are_not_let_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(links, "_JOIN_SECONDS", 0.2)
    store = dist.HashStore()

    def come() -> None:
        address = json.loads(store.get("watch"))
        words = (b"GET / HTTP/1.0\n", b'{"token": "no", "rank": 1, "host": "x"}\n', b"[]\n", b"")
        for word in words:
            with socket.create_connection(("127.0.0.1", address["port"])) as stranger:
                stranger.sendall(word)
                stranger.settimeout(5)
                assert stranger.recv(100) == b""

    with ThreadPoolExecutor() as pool:
        strangers = pool.submit(come)
        with pytest.raises(ValueError, match="have not come: 1 of 2"):
            gather_links(MAIN, 2, "127.0.0.1", store, minutes=3 / 60)
        strangers.result(timeout=20)


def test_process_0_that_never_comes_is_missed(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(links, "SAY_SECONDS", 0.1)
    with pytest.raises(ValueError, match=r"process 3 on b has waited 0\.005 minutes for process 0"):
        join_links(Peer(3, "b"), dist.HashStore(), minutes=0.005)
    assert "process 3 on b waits for process 0" in caplog.messages


def test_process_0_that_dies_while_it_waits_is_said(free_port: Callable[[], int]) -> None:
    store = dist.HashStore()
    with socket.create_server(("127.0.0.1", 0)) as door, ThreadPoolExecutor() as pool:
        port = door.getsockname()[1]
        store.set("watch", json.dumps({"hosts": ["127.0.0.1", "a"], "port": port, "token": "t"}))
        other = pool.submit(join_links, Peer(1, "b"), store, 1.0)
        connection, _ = door.accept()
        assert json.loads(connection.recv(1000)) == {"token": "t", "rank": 1, "host": "b"}
        connection.close()
        with pytest.raises(ValueError, match="process 0 on a is gone, see its error"):
            other.result(timeout=20)


def test_parts_of_a_message_are_put_together() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        link = Link(MAIN, ours)
        theirs.sendall(b'{"a": 1}\n{"b"')
        assert link.receive() == [{"a": 1}]
        theirs.sendall(b": 2}\n")
        assert link.receive() == [{"b": 2}]
        theirs.close()
        with pytest.raises(EOFError):
            link.receive()
        link.send({"nobody": "hears it"})
