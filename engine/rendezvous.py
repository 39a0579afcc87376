"""The store through which the processes of a group find each other."""

import datetime
import os
import socket
import threading
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import urlparse

import torch.distributed as dist

from engine.ports import STORE_FD, connect, listen

_HANDSHAKE = datetime.timedelta(seconds=30)


@dataclass(frozen=True)
class Address:
    """Where the store of a group is.

    Attributes:
        host: Name or number of the host of process 0.
        port: Port on it.
        is_served: Whether another process, torchrun's agent, holds the store already.
    """

    host: str
    port: int
    is_served: bool = False

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


def read_address(url: str) -> Address:
    """Return where the store is, by ``tcp://HOST:PORT`` or, for ``env://``, by the environment.

    Raises:
        ValueError: The URL or the environment names no host or port.
    """
    if url == "env://":
        return _environment_address()
    parts = urlparse(url)
    host, _, port = parts.netloc.rpartition(":")
    if parts.scheme != "tcp" or not host:
        raise ValueError(f"--dist-url {url}: it must be tcp://HOST:PORT or env://")
    return Address(host.strip("[]"), _port(port, f"--dist-url {url}"))


def open_store(address: Address, rank: int, size: int, minutes: float) -> dist.Store:
    """Open the store of a group; process 0 holds it, the others wait for that.

    Args:
        address: Address of the store.
        rank: Rank of this process.
        size: Number of processes.
        minutes: Time until an answer counts as missing.

    Raises:
        ValueError: The port is taken, the host is unknown, or nobody answers there.
    """
    timeout = datetime.timedelta(minutes=minutes)
    if rank == 0 and not address.is_served:
        handed = os.environ.pop(STORE_FD, "")  # once: the next group has a store of its own
        return dist.TCPStore(
            address.host,
            address.port,
            size,
            is_master=True,
            timeout=timeout,
            wait_for_workers=False,
            master_listen_fd=int(handed) if handed else listen("", address.port).detach(),
        )
    waiter = f"process {rank} on {socket.gethostname()}"
    connect(address.host, address.port, minutes, waiter, "process 0").close()
    store = _join_store(address, size)
    if store is None:
        raise ValueError(
            f"what answers at {address} is not process 0 of this run: another program has the "
            "port; name another one on every host"
        )
    store.set_timeout(timeout)
    return store


def _join_store(address: Address, size: int) -> dist.Store | None:
    """Return the store at an address where somebody listens; None if what listens is no store."""
    joined: list[dist.Store] = []

    def join() -> None:
        with suppress(dist.DistError):
            joined.append(dist.TCPStore(address.host, address.port, size, timeout=_HANDSHAKE))

    # in a thread: torch waits without end for a program that takes the words and says none
    joining = threading.Thread(target=join, daemon=True)
    joining.start()
    joining.join(_HANDSHAKE.total_seconds())
    return joined[0] if joined else None


def _environment_address() -> Address:
    names = ("MASTER_ADDR", "MASTER_PORT")
    lacking = [name for name in names if not os.environ.get(name)]
    if lacking:
        raise ValueError(f"the environment lacks {' and '.join(lacking)}, where process 0 is")
    host, port = (os.environ[name] for name in names)
    is_served = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    return Address(host, _port(port, f"MASTER_PORT={port}"), is_served)


def _port(text: str, what: str) -> int:
    if not (text.isascii() and text.isdecimal() and 0 < int(text) < 2**16):
        raise ValueError(f"{what}: the port must be a number from 1 to 65535")
    return int(text)
