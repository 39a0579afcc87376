import json
import logging
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.distributed as dist

from engine.distributed import LaunchOptions, World, all_reduce_sum, barrier, gather_objects, launch
from tests.ranks import Ranks

CPU = torch.device("cpu")
# Run by two processes: first as the flags say, then as a launcher's environment says.
TWO_PROCESSES = """
import json, os, sys
from pathlib import Path
from types import SimpleNamespace
import torch
from engine.distributed import LaunchOptions, all_reduce_sum, barrier, gather_objects, launch

def run(world, folder, kind):
    barrier()
    total = all_reduce_sum(torch.tensor([world.rank + 1, 10 * (world.rank + 1)]))
    gathered = gather_objects({"rank": world.rank, "items": [kind] * world.rank}, world)
    facts = {
        "world": [world.rank, world.size, world.local_rank, str(world.device), world.is_main],
        "total": total.tolist(),
        "gathered": gathered,
        "backend": torch.distributed.get_backend(),
    }
    (Path(folder) / f"{kind}{world.rank}.json").write_text(json.dumps(facts))

if __name__ == "__main__":
    folder, rank, port, port_of_launcher = sys.argv[1:]
    options = LaunchOptions(world_size=2, rank=int(rank), url=f"tcp://127.0.0.1:{port}")
    launch(run, options, folder, "flags")
    assert not torch.distributed.is_initialized()
    os.environ |= {"RANK": rank, "WORLD_SIZE": "2", "LOCAL_RANK": rank}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port_of_launcher}
    launch(run, LaunchOptions(world_size=5, rank=4), folder, "environment")
"""
SPAWNED = """
import os, sys
from pathlib import Path
from types import SimpleNamespace
from engine.distributed import LaunchOptions, launch

def run(world, folder, text):
    name = f"{text} {world.rank} {world.size} {world.device} {os.getpid() != int(text)}"
    (Path(folder) / name).touch()

if __name__ == "__main__":
    launch(run, LaunchOptions(spawn=True, backend="gloo"), sys.argv[1], str(os.getpid()))
"""


# Run by three processes, one of which is lost; the others wait for it in a collective.
LOSES_ONE = """
import os, signal, sys
import torch
from engine.distributed import LaunchOptions, all_reduce_sum, barrier, launch
from engine.run_log import set_up_console
from engine.user_errors import user_errors_shown

def run(world, kind, lost):
    set_up_console(world.is_main)
    with user_errors_shown(is_common_shown=world.local_rank == 0):
        all_reduce_sum(torch.ones(1))
        if world.rank == lost and kind == "fault":
            raise FloatingPointError("the loss is not finite")
        if world.rank == lost and kind == "bug":
            raise ZeroDivisionError("of ours")
        if world.rank == lost and kind == "common":  # the others get there too late
            from engine.rendezvous import read_address
            read_address("nowhere")
        if world.rank == lost and kind == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if world.rank == lost and kind == "stopped":
            os.kill(os.getpid(), signal.SIGSTOP)
        all_reduce_sum(torch.ones(1))
        barrier()

if __name__ == "__main__":
    launch(run, LaunchOptions(minutes=float(sys.argv[3])), sys.argv[1], int(sys.argv[2]))
"""


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No launcher around, and no GPU."""
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)


@pytest.fixture
def with_two_gpus(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Pretends that there are two GPUs; lists those chosen."""
    chosen: list[int] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    return chosen


def launched_world(options: LaunchOptions) -> World:
    worlds: list[World] = []
    launch(worlds.append, options)
    return worlds[0]


def test_launch_without_options_runs_here_in_a_single_process() -> None:
    calls: list[tuple[Any, ...]] = []
    launch(lambda *args: calls.append((*args, os.getpid())), LaunchOptions(), "a", 2)
    world = World(rank=0, size=1, local_rank=0, device=CPU)
    assert calls == [(world, "a", 2, os.getpid())]
    assert world.is_main
    assert not dist.is_initialized()


@pytest.mark.parametrize("world_size", [-1, 0, 1])
def test_one_process_needs_no_address(world_size: int) -> None:
    assert launched_world(LaunchOptions(world_size=world_size, rank=0)).size == 1


def test_single_process_adds_up_and_gathers_only_its_own() -> None:
    world = World(rank=0, size=1, local_rank=0, device=CPU)
    tensor = torch.tensor([1.5, 2])
    assert all_reduce_sum(tensor) is tensor
    assert tensor.tolist() == [1.5, 2]
    item = {"a": [1]}
    assert gather_objects(item, world) == [item]
    barrier()


def test_only_rank_0_is_main() -> None:
    assert [World(rank, 3, 0, CPU).is_main for rank in range(3)] == [True, False, False]


@pytest.mark.ddp
def test_two_processes_add_up_and_gather_in_order_of_rank(
    tmp_path: Path, run_processes: Callable[..., None], free_port: Callable[[], int]
) -> None:
    ports = (str(free_port()), str(free_port()))
    run_processes(TWO_PROCESSES, str(tmp_path), "{rank}", *ports, num=2)
    for kind, local_rank in (("flags", 0), ("environment", 1)):
        first, second = (
            json.loads((tmp_path / f"{kind}{rank}.json").read_text()) for rank in range(2)
        )
        assert first["world"] == [0, 2, 0, "cpu", True]
        assert second["world"] == [1, 2, local_rank, "cpu", False]
        assert first["total"] == second["total"] == [3, 30]
        assert first["gathered"] == [{"rank": 0, "items": []}, {"rank": 1, "items": [kind]}]
        assert second["gathered"] is None
        assert first["backend"] == "gloo"


@pytest.mark.ddp
@pytest.mark.parametrize(
    ("kind", "lost", "said"),
    [
        ("fault", 1, ["error: the loss is not finite", "error: {lost} is gone, see its error"]),
        ("fault", 0, ["error: the loss is not finite", "error: {lost} is gone, see its error"]),
        ("bug", 1, ["ZeroDivisionError: of ours", "error: {lost} is gone, see its error"]),
        ("common", 2, ["error: {lost}: --dist-url nowhere: it must be tcp://"]),
        ("killed", 0, ["error: {lost} is gone, see its error"]),
        ("killed", 2, ["error: {lost} is gone, see its error"]),
        ("stopped", 1, ["error: {lost} has been silent for 0.05 minutes (TRAIN.TIMEOUT"]),
        pytest.param(
            *("stopped", 0, ["error: {lost} has been silent for 0.05 minutes (TRAIN.TIMEOUT"]),
            marks=pytest.mark.slow,
        ),
    ],
)
def test_processes_end_with_one_that_is_lost_and_name_it(
    kind: str,
    lost: int,
    said: list[str],
    tmp_path: Path,
    ranks: Ranks,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tests.ranks.LEAVE", 1 if kind == "stopped" else 10)
    script = tmp_path / "loses.py"
    script.write_text(LOSES_ONE)
    begin = time.monotonic()
    done = ranks.run(3, script, kind, lost, 0.05 if kind == "stopped" else 10)
    assert time.monotonic() - begin < 30
    # the others may have ended before the one that was killed is cleared away
    assert done.returncode in ({-9, 1} if kind == "killed" else {1}), done.stdout
    for text in said:
        expected = text.format(lost=f"process {lost} on {socket.gethostname()}")
        assert done.stdout.count(expected) == 1, done.stdout
    assert done.stdout.count("error: ") == sum(text.startswith("error") for text in said)
    assert ("Traceback" in done.stdout) == (kind == "bug")
    assert "gloo" not in done.stdout


@pytest.mark.ddp
def test_spawn_starts_one_process_on_a_host_without_gpus(tmp_path: Path, repository: Path) -> None:
    folder, script = tmp_path / "out", tmp_path / "spawns.py"
    folder.mkdir()
    script.write_text(SPAWNED)
    hidden = {"PYTHONPATH": str(repository), "CUDA_VISIBLE_DEVICES": ""}
    # a main module of its own, which the spawned process imports
    with subprocess.Popen([sys.executable, script, folder], env=os.environ | hidden) as parent:
        assert parent.wait(timeout=120) == 0
    assert [path.name for path in folder.iterdir()] == [f"{parent.pid} 0 1 cpu True"]


def test_host_exits_with_the_code_of_the_process_that_failed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def join() -> bool:
        raise torch.multiprocessing.ProcessExitedException("said", 0, error_pid=1, exit_code=3)

    def spawn(*_: Any, **__: Any) -> SimpleNamespace:
        return SimpleNamespace(join=join)

    monkeypatch.setattr(torch.multiprocessing, "spawn", spawn)
    with pytest.raises(SystemExit, match="3"):
        launched_world(LaunchOptions(spawn=True))


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (LaunchOptions(world_size=2), "needs --rank, or RANK in the environment"),
        (LaunchOptions(world_size=2, rank=0), r"needs --dist-url tcp://HOST:PORT of rank 0"),
        (LaunchOptions(spawn=True, world_size=2), r"several hosts need --dist-url tcp://HOST:PORT"),
        (LaunchOptions(gpu=1), "--gpu 1: this host has no CUDA GPU; leave it out"),
    ],
)
def test_options_that_cannot_work_are_errors_that_name_what_is_missing(
    options: LaunchOptions, text: str
) -> None:
    with pytest.raises(ValueError, match=text):
        launched_world(options)
    assert not dist.is_initialized()


def test_rank_of_several_processes_may_come_from_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RANK", "1")
    with pytest.raises(ValueError, match="--dist-url"):  # the rank is known: the address is next
        launched_world(LaunchOptions(world_size=2))


def test_nccl_without_gpus_is_said_and_replaced(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    assert launched_world(LaunchOptions(backend="nccl")).device == CPU
    assert "--dist-backend nccl needs GPUs and none is there: using gloo" in caplog.text


def test_gpu_is_the_one_asked_for_or_the_first(with_two_gpus: list[int]) -> None:
    assert launched_world(LaunchOptions()).device == torch.device("cuda", 0)
    assert launched_world(LaunchOptions(gpu=1)).device == torch.device("cuda", 1)
    assert with_two_gpus == [0, 1]
    with pytest.raises(ValueError, match="GPU 2 asked for, this host has 2"):
        launched_world(LaunchOptions(gpu=2))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (LaunchOptions(spawn=True), (0, 2)),
        (LaunchOptions(spawn=True, world_size=3, rank=2, url="tcp://host:1"), (4, 6)),
    ],
)
def test_spawn_numbers_a_process_for_each_gpu_of_each_host(
    options: LaunchOptions,
    expected: tuple[int, int],
    with_two_gpus: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls: list[tuple[Any, ...]] = []

    def spawn(
        function: Callable[..., None], args: tuple[Any, ...], nprocs: int, join: bool
    ) -> SimpleNamespace:
        calls.append((args[1], args[2], args[3], nprocs))
        return SimpleNamespace(join=lambda: True)  # all have ended

    monkeypatch.setattr(torch.multiprocessing, "spawn", spawn)
    launch(print, options)
    ((first_rank, size, url, num_here),) = calls
    assert (first_rank, size, num_here) == (*expected, 2)
    assert url.startswith(options.url or "tcp://127.0.0.1:")
