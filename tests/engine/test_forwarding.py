"""Signals that a launcher hands on, without processes: who gets one, and when."""

import os
import signal

import pytest

from engine import forwarding
from engine.forwarding import Forwarding

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """What is handed on, as (process id, signal), instead of being sent."""
    pairs: list[tuple[int, int]] = []
    monkeypatch.setattr(forwarding, "_send", lambda pid, number: pairs.append((pid, number)))
    monkeypatch.setattr(forwarding, "_catches", lambda pid, number: True)
    return pairs


def test_signal_while_processes_start_reaches_those_that_come_after_it(
    sent: list[tuple[int, int]],
) -> None:
    pids = [11]
    with Forwarding(lambda: pids) as handing:
        with handing.starting():
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGUSR1)  # the first one counts
            assert not sent
            assert not handing.received
            pids.append(12)
        assert sent == [(11, signal.SIGTERM), (12, signal.SIGTERM)]
        assert handing.received == signal.SIGTERM


def test_signal_after_the_start_is_handed_on_once(sent: list[tuple[int, int]]) -> None:
    with Forwarding(lambda: [11, 12]) as handing:
        with handing.starting():
            pass
        signal.raise_signal(signal.SIGUSR1)
        signal.raise_signal(signal.SIGUSR1)
        assert sent == [(11, signal.SIGUSR1), (12, signal.SIGUSR1)]
