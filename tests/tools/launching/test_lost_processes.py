"""Processes under the launcher that lose one: what each says, and how soon all end."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = [pytest.mark.ddp, pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")]

SCRIPT = """
import os, signal, sys, time

from engine.distributed import LaunchOptions, barrier, gather_objects, launch
from engine.run_log import set_up_console
from engine.user_errors import user_errors_shown

def run(world, how):
    set_up_console(world.is_main)
    with user_errors_shown(is_common_shown=world.local_rank == 0):
        gather_objects(1, world)
        if how == "long":  # work of one process, which the others wait for
            time.sleep(5 if world.is_main else 0)
            barrier()
            return
        if world.rank == 1:
            if how == "bug":
                raise KeyError("a fault of the code")
            if how == "diverged":
                raise FloatingPointError("loss nan in epoch 1")
            os.kill(os.getpid(), {"killed": signal.SIGKILL, "stopped": signal.SIGSTOP}[how])
        barrier()

if __name__ == "__main__":
    launch(run, LaunchOptions(minutes=0.05), sys.argv[1])
"""
GONE = "error: process 1 on "


def outcome(how: str, folder: Path, repository: Path) -> tuple[int, str, float]:
    """Run two processes; return the exit status, what all print, and the seconds of the end."""
    script = folder / "worker.py"
    script.write_text(SCRIPT)
    start = time.monotonic()
    done = subprocess.run(
        [sys.executable, "tools/launching/torchrun.py", "--nproc-per-node", "2", script, how],
        cwd=repository,
        env=os.environ | {"PYTHONPATH": str(repository), "CUDA_VISIBLE_DEVICES": ""},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        check=False,
    )
    return done.returncode, done.stdout, time.monotonic() - start


def test_error_of_one_process_is_told_once_and_ends_all(tmp_path: Path, repository: Path) -> None:
    code, text, _ = outcome("diverged", tmp_path, repository)
    assert code == 1
    assert text.count("error: loss nan in epoch 1") == 1
    assert f"{GONE}" in text
    assert "is gone, see its error" in text
    assert "Traceback" not in text


def test_fault_of_the_code_keeps_its_traceback_and_the_others_have_none(
    tmp_path: Path, repository: Path
) -> None:
    code, text, _ = outcome("bug", tmp_path, repository)
    assert code == 1
    assert text.count("Traceback") == 1
    assert "KeyError: 'a fault of the code'" in text
    assert "is gone, see its error" in text


@pytest.mark.slow
def test_process_that_is_killed_or_stopped_is_named(tmp_path: Path, repository: Path) -> None:
    code, text, _ = outcome("killed", tmp_path, repository)
    assert code == 128 + 9
    assert GONE in text
    assert "process 1 was ended by signal 9 (SIGKILL)" in text
    code, text, _ = outcome("stopped", tmp_path, repository)
    assert code == 1
    assert "has been silent for 0.05 minutes (TRAIN.TIMEOUT_MINUTES): it is stopped, or" in text
    assert "Traceback" not in text


@pytest.mark.slow
def test_work_that_takes_longer_than_the_silence_is_none(tmp_path: Path, repository: Path) -> None:
    code, text, _ = outcome("long", tmp_path, repository)
    assert (code, text) == (0, "")
