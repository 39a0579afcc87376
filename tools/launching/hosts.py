"""How the launchers of several hosts agree on who is who, and on whether to start again.

The launcher on MASTER_ADDR leads: it listens on MASTER_PORT until all have come, numbers them, and
says before each attempt where process 0 keeps the store. After an attempt all say how it ended.
"""

import json
import socket
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

from engine.ports import SAY_SECONDS, connect, listen
from tools.launching.host_processes import say

_ANSWER_SECONDS = 10.0
_END_SECONDS = 120.0  # between the ends of an attempt on two hosts
_STOPPED = 128  # an end that no restart follows
_USAGE = 2  # of argparse
_GREETING = "tokshift launcher"


@dataclass(frozen=True)
class Place:
    """Which processes this host has in an attempt.

    Attributes:
        first_rank: Rank of the first process here.
        size: Number of all processes.
        host: Name of the host of process 0.
        port: Port of the store of process 0.
        node: Number of this host.
    """

    first_rank: int
    size: int
    host: str
    port: int
    node: int = 0


@dataclass(frozen=True)
class Meeting:
    """Where the hosts of a run meet.

    Attributes:
        num_hosts: Number of hosts.
        host: Name in MASTER_ADDR.
        port: Number in MASTER_PORT.
        job: Name of the run, so that two runs do not mix.
        node: Number of this host; -1 = by the order in which they come.
        minutes: Time to wait for the others, minutes.
    """

    num_hosts: int = 1
    host: str = "127.0.0.1"
    port: int = 0
    job: str = ""
    node: int = -1
    minutes: float = 10.0


class _Line:
    """A connection over which launchers send JSON objects, one a line."""

    def __init__(self, connection: socket.socket, seconds: float | None) -> None:
        connection.settimeout(seconds)
        self.socket, self._file = connection, connection.makefile("rw", encoding="utf-8")

    def send(self, message: Mapping[str, Any]) -> None:
        self._file.write(json.dumps(message) + "\n")
        self._file.flush()

    def receive(self) -> dict[str, Any]:
        """Return the next object.

        Raises:
            OSError: The connection is broken, or nothing came in time.
            ValueError: What came is no JSON object.
        """
        line = self._file.readline(65536)
        if not line:
            raise ConnectionError("the connection was closed")
        message = json.loads(line)
        if not isinstance(message, dict):
            raise ValueError("no JSON object")
        return message


class Leader:
    """The launcher that the others come to; with one host there are none."""

    def __init__(self, meeting: Meeting, num_processes: int, door: socket.socket | None) -> None:
        self.meeting, self.num_processes = meeting, num_processes
        self.store: socket.socket | None = None
        self._others: list[tuple[dict[str, Any], _Line]] = []
        if door:
            with door:
                self._gather(door)

    def begin(self) -> Place:
        """Open the store of an attempt and tell all hosts their places."""
        is_alone = self.meeting.num_hosts == 1
        self.store = listen("127.0.0.1" if is_alone else "", 0)
        port = self.store.getsockname()[1]
        size = self.num_processes + sum(other["processes"] for other, _ in self._others)
        rank = self.num_processes
        for node, (other, line) in enumerate(self._others, start=1):
            place = Place(rank, size, self.meeting.host, port, node)
            with suppress(OSError):  # a host that is gone is missed by the processes
                line.send(asdict(place))
            rank += other["processes"]
        return Place(0, size, self.meeting.host, port)

    def started(self) -> None:
        """Leave the store to process 0."""
        if self.store:
            self.store.close()

    def end(self, status: int, may_restart: bool) -> bool:
        """Take in how the attempt ended on all hosts; return whether another one begins."""
        statuses = [status]
        for other, line in self._others:
            try:
                line.socket.settimeout(_END_SECONDS)
                statuses.append(line.receive()["ended"])
            except (OSError, ValueError, KeyError):
                say(f"error: host {other['host']} is gone")
                may_restart = False
        again = may_restart and any(statuses) and not any(is_final(s) for s in statuses)
        for _, line in self._others:
            with suppress(OSError):
                line.send({"again": again})
        return again

    def _gather(self, door: socket.socket) -> None:
        begin = said = time.monotonic()
        door.settimeout(1.0)
        while len(self._others) < self.meeting.num_hosts - 1:
            with suppress(OSError, ValueError, KeyError):  # a stranger, or one who gave up
                connection, _ = door.accept()
                self._admit(_Line(connection, _ANSWER_SECONDS))
            here = ", ".join([socket.gethostname(), *(other["host"] for other, _ in self._others)])
            missing = self.meeting.num_hosts - 1 - len(self._others)
            text = f"{missing} of {self.meeting.num_hosts} hosts (NODES) at {self._address()}"
            now = time.monotonic()
            if missing and now - begin > 60 * self.meeting.minutes:
                raise ValueError(
                    f"waited {self.meeting.minutes:g} minutes (3 x TRAIN.TIMEOUT_MINUTES) for "
                    f"{text}; {here} came: the same command must run on the others, and reach the "
                    "port"
                )
            if missing and now - said > SAY_SECONDS:
                said = now
                say(f"waiting for {missing} of {self.meeting.num_hosts} hosts; {here} came")
        if self.meeting.node == 0:
            self._others.sort(key=lambda other: other[0]["node"])

    def _admit(self, line: _Line) -> None:
        """Let a launcher in that belongs to this run; tell another one why not."""
        line.send({"greeting": _GREETING})
        word = line.receive()
        ours = {"JOB_ID": self.meeting.job, "NODES": self.meeting.num_hosts}
        differences = [
            f"{name} {value!r}, not {word[name]!r}"
            for name, value in ours.items()
            if word[name] != value
        ]
        line.send({"refused": "; ".join(differences)})
        if not differences:
            self._others.append((word, line))

    def _address(self) -> str:
        return f"{self.meeting.host}:{self.meeting.port}"


class Follower:
    """A launcher that comes to the leader.

    Raises:
        ValueError: Nobody leads there, or not this run.
    """

    store = None

    def __init__(self, meeting: Meeting, num_processes: int) -> None:
        self.meeting = meeting
        host, port = meeting.host, meeting.port
        waiter, awaited = socket.gethostname(), "the launcher of the first host"
        connection = connect(host, port, meeting.minutes, waiter, awaited)
        self._leader = _Line(connection, _ANSWER_SECONDS)
        word = {"JOB_ID": meeting.job, "NODES": meeting.num_hosts, "processes": num_processes}
        word |= {"host": socket.gethostname(), "node": meeting.node}
        try:
            if self._leader.receive().get("greeting") != _GREETING:
                raise ValueError("another greeting")
            self._leader.send(word)
            refused = self._leader.receive()["refused"]
        except (OSError, ValueError, KeyError) as error:
            raise ValueError(
                f"what answers at {host}:{port} is not the launcher of this run's first host: "
                "another program has the port, set MASTER_PORT to another one on every host"
            ) from error
        if refused:
            raise ValueError(f"the first host at {host}:{port} has another run: {refused}")

    def begin(self) -> Place:
        """Wait until all hosts have come; return this one's place."""
        # the leader gives up first, and says who is missing
        self._leader.socket.settimeout(60 * self.meeting.minutes + _ANSWER_SECONDS)
        try:
            return Place(**self._leader.receive())
        except (OSError, ValueError, TypeError) as error:
            raise ValueError(
                f"the launcher on {self.meeting.host} has ended, see its error"
            ) from error

    def started(self) -> None:
        """Do nothing: process 0 is elsewhere."""

    def end(self, status: int, may_restart: bool) -> bool:
        """Tell the leader how the attempt ended here; return whether another one begins."""
        self._leader.socket.settimeout(_END_SECONDS)
        try:
            self._leader.send({"ended": status if may_restart else _STOPPED})
            return bool(self._leader.receive()["again"])
        except (OSError, ValueError, KeyError):
            return False


def is_final(status: int) -> bool:
    """Return whether another start is of no use: the process was told to end, or told wrongly."""
    return status == _USAGE or status >= _STOPPED


def meet(meeting: Meeting, num_processes: int) -> Leader | Follower:
    """Meet the other hosts of a run.

    Args:
        meeting: Place where they meet.
        num_processes: Number of processes of this host.

    Raises:
        ValueError: Not all have come, the port is taken, or it is another run's.
    """
    if meeting.num_hosts == 1:
        return Leader(meeting, num_processes, None)
    if meeting.node > 0 or (meeting.node < 0 and not _is_here(meeting.host)):
        return Follower(meeting, num_processes)
    try:
        door = listen("", meeting.port)
    except ValueError:
        if meeting.node == 0:
            raise
        return Follower(meeting, num_processes)  # a second launcher of one host, or a stranger's
    return Leader(meeting, num_processes, door)


def _is_here(host: str) -> bool:
    """Return whether a name or number is one of this host's."""
    with suppress(OSError):
        for family, kind, _, _, address in socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM):
            with suppress(OSError), socket.socket(family, kind) as probe:
                probe.bind(address)
                return True
    return False
