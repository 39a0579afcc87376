import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.stop_signals import STOP_SIGNALS, StopSignals

HELD = """
import os, signal, sys, time
from engine.stop_signals import stop_signals

with stop_signals.installed():
    stop_signals.tidy.append(lambda: print("tidied", flush=True))
    {before}
    print("ready", flush=True)
    {then}
"""
Started = Callable[[str, str], subprocess.Popen[str]]


@pytest.fixture
def started(repository: Path, request: pytest.FixtureRequest) -> Started:
    """Start a process that takes the signals, and wait until it does."""

    def start(before: str, then: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", HELD.format(before=before, then=then)],
            cwd=repository,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        request.addfinalizer(process.kill)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        return process

    return start


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_signal_ends_the_process_with_one_line_and_its_number(
    number: signal.Signals, started: Started
) -> None:
    process = started("stop_signals.way_out = 'go on so'", "time.sleep(60)")
    process.send_signal(number)
    output, _ = process.communicate(timeout=20)
    assert output == f"tidied\nstopped by {number.name}: go on so\n"
    assert process.returncode == 128 + number


def test_held_signal_waits_until_it_is_looked_at(started: Started) -> None:
    process = started(
        "stop_signals.hold()",
        "while not stop_signals.received: time.sleep(0.01)\n"
        "    print('saved', flush=True)\n"
        "    stop_signals.leave()",
    )
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=20)
    assert output.splitlines()[:2] == ["saved", "tidied"]
    assert process.returncode == 128 + signal.SIGTERM


def test_released_hold_ends_a_process_that_was_asked_meanwhile(started: Started) -> None:
    process = started("stop_signals.hold()", "time.sleep(1); stop_signals.release()")
    process.send_signal(signal.SIGUSR1)
    output, _ = process.communicate(timeout=20)
    assert "stopped by SIGUSR1: nothing was saved yet" in output
    assert process.returncode == 128 + signal.SIGUSR1


def test_error_that_the_end_of_a_peer_brings_does_not_change_the_number(started: Started) -> None:
    process = started(
        "stop_signals.tidy.append(lambda: time.sleep(1))",
        "try:\n        with stop_signals.installed():\n            time.sleep(0.5); 1 / 0\n"
        "    except ZeroDivisionError:\n        time.sleep(60)",
    )
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=20)
    assert "stopped by SIGTERM" in output
    assert process.returncode == 128 + signal.SIGTERM


def test_same_signal_by_two_ways_is_one_and_later_it_insists(started: Started) -> None:
    process = started("stop_signals.hold()", "time.sleep(60)")
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGTERM)
    time.sleep(2.5)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=20)
    assert "stopped by SIGTERM" in output
    assert process.returncode == 128 + signal.SIGTERM


def test_only_the_first_process_speaks(started: Started, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    process = started("pass", "time.sleep(60)")
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=20)[0] == "tidied\n"


def test_signals_are_python_s_again_afterwards_and_ignored_ones_stay_so() -> None:
    signals = StopSignals()
    before = signal.getsignal(signal.SIGINT)
    ignored = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        with signals.installed():
            signals.hold()
            os.kill(os.getpid(), signal.SIGHUP)
            assert signals.received == 0
            os.kill(os.getpid(), signal.SIGUSR2)
            assert signals.received == signal.SIGUSR2
    finally:
        signal.signal(signal.SIGHUP, ignored)
    assert signal.getsignal(signal.SIGINT) == before
    assert signals.received == 0
