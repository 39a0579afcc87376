import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from engine import folder_lock
from engine.folder_lock import FolderLock
from engine.process_name import ProcessName

HOLD = (
    "import os, sys, time; from pathlib import Path; from engine.folder_lock import FolderLock\n"
    "FolderLock(Path(sys.argv[1])).take()\n"
    "worker = os.fork() if len(sys.argv) > 2 else 1\n"
    "if worker: print(worker, flush=True)\n"
    "time.sleep(60)"
)


@contextmanager
def held_elsewhere(folder: Path, *options: str) -> Iterator[tuple[subprocess.Popen, int]]:
    """Another process that holds the lock, and the id of its own child, if it has one."""
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, folder, *options], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout
    try:
        yield holder, int(holder.stdout.readline())
    finally:
        holder.kill()
        holder.wait()
        holder.stdout.close()


def write_holder(folder: Path, name: ProcessName) -> None:
    entry = {**name._asdict(), "since": "2026-01-01 00:00:00"}
    (folder / ".lock").write_text(json.dumps(entry))


def test_second_process_is_told_who_is_there_until_the_first_is_killed(tmp_path: Path) -> None:
    with held_elsewhere(tmp_path) as (holder, _):
        expected = rf"folder of a run that goes on, process {holder.pid} on host .* --output"
        with pytest.raises(ValueError, match=expected):
            FolderLock(tmp_path).take()
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        lock = FolderLock(tmp_path)
        lock.take()
    assert json.loads((tmp_path / ".lock").read_text())["pid"] == os.getpid()
    lock.release()
    assert not [*tmp_path.iterdir()]


def test_child_of_a_killed_holder_does_not_keep_the_lock(tmp_path: Path) -> None:
    with held_elsewhere(tmp_path, "fork") as (holder, worker):
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        try:
            os.kill(worker, 0)  # it lives on, as a loader's process does for some seconds
            lock = FolderLock(tmp_path)
            lock.take()
            lock.release()
        finally:
            os.kill(worker, signal.SIGKILL)


def test_lock_is_no_hindrance_to_its_own_process(tmp_path: Path) -> None:
    locks = [FolderLock(tmp_path), FolderLock(tmp_path)]
    for lock in locks:
        lock.take()
        assert lock.is_held
    for lock in locks:
        lock.release()
        assert not lock.is_held


@pytest.mark.parametrize("text", ["", "{", "[]", '{"host": 1}', "null"])
def test_file_that_names_nobody_is_taken_over(text: str, tmp_path: Path) -> None:
    (tmp_path / ".lock").write_text(text)
    lock = FolderLock(tmp_path)
    lock.take()
    lock.release()


def test_holder_on_another_host_counts_as_long_as_its_beat_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder_lock, "WATCH_SECONDS", 0.4)
    monkeypatch.setattr(folder_lock, "BEAT_SECONDS", 0.1)
    monkeypatch.setattr(folder_lock, "_PATIENCE_SECONDS", 0)
    write_holder(tmp_path, ProcessName("other-host+4026", 77, 5))
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(0.02):
            os.utime(tmp_path / ".lock")

    beating = threading.Thread(target=beat)
    beating.start()
    try:
        with pytest.raises(ValueError, match="process 77 on host other-host since 2026-01-01"):
            FolderLock(tmp_path).take()
    finally:
        ended.set()
        beating.join()
    lock = FolderLock(tmp_path)
    lock.take()  # the beat has ended
    first = (tmp_path / ".lock").stat().st_mtime_ns
    time.sleep(0.3)
    assert (tmp_path / ".lock").stat().st_mtime_ns > first
    lock.release()


@pytest.mark.parametrize("is_alive", [True, False])
def test_names_count_where_the_file_system_has_no_locks(
    is_alive: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_lock(handle: int, how: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.lockf", no_lock)
    monkeypatch.setattr(folder_lock, "_PATIENCE_SECONDS", 0)
    parent = ProcessName.own()._replace(pid=os.getppid(), start=0 if is_alive else 1)
    write_holder(tmp_path, parent)
    lock = FolderLock(tmp_path)
    if is_alive:
        with pytest.raises(ValueError, match=f"process {os.getppid()} on host"):
            lock.take()
    else:
        lock.take()
        lock.release()
