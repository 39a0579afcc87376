import os
import subprocess
import sys

from engine.process_name import ProcessName


def test_this_process_runs() -> None:
    own = ProcessName.own()
    assert own.pid == os.getpid()
    assert own.is_gone() is False
    assert own == ProcessName.own()


def test_process_that_ended_is_gone_also_where_another_has_its_id() -> None:
    code = "from engine.process_name import *; print(repr(ProcessName.own()))"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    name = eval(ended.stdout, {"ProcessName": ProcessName})  # what we have just printed
    assert name.pid != os.getpid()
    assert name.is_gone() is True
    if name.start:  # the kernel tells
        assert name._replace(pid=os.getpid()).is_gone() is True


def test_nobody_knows_of_another_host() -> None:
    assert ProcessName.own()._replace(host="another").is_gone() is None
