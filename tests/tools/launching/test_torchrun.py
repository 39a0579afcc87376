"""The launcher: what its processes get, and how they end: with it, with each other, by signals."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")

# Stands for the main script: notes that it is there, then does what its first word says.
WORKER = """
import json, os, signal, sys, time

how, folder, rank = sys.argv[1], sys.argv[2], os.environ["RANK"]

def saved(number, frame):
    time.sleep(0.3)
    open(f"{folder}/saved.{rank}", "a").write(f"{number} ")
    os._exit(128 + number)

if how != "deaf":
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, saved)
names = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "TORCHELASTIC_RESTART_COUNT")
note = {name: os.environ[name] for name in names} | {"pid": os.getpid()}
open(f"{folder}/note.{rank}", "a").write(json.dumps(note) + "\\n")
if how == "fail" and rank == "1":
    sys.exit(7)
if how == "kill" and rank == "1":
    os.kill(os.getpid(), signal.SIGKILL)
if how == "end":
    sys.exit(0)
time.sleep(60)
"""
Launch = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def launch(tmp_path: Path, repository: Path, request: pytest.FixtureRequest) -> Launch:
    """Start two processes by the launcher."""
    script = tmp_path / "worker.py"
    script.write_text(WORKER)

    def start(how: str, **environment: str) -> "subprocess.Popen[str]":
        command = [sys.executable, "tools/launching/torchrun.py", "--standalone"]
        process = subprocess.Popen(
            [*command, "--nproc-per-node", "2", str(script), how, str(tmp_path)],
            cwd=repository,
            env=os.environ | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        request.addfinalizer(process.kill)
        return process

    return start


def notes(folder: Path, rank: int) -> list[dict[str, str]]:
    path = folder / f"note.{rank}"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def wait_for_both(folder: Path) -> list[int]:
    """Wait until both processes are there; return their ids."""
    end = time.monotonic() + 60
    while not (notes(folder, 0) and notes(folder, 1)):
        assert time.monotonic() < end, "the processes do not come"
        time.sleep(0.05)
    return [int(notes(folder, rank)[0]["pid"]) for rank in (0, 1)]


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{pid}/stat")
    return not status.exists() or status.read_text().rpartition(")")[2].split()[0] != "Z"


def wait_until_gone(pids: list[int], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while any(map(is_alive, pids)):
        assert time.monotonic() < end, "processes are left"
        time.sleep(0.05)


def test_processes_get_what_torchrun_gives_them(launch: Launch, tmp_path: Path) -> None:
    process = launch("end")
    output, _ = process.communicate(timeout=60)
    assert (process.returncode, output) == (0, "")
    for rank in (0, 1):
        (note,) = notes(tmp_path, rank)
        assert (note["RANK"], note["LOCAL_RANK"], note["WORLD_SIZE"]) == (str(rank), str(rank), "2")
        assert note["TORCHELASTIC_RESTART_COUNT"] == "0"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1])
def test_signal_is_handed_on_once_and_what_is_saved_is_waited_for(
    number: signal.Signals, launch: Launch, tmp_path: Path
) -> None:
    process = launch("wait")
    wait_for_both(tmp_path)
    process.send_signal(number)
    process.send_signal(number)  # a scheduler may send it by two ways
    output, _ = process.communicate(timeout=60)
    assert (process.returncode, output) == (128 + number, "")
    for rank in (0, 1):
        assert (tmp_path / f"saved.{rank}").read_text() == f"{number.value} "


def test_signal_that_nobody_hears_yet_is_answered_in_one_line(
    launch: Launch, tmp_path: Path
) -> None:
    process = launch("deaf")
    pids = wait_for_both(tmp_path)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    assert output == "stopped by SIGTERM: nothing was saved yet; the same command starts again\n"
    wait_until_gone(pids)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the processes ask by themselves")
def test_processes_end_with_their_launcher(launch: Launch, tmp_path: Path) -> None:
    process = launch("wait")
    pids = wait_for_both(tmp_path)
    process.kill()
    wait_until_gone(pids)


def test_status_is_that_of_the_process_that_failed_first(launch: Launch, tmp_path: Path) -> None:
    process = launch("kill")
    pids = wait_for_both(tmp_path)
    os.kill(pids[0], signal.SIGUSR2)  # what the watch does for real processes: the other ends
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGKILL
    assert "error: process 1 was ended by signal 9 (SIGKILL); out of memory, perhaps" in output
    wait_until_gone(pids)


def test_failed_group_starts_again_as_often_as_it_may(launch: Launch, tmp_path: Path) -> None:
    process = launch("fail", MAX_RESTARTS="1")
    pids = wait_for_both(tmp_path)
    os.kill(pids[0], signal.SIGUSR2)
    end = time.monotonic() + 60
    while len(notes(tmp_path, 0)) < 2:
        assert time.monotonic() < end, "it does not start again"
        time.sleep(0.05)
    os.kill(int(notes(tmp_path, 0)[1]["pid"]), signal.SIGUSR2)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 7
    assert output == "restart 1 of 1 (MAX_RESTARTS)\n"
    counts = [note["TORCHELASTIC_RESTART_COUNT"] for note in notes(tmp_path, 1)]
    assert counts == ["0", "1"]


@pytest.mark.parametrize("words", [["--nnodes", "2"], ["--nproc-per-node", "0"]])
def test_command_that_cannot_work_is_refused(words: list[str], repository: Path) -> None:
    command = [sys.executable, "tools/launching/torchrun.py", *words, "x.py"]
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
