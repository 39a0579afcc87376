"""Links between the processes of a group, over which they watch each other."""

import json
import logging
import secrets
import socket
import threading
import time
from dataclasses import dataclass
from typing import Any

import torch.distributed as dist

from engine.ports import SAY_SECONDS, connect, listen

_log = logging.getLogger("main")

_KEY = "watch"  # in the store of the group: where process 0 listens
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_JOIN_SECONDS = 10.0  # that a connection gets to say whose it is
_SEND_SECONDS = 1.0


@dataclass(frozen=True)
class Peer:
    """A process of the group.

    Attributes:
        rank: Rank of the process.
        host: Name of its host.
    """

    rank: int
    host: str

    def __str__(self) -> str:
        return f"process {self.rank} on {self.host}"


class Link:
    """A connection with a process, over which both send JSON objects, one a line.

    Attributes:
        peer: Process at the other end.
        silence: Seconds since it was last heard.
        has_parted: Whether it has said that it ends well.
        signal: Signal that ends it, as it has said; 0 = none.
        error: Error that it ends with, if it has said so here and not on its console.
    """

    def __init__(self, peer: Peer, connection: socket.socket) -> None:
        self.peer, self.socket = peer, connection
        self.silence, self.error = 0.0, ""
        self.has_parted, self.signal = False, 0
        self._rest, self._sending = b"", threading.Lock()
        connection.settimeout(_SEND_SECONDS)

    def send(self, message: dict[str, Any]) -> None:
        """Send a message if the peer takes any; whether it is there shows when it is heard."""
        try:
            with self._sending:
                self.socket.sendall(json.dumps(message).encode() + b"\n")
        except OSError:
            return

    def receive(self) -> list[dict[str, Any]]:
        """Return the messages that have come; wait for a part of one.

        Raises:
            OSError: The connection is broken, or nothing came in time.
            EOFError: The peer has closed it.
        """
        text = self.socket.recv(65536)
        if not text:
            raise EOFError
        *lines, self._rest = (self._rest + text).split(b"\n")
        return [json.loads(line) for line in lines]


def gather_links(me: Peer, size: int, host: str, store: dist.Store, minutes: float) -> list[Link]:
    """Return process 0's links to all others, once each is there.

    Args:
        me: This process, number 0.
        size: Number of processes.
        host: Name that the others know this host by.
        store: Store of the group.
        minutes: Time to wait, minutes.

    Raises:
        ValueError: A process has not come in time.
    """
    token, links = secrets.token_hex(16), dict[int, Link]()
    begin = said = time.monotonic()
    with listen("127.0.0.1" if host in _LOOPBACK else "", 0) as door:
        address = {"hosts": [host, me.host], "port": door.getsockname()[1], "token": token}
        store.set(_KEY, json.dumps(address))
        door.settimeout(1.0)
        while len(links) < size - 1:
            link = _accept(door, token)
            if link:
                links[link.peer.rank] = link
            now = time.monotonic()
            missing = ", ".join(str(rank) for rank in range(1, size) if rank not in links)
            if missing and now - begin > 60 * minutes:
                error = (
                    f"{me} has waited {minutes:g} minutes (TRAIN.TIMEOUT_MINUTES) for processes "
                    f"that have not come: {missing} of {size}; see what their hosts say"
                )
                _send_all(links, {"failed": error})
                raise ValueError(error)
            if missing and now - said > SAY_SECONDS:
                said = now
                _log.info("waiting for processes that have not come: %s of %d", missing, size)
    _send_all(links, {"complete": True})
    return list(links.values())


def join_links(me: Peer, store: dist.Store, minutes: float) -> list[Link]:
    """Return another process's link, to process 0, once all processes are there.

    Args:
        me: This process.
        store: Store of the group.
        minutes: Time to wait, minutes.

    Raises:
        ValueError: Process 0, or a process that it waits for, has not come in time.
    """
    address = json.loads(_await_key(me, store, minutes))
    link = Link(Peer(0, address["hosts"][1]), _connect(me, address, minutes))
    link.send({"token": address["token"], "rank": me.rank, "host": me.host})
    link.socket.settimeout(60 * minutes + _JOIN_SECONDS)  # it waits for the others meanwhile
    answers: list[dict[str, Any]] = []
    try:
        while not answers:
            answers = link.receive()
    except (OSError, EOFError) as error:
        raise ValueError(f"{link.peer} is gone, see its error") from error
    if "failed" in answers[0]:
        raise ValueError(answers[0]["failed"])
    link.socket.settimeout(_SEND_SECONDS)
    return [link]


def _accept(door: socket.socket, token: str) -> Link | None:
    """Return the link to a process that comes; None if none has, or a stranger."""
    try:
        connection, _ = door.accept()
    except TimeoutError:
        return None
    link = Link(Peer(-1, ""), connection)
    connection.settimeout(_JOIN_SECONDS)
    try:
        (word,) = link.receive()
        if not secrets.compare_digest(word["token"], token):
            raise ValueError("a process of another group")
        link.peer = Peer(word["rank"], word["host"])
    except (OSError, EOFError, ValueError, KeyError, TypeError):
        connection.close()
        return None
    connection.settimeout(_SEND_SECONDS)
    return link


def _await_key(me: Peer, store: dist.Store, minutes: float) -> bytes:
    begin = said = time.monotonic()
    while not store.check([_KEY]):
        now = time.monotonic()
        if now - begin > 60 * minutes:
            raise ValueError(f"{me} has waited {minutes:g} minutes for process 0; see its console")
        if now - said > SAY_SECONDS:
            said = now
            _log.warning("%s waits for process 0", me)
        time.sleep(0.1)
    return store.get(_KEY)


def _connect(me: Peer, address: dict[str, Any], minutes: float) -> socket.socket:
    """Connect with process 0, by the first of its host's names that answers."""
    *others, last = dict.fromkeys(address["hosts"])
    for host in others:
        try:
            return socket.create_connection((host, address["port"]), _JOIN_SECONDS)
        except OSError:
            continue
    return connect(last, address["port"], minutes, str(me), "process 0")


def _send_all(links: dict[int, Link], message: dict[str, Any]) -> None:
    for link in links.values():
        link.send(message)
