import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

# A parent that is killed, and a child of it that would live on.
PARENT = """
import os, subprocess, sys
child = subprocess.Popen([sys.executable, "-c", sys.argv[1], str(os.getpid())])
child.wait()
"""
CHILD = """
import sys, time
{change}
from engine.parent import end_with_parent
end_with_parent(int(sys.argv[1]))
print("here", __import__("os").getpid(), flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize(
    "change",
    [
        pytest.param("", id="kernel", marks=pytest.mark.skipif(sys.platform != "linux", reason="")),
        pytest.param("sys.platform = 'darwin'", id="polled"),
    ],
)
def test_child_ends_when_its_parent_is_killed(change: str, repository: Path) -> None:
    child = CHILD.format(change=change)
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, child], cwd=repository, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        _, pid = parent.stdout.readline().split()
        os.kill(int(pid), 0)
        parent.send_signal(signal.SIGKILL)
        begin = time.monotonic()
        assert parent.stdout.read() == ""  # the child, which held the pipe, is gone
        assert time.monotonic() - begin < 10


def test_child_of_a_parent_that_is_gone_already_ends_at_once(repository: Path) -> None:
    command = [sys.executable, "-c", CHILD.format(change=""), "999999999"]
    done = subprocess.run(
        command, cwd=repository, capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "")
