"""The launcher with processes that import no torch: what it starts, hands on and ends with."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from engine.ports import listen
from tools.launching import hosts
from tools.launching.hosts import Follower, Leader, Meeting, meet

pytestmark = [pytest.mark.ddp, pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")]

# A process of a run: notes what it gets, and does what its words say.
WORKER = """
import os, signal, sys, time
kind, folder = sys.argv[1], sys.argv[2]
rank, attempt = int(os.environ["RANK"]), int(os.environ["TORCHELASTIC_RESTART_COUNT"])

def note(text):
    with open(f"{folder}/{rank}", "a") as file:
        file.write(text + "\\n")

def stop(number, frame):
    note(f"got {number}")
    if kind == "slow":
        time.sleep(1.5)
    if kind != "deaf":
        sys.exit(128 + number)

if kind != "early":
    for number in (1, 2, 10, 12, 15):
        signal.signal(number, stop)
names = ("WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "GROUP_RANK", "OMP_NUM_THREADS")
note(" ".join(os.environ[name] for name in names) + f" attempt {attempt}")
print("ready", flush=True)
if kind == "fails" and (rank, attempt) == (1, 0):
    time.sleep(0.3)
    sys.exit(3)
if kind == "killed" and rank == 1:
    os.kill(os.getpid(), 9)
if kind == "usage":
    sys.exit(2)
if kind in ("ends", "fails"):
    time.sleep(0.6 if kind == "fails" and attempt == 0 else 0)
    sys.exit(0 if kind == "ends" or attempt else 1)  # as the others of one that fails
while True:
    time.sleep(0.05)
"""
NOTHING = "nothing was saved yet; the same command starts again\n"


class Launched:
    """A launcher that runs."""

    def __init__(self, process: "subprocess.Popen[str]", folder: Path) -> None:
        self.process, self.folder = process, folder

    def notes(self, rank: int) -> list[str]:
        path = self.folder / str(rank)
        return path.read_text().splitlines() if path.exists() else []

    def wait_for_notes(self, num_processes: int) -> None:
        end = time.monotonic() + 30
        while not all(self.notes(rank) for rank in range(num_processes)):
            assert time.monotonic() < end
            time.sleep(0.02)

    def end(self) -> tuple[int, str]:
        """Return the exit status and what was said on stderr."""
        _, console = self.process.communicate(timeout=60)
        return self.process.returncode, console


Launch = Callable[..., Launched]


@pytest.fixture
def launch(tmp_path: Path, repository: Path) -> Iterator[Launch]:
    script = tmp_path / "worker.py"
    script.write_text(WORKER)
    started: list[Launched] = []

    def start(kind: str, *words: str, num: int = 2, **environment: str) -> Launched:
        launcher = [sys.executable, "tools/launching/torchrun.py", *words]
        command = [*launcher, "--nproc-per-node", str(num), str(script), kind, str(tmp_path)]
        inherited = {k: v for k, v in os.environ.items() if "RANK" not in k and k != "WORLD_SIZE"}
        process = subprocess.Popen(
            command,
            cwd=repository,
            env=inherited | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,  # as of a terminal of its own
        )
        started.append(Launched(process, tmp_path))
        return started[-1]

    yield start
    for launched in started:
        launched.process.kill()
        launched.process.communicate(timeout=30)


def test_processes_get_what_torchrun_gives_them(launch: Launch) -> None:
    launched = launch("ends", "--standalone", num=3, OMP_NUM_THREADS="5")
    assert launched.end() == (0, "")
    for rank in range(3):
        assert launched.notes(rank) == [f"3 {rank} 3 0 5 attempt 0"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1])
def test_signal_reaches_each_process_once_and_all_have_their_time(
    number: signal.Signals, launch: Launch
) -> None:
    launched = launch("slow", "--standalone")
    launched.wait_for_notes(2)
    os.killpg(launched.process.pid, number)  # Ctrl-C goes to the group
    time.sleep(0.3)
    os.killpg(launched.process.pid, number)  # a scheduler's own, right after
    assert launched.end() == (128 + number, "")
    for rank in range(2):
        assert launched.notes(rank)[1:] == [f"got {int(number)}"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR2])
def test_signal_before_the_processes_hear_it_ends_them_with_a_line(
    number: signal.Signals, launch: Launch
) -> None:
    launched = launch("early", "--standalone")
    launched.wait_for_notes(2)
    launched.process.send_signal(number)
    assert launched.end() == (128 + number, f"stopped by {number.name}: {NOTHING}")


def test_second_signal_ends_the_run_at_once(launch: Launch) -> None:
    launched = launch("deaf", "--standalone")
    launched.wait_for_notes(2)
    launched.process.send_signal(signal.SIGTERM)
    time.sleep(2.2)
    launched.process.send_signal(signal.SIGTERM)
    line = "stopped by SIGTERM at once: what was saved before stays\n"
    assert launched.end() == (143, line)


def test_processes_that_do_not_stop_are_killed_after_their_time(launch: Launch) -> None:
    launched = launch("deaf", "--standalone", STOP_GRACE_SECONDS="0.5")
    launched.wait_for_notes(2)
    launched.process.send_signal(signal.SIGUSR1)
    status, console = launched.end()
    assert status == 138
    assert console == (
        "killed, since it did not end by itself in time (STOP_GRACE_SECONDS): process 0, 1\n"
    )


def test_processes_end_when_the_launcher_is_killed(launch: Launch) -> None:
    launched = launch("waits", "--standalone")
    launched.wait_for_notes(2)
    launched.process.kill()
    begin = time.monotonic()
    assert launched.process.stdout is not None
    # to its end: who held the pipe is gone
    assert launched.process.stdout.read().count("ready") == 2
    assert time.monotonic() - begin < 10


def test_status_is_that_of_the_process_that_failed_first(launch: Launch) -> None:
    assert launch("fails", "--standalone").end() == (3, "")
    assert launch("usage", "--standalone", MAX_RESTARTS="2").end() == (2, "")


def test_killed_process_is_named_and_what_stays_is_killed(
    launch: Launch, monkeypatch: pytest.MonkeyPatch
) -> None:
    launched = launch("killed", "--standalone")
    launched.wait_for_notes(1)
    os.kill(launched.process.pid, 0)
    time.sleep(0.5)
    launched.process.send_signal(signal.SIGTERM)  # process 0 hears it and ends
    status, console = launched.end()
    assert status == 137
    assert console == ("error: process 1 was ended by signal 9 (SIGKILL); out of memory, perhaps\n")


def test_processes_that_fail_start_again(launch: Launch) -> None:
    launched = launch("fails", "--standalone", MAX_RESTARTS="2")
    assert launched.end() == (0, "restart 1 of 2 (MAX_RESTARTS)\n")
    for rank in range(2):
        attempts = [note.split()[-1] for note in launched.notes(rank)]
        assert attempts == ["0", "1"]


def test_hosts_find_each_other_and_start_again_together(
    launch: Launch, free_port: Callable[[], int]
) -> None:
    words = ("--nnodes", "2", "--rdzv-endpoint", f"127.0.0.1:{free_port()}", "--rdzv-id", "run")
    launchers = [launch("fails", *words, num=num, MAX_RESTARTS="1") for num in (1, 1)]
    assert [launched.end() for launched in launchers] == [
        (0, "restart 1 of 1 (MAX_RESTARTS)\n")
    ] * 2
    for rank in range(2):
        assert launchers[0].notes(rank)[0].startswith(f"2 0 1 {rank} ")


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("--nproc-per-node", "0"), "'0' is no number from 1 on"),
        (("--nnodes", "2"), "--nnodes needs --rdzv-endpoint HOST:PORT"),
        (("--nnodes", "2", "--rdzv-endpoint", "host"), "host: it must be MASTER_ADDR:MASTER_PORT"),
        (("--max-restarts", "x"), "argument --max-restarts/--max_restarts: invalid int value"),
    ],
)
def test_wrong_words_are_told_in_a_line(words: Sequence[str], text: str, repository: Path) -> None:
    command = [sys.executable, "tools/launching/torchrun.py", *words, "script.py"]
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=False)
    assert done.returncode in (1, 2)
    assert text in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


# How hosts meet, in this process


def meeting(num_hosts: int, port: int, minutes: float = 1.0) -> Meeting:
    return Meeting(num_hosts, "127.0.0.1", port, "run", minutes=minutes)


def test_hosts_are_numbered_as_they_come_and_processes_in_a_row(
    free_port: Callable[[], int],
) -> None:
    place = meeting(3, free_port())
    with ThreadPoolExecutor() as pool:
        met = [pool.submit(meet, place, num) for num in (2, 3, 1)]
        launchers = [launcher.result(timeout=30) for launcher in met]
        (leader,) = (one for one in launchers if isinstance(one, Leader))
        places = list(pool.map(lambda launcher: launcher.begin(), launchers))
        sizes = dict(zip((p.node for p in places), (2, 3, 1), strict=True))
        assert {p.size for p in places} == {6}
        for p in places:
            assert p.first_rank == sum(sizes[node] for node in range(p.node))
        assert places[launchers.index(leader)].node == 0
        assert len({p.port for p in places}) == 1
        leader.started()


@pytest.mark.parametrize(
    ("statuses", "again"),
    [((0, 0), False), ((1, 1), True), ((-9, 1), True), ((1, 143), False), ((2, 1), False)],
)
def test_attempt_is_followed_by_another_if_something_failed_that_may_not_again(
    statuses: tuple[int, int], again: bool, free_port: Callable[[], int]
) -> None:
    place = meeting(2, free_port())
    with ThreadPoolExecutor() as pool:
        met = [pool.submit(meet, place, 1) for _ in range(2)]
        launchers = [launcher.result(timeout=30) for launcher in met]
        ends = pool.map(lambda one, status: one.end(status, True), launchers, statuses)
        assert list(ends) == [again, again]


def test_hosts_that_do_not_come_are_missed_in_plain_sight(
    free_port: Callable[[], int],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(hosts, "SAY_SECONDS", 0.5)
    text = r"waited 0\.025 minutes .* for 1 of 2 hosts \(NODES\)"
    with pytest.raises(ValueError, match=text):
        meet(meeting(2, free_port(), minutes=1.5 / 60), 1)
    assert "waiting for 1 of 2 hosts" in capsys.readouterr().err


def test_host_of_another_run_is_turned_away(free_port: Callable[[], int]) -> None:
    port = free_port()
    place = meeting(2, port)
    with ThreadPoolExecutor() as pool:
        leader = pool.submit(meet, place, 1)
        text = "has another run: JOB_ID 'run', not 'b'; NODES 2, not 3"
        with pytest.raises(ValueError, match=text):
            Follower(Meeting(3, "127.0.0.1", port, "b"), 1)
        Follower(place, 1)
        assert isinstance(leader.result(timeout=30), Leader)


def test_port_of_the_first_host_that_is_taken_is_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(hosts, "_ANSWER_SECONDS", 0.3)
    with listen("", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ValueError, match="is not the launcher of this run's first host"):
            meet(Meeting(2, "127.0.0.1", port, "run"), 1)
        with pytest.raises(ValueError, match=rf"port {port} of this host, .* cannot be opened"):
            meet(Meeting(2, "127.0.0.1", port, "run", node=0), 1)


def test_host_whose_leader_ends_says_so(free_port: Callable[[], int]) -> None:
    place = meeting(2, free_port())
    with ThreadPoolExecutor() as pool:
        met = [pool.submit(meet, place, 1) for _ in range(2)]
        launchers = [launcher.result(timeout=30) for launcher in met]
        (follower,) = (one for one in launchers if isinstance(one, Follower))
        (leader,) = (one for one in launchers if isinstance(one, Leader))
        for _, line in leader._others:
            line.socket.shutdown(2)
        with pytest.raises(ValueError, match="has ended, see its error"):
            follower.begin()
        assert not follower.end(1, True)
