"""Ports of this host and of others: opened, and waited for in plain sight."""

import errno
import logging
import socket
import time

_log = logging.getLogger("main")

# In the environment of process 0: a socket for its store that our launcher listens on already, so
# that nobody takes the port between.
STORE_FD = "TOKSHIFT_STORE_FD"
SAY_SECONDS = 30.0  # between two lines that say who is awaited
_CONNECT_SECONDS = 5.0


def listen(host: str, port: int) -> socket.socket:
    """Open a listening socket.

    Args:
        host: Address of this host; empty for all of them.
        port: Number of the port; 0 for a free one.

    Raises:
        ValueError: Another program has the port, or this user may not open it.
    """
    try:
        if not host and socket.has_dualstack_ipv6():
            try:
                return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
            except OSError as error:
                if error.errno != errno.EADDRNOTAVAIL:  # IPv6 is there and switched off
                    raise
        return socket.create_server((host, port))
    except OSError as error:
        reason = "it is taken" if error.errno == errno.EADDRINUSE else error.strerror
        raise ValueError(
            f"port {port} of this host, {socket.gethostname()}, cannot be opened ({reason}): "
            "name another one, MASTER_PORT or that of --dist-url, on every host"
        ) from error


def connect(host: str, port: int, minutes: float, waiter: str, awaited: str) -> socket.socket:
    """Connect to a port as soon as somebody listens there; name the awaited one now and then.

    Args:
        host: Name or number of the host.
        port: Port on it.
        minutes: Time until an answer counts as missing.
        waiter: Who waits, for the messages.
        awaited: Who is to listen there, for the messages.

    Raises:
        ValueError: There is no such host, or nobody has answered in time.
    """
    begin = said = time.monotonic()
    while True:
        try:
            return socket.create_connection((host, port), _CONNECT_SECONDS)
        except socket.gaierror as error:
            if error.errno != socket.EAI_AGAIN:
                raise ValueError(
                    f"{host}:{port}: there is no host of this name; MASTER_ADDR, or --dist-url, "
                    "must be what all hosts know the first one by"
                ) from error
            reason = "its name is not known yet"
        except OSError as error:
            reason = error.strerror or "no answer"
        now = time.monotonic()
        if now - begin > 60 * minutes:
            raise ValueError(
                f"{waiter} has waited {minutes:g} minutes for {awaited} at {host}:{port} "
                f"({reason}): it must be started there, and the port be reachable from here"
            )
        if now - said > SAY_SECONDS:
            said = now
            _log.warning("%s waits for %s at %s:%d (%s)", waiter, awaited, host, port, reason)
        time.sleep(0.1 if now - begin < _CONNECT_SECONDS else 1.0)
