import subprocess
import sys
import time
from pathlib import Path

import pytest

from engine.departure import FaultExit

LEAVES = """
import atexit, logging, multiprocessing, os, signal, sys, threading, time
from engine import departure

def fail():
    raise OSError("the disk is full")

def sleep():
    time.sleep(60)

if __name__ == "__main__":
    handler = logging.StreamHandler(open(sys.argv[1], "a", buffering=1 << 16))
    handler.flush = lambda: None  # until the end
    logging.getLogger().addHandler(handler)
    logging.warning("logged")
    atexit.register(handler.stream.flush)
    atexit.register(lambda: print("registered"))
    print("printed", end=" ")
    kind = sys.argv[2]
    if kind == "loader":
        context = multiprocessing.get_context("fork")
        loader = context.Process(target=sleep, daemon=True)
        loader.start()
        os.kill(loader.pid, signal.SIGSTOP)
    if kind == "thread":
        threading.Thread(target=departure.leave, args=(7,)).start()
        time.sleep(60)
    departure._FLUSH_SECONDS = 1.0 if kind == "hang" else 30.0
    tidy = {"fail": fail, "hang": sleep}.get(kind, lambda: print("tidied", end=" "))
    departure.leave(7, [tidy])
"""


@pytest.mark.parametrize("kind", ["plain", "fail", "loader", "thread", "hang"])
def test_process_leaves_with_its_status_and_what_it_has_written(
    kind: str, tmp_path: Path, repository: Path
) -> None:
    script = tmp_path / "leaves.py"
    script.write_text(LEAVES)
    begin = time.monotonic()
    done = subprocess.run(
        [sys.executable, script, tmp_path / "log", kind],
        env={"PYTHONPATH": str(repository)},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 7, done.stderr
    assert time.monotonic() - begin < 20
    if kind == "hang":
        return  # what hangs costs what comes after it, but not the end
    told = "error: the disk is full\n" if kind == "fail" else ""
    assert (tmp_path / "log").read_text() == f"logged\n{told}"
    assert "Traceback" not in done.stderr
    is_tidied = kind in ("plain", "loader")
    assert done.stdout == f"printed {'tidied ' if is_tidied else ''}registered\n"


def test_fault_is_an_exit_with_status_1() -> None:
    fault = FaultExit(untold="why")
    assert (fault.code, fault.untold, FaultExit().untold) == (1, "why", "")
