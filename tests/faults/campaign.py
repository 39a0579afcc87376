"""Kill training again and again, finish it, and compare it to the last bit with an unbroken run.

    python tests/faults/campaign.py --kills 200          # or --hours 1; --seed for another series
    python tests/faults/campaign.py --kills 20 --only bytes fsync rename

A chain is one run on a toy set that faults strike one after the other, each at another moment and
perhaps with other numbers of processes and loader workers, always taken up by `--resume auto`. It
survives if it ends in the very weights of a run that nothing struck (or, where the number of
processes changed, in those weights but for rounding), every clip of every epoch in them once, and
each line of log.jsonl there once. Every fault of a chain that does not is lost. Untidy is an end
that the user should not see: a traceback, a partial file left behind, another exit status. The exit
status is 0 if nothing was lost.
"""

# ruff: noqa: E402 - a program puts the repository on the path first
import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY))

from config import is_key
from tests.faults.aims import BYTES, DISK_FULL, Aim
from tests.faults.groups import Ended, Group, cut, start_server, two_hosts
from tests.faults.toy_run import (
    EPOCHS,
    NUM_VIDEOS,
    RECIPES,
    Clips,
    differences,
    faults_of_records,
    make_toy_set,
    newest_checkpoint,
    weights_differ_by,
)

SECONDS = 60.0  # allowed for any run of a second or two, on a machine that does other things too
SAVE_SECONDS = 30.0  # from a signal to the end: what SLURM gives by default
GRACE = 10.0  # from a launcher's SIGTERM to its SIGKILL
WORKERS = (0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 8)
MAX_EXACT = 2  # processes; the first step of more adds gradients up in another order
# Of that, and of another number of processes, in the weights after 12 to 36 steps, if not 1e-4:
# AdamW makes a step of the whole rate, 0.01, of a gradient that is mere rounding.
ROUNDING = {"averages": 1e-2}
GRACEFUL = {s.name: s for s in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)}
GRACEFUL["SIGUSR2"] = signal.SIGUSR2


class Campaign:
    """All chains of a series, and what came of their faults.

    Attributes:
        table: By kind of fault, how many were tried, survived, refused and lost.
        told: What was wrong, a text each.
        lost_iterations: Iterations that had to be done again, for each kill and each signal.
        save_seconds: From a signal to the end of the processes.
    """

    def __init__(self, folder: Path, seed: int, kinds: Sequence[str]) -> None:
        self.folder = folder
        self.seed = seed
        self.kinds = kinds
        folder.mkdir(exist_ok=True)
        self.config = make_toy_set(folder)
        self.table: dict[str, Counter[str]] = {}
        self.told: list[str] = []
        self.lost_iterations: dict[str, list[int]] = {"killed": [], "signalled": []}
        self.save_seconds: list[float] = []
        self._whole: dict[tuple[str, int], Path] = {}

    def run_chain(self, number: int) -> None:
        """Run one chain and take its faults into the table."""
        chain = Chain(self, number)
        faults = chain.run()
        for kind, outcome in chain.struck:
            row = self.table.setdefault(kind, Counter())
            row["tried"] += 1
            row["lost" if faults else outcome] += 1
        for kind, text in chain.untidy:
            self.table.setdefault(kind, Counter())["untidy"] += 1
            sys.stdout.write(f"untidy, chain {number}, {kind}: {text}\n")
        if faults:
            kept = Path(tempfile.mkdtemp(prefix="campaign_lost_"))
            if chain.folder.exists():
                shutil.copytree(chain.folder, kept / "run")
            (kept / "console").write_text("\n=====\n".join(chain.consoles))
            told = "\n  ".join([f"chain {number}, {chain.story()}; kept in {kept}", *faults[:10]])
            self.told.append(told)
            sys.stdout.write(f"LOST {told}\n")
        if chain.is_mounted:
            subprocess.run(["umount", chain.home], check=True)
        shutil.rmtree(chain.home)

    def whole_run(self, recipe: str, num: int) -> Path:
        """Return the folder of a run that nothing struck."""
        if (recipe, num) not in self._whole:
            folder = self.folder / f"whole_{recipe}_{num}"
            words = ["--cfg", str(self.config), "--output", str(folder), *RECIPES[recipe].split()]
            ended = Group(num, words).wait(SECONDS)
            assert not any(ended.codes), ended.console
            self._whole[recipe, num] = folder
        return self._whole[recipe, num]

    def num_struck(self) -> int:
        """Count the faults so far."""
        return sum(row["tried"] for row in self.table.values())

    def report(self) -> Iterator[str]:
        """Yield the lines of the table."""
        yield f"{'fault':28} {'tried':>7} {'survived':>9} {'refused':>8} {'lost':>5} {'untidy':>7}"
        total: Counter[str] = Counter()
        for kind, row in sorted(self.table.items()):
            total += row
            yield _row(kind, row)
        yield _row("all", total)
        for what, lost in self.lost_iterations.items():
            if lost:
                mean = sum(lost) / len(lost)
                yield f"iterations done again, {what}: mean {mean:.2f}, at most {max(lost)}"
        if self.save_seconds:
            mean, most = sum(self.save_seconds) / len(self.save_seconds), max(self.save_seconds)
            yield f"seconds from signal to end: mean {mean:.2f}, at most {most:.2f}"


class Chain:
    """One run that faults strike, one after the other.

    Args:
        campaign: That it is part of.
        number: Of the chain; with the campaign's seed it decides everything but the timing.
    """

    def __init__(self, campaign: Campaign, number: int) -> None:
        self.campaign = campaign
        self.rng = random.Random(f"{campaign.seed} {number}")
        self.home = campaign.folder / f"chain_{number}"
        self.folder = self.home / "run"
        self.home.mkdir()
        self.recipe = self.rng.choice(list(RECIPES))
        self.num = self.rng.choice((1, 2, 2, 3))
        self.struck: list[tuple[str, str]] = []
        self.faults: list[str] = []
        self.untidy: list[tuple[str, str]] = []  # kind and what was not said in one line
        self.consoles: list[str] = []
        self.clips = Clips(num_repeats=2 if "REPEATS 2" in RECIPES[self.recipe] else 1)
        self.is_noted = True  # what was learned from, by all attempts
        self.is_mounted = False
        self.has_learned = False  # in the attempt before
        self.ended_by = ""  # what struck the last attempt that learned
        self.is_async = self.rng.random() < 0.25
        self.checkpoint_steps = self.rng.choice((0, 1, 1, 2, 3))

    def run(self) -> list[str]:
        """Let faults strike, finish the run and return what is wrong with it."""
        for _ in range(self.rng.randint(2, 10)):
            weights = [RARE.get(kind, 1.0) for kind in self.campaign.kinds]
            (kind,) = self.rng.choices(self.campaign.kinds, weights)
            if FAULTS[kind](self, kind) or self.faults:
                break  # it is done, or lost
        if not self.faults:
            ended = self.take(self.start(), SECONDS)
            if any(ended.codes):
                self.faults.append(f"the run does not go on: {ended.codes} {_tail(ended.console)}")
        return self.faults or self.compare()

    def story(self) -> str:
        """Return what struck, in its order."""
        return f"{self.recipe} in {self.num} processes: " + ", ".join(k for k, _ in self.struck)

    def words(self, workers: int = 0) -> list[str]:
        """Return the command line of the next attempt."""
        words = ["--cfg", str(self.campaign.config), "--output", str(self.folder)]
        words += ["--resume", "auto", *RECIPES[self.recipe].split()]
        words += ["TRAIN.CHECKPOINT_STEPS", str(self.checkpoint_steps)]
        words += ["TRAIN.CHECKPOINT_ASYNC", str(self.is_async)]
        return [*words, "DATA.WORKERS", str(workers)]

    def start(self, aim: Aim | None = None, aimed: int = 0, workers: int | None = None) -> Group:
        """Start the processes of the next attempt."""
        if self.recipe == "elastic":
            self.num = self.rng.choice((1, 2, 3))
        workers = self.rng.choice(WORKERS) if workers is None else workers
        return Group(self.num, self.words(workers), aim, min(aimed, self.num - 1))

    def take(self, group: Group, seconds: float, forwarded: int = 0, grace: float = 0.0) -> Ended:
        """Wait for the processes of an attempt and take in what it learned."""
        ended = group.wait(seconds, forwarded, grace)
        num_before = len(self.clips.lost_iterations)
        if self.is_noted:
            self.clips.add(ended, self.num)
        self.consoles.append(ended.console)
        if len(self.clips.lost_iterations) > num_before and self.ended_by:
            kind = self.ended_by
            is_graceful = kind in GRACEFUL or kind.startswith("signal")
            what = "signalled" if is_graceful else "killed"
            lost = self.clips.lost_iterations[-1]
            self.campaign.lost_iterations[what].append(lost)
            if is_graceful and lost:
                self.faults.append(f"{kind}: {lost} iterations had to be done again")
        self.has_learned = any(ended.batches)
        if ended.is_hung:
            self.faults.append(f"hung for {seconds} s: {ended.codes} {_tail(ended.console)}")
        return ended

    def compare(self) -> list[str]:
        """Return in what the finished run differs from one that nothing struck."""
        whole = newest_checkpoint(self.campaign.whole_run(self.recipe, self.num))
        ours = newest_checkpoint(self.folder)
        found = []
        if self.is_noted:
            found += self.clips.faults((NUM_VIDEOS["train"], NUM_VIDEOS["train"] - 1))
        found += faults_of_records(self.folder)
        if not ours:
            return [*found, "there is no last.pth"]
        if self.recipe == "elastic" or self.num > MAX_EXACT:
            differ_by = weights_differ_by(ours["state_dict"], whole["state_dict"])
            if not differ_by < ROUNDING.get(self.recipe, 1e-4):
                found.append(f"weights differ by {differ_by}")
        else:
            for key in whole:
                if key in COMPARED:
                    found += differences(ours.get(key), whole[key], key)[:3]
        if ours.get("epoch") != EPOCHS:
            found.append(f"epoch {ours.get('epoch')} of {EPOCHS}")
        return found


SHORT_SILENCE = ("TRAIN.TIMEOUT_MINUTES", "0.1") if is_key("TRAIN.TIMEOUT_MINUTES") else ()
COLUMNS = ("tried", "survived", "refused", "lost", "untidy")
COMPARED = ("state_dict", "optimizer", "ema", "ema_steps", "swa", "swa_epochs", "scaler")
PLACE_OF = {
    "kill in the set-up": ("set-up", 2),
    "kill at fsync": ("fsync", 30),
    "kill at rename": ("rename", 12),
    "kill at link": ("link", 8),
    "kill at removal": ("removal", 12),
    "kill in a save": ("save", 12),
    "kill in the validation": ("validation", 6),
    "kill in the averaging": ("averaging", 1),
    "kill in the first iteration": ("iteration", 1),
    "kill at an iteration": ("iteration", 40),
    "kill at a step": ("step", 14),
}


def aimed_kill(chain: Chain, kind: str) -> bool:
    """Kill one process at the n-th call of a function."""
    place, most = PLACE_OF[kind]
    count = min(most, 1 + int(chain.rng.expovariate(3 / most)))  # a late one may never come
    aim = Aim(place, count, signal.SIGKILL, chain.rng.random() < 0.4)
    grace = chain.rng.choice(
        (0.0, GRACE)
    )  # the others are told by a launcher, or see for themselves
    group = chain.start(aim, aimed=chain.rng.choice((0, 0, 1)))
    ended = chain.take(group, SECONDS, grace=grace)
    _check_text(chain, kind, ended.console)
    return _struck(chain, kind, ended)


def kill_in_bytes(chain: Chain, kind: str) -> bool:
    """Let the kernel end a process where a file that it writes has a certain size."""
    aim = Aim(BYTES, chain.rng.randint(500, 40_000))
    return _struck(chain, kind, chain.take(chain.start(aim), SECONDS, grace=GRACE))


def kill_at_random(chain: Chain, kind: str) -> bool:
    """Kill one process, or all at once, at any moment."""
    group = chain.start()
    group.wait_while_running(chain.rng.uniform(0.05, 2.0))
    ranks = None if kind == "kill all at random" else [chain.rng.randrange(chain.num)]
    group.send(signal.SIGKILL, ranks)
    return _struck(chain, kind, chain.take(group, SECONDS, grace=chain.rng.choice((0.0, GRACE))))


def graceful_signal(chain: Chain, kind: str) -> bool:
    """Send all processes a signal that asks for an end: a checkpoint is written before it."""
    number = GRACEFUL[kind]
    aim = Aim("iteration", chain.rng.randint(1, 30), number)
    return _signalled(chain, kind, aim, number)


def signal_in_a_save(chain: Chain, kind: str) -> bool:
    """Send such a signal while a checkpoint is written."""
    number = chain.rng.choice(list(GRACEFUL.values()))
    place = chain.rng.choice(("save", "fsync", "rename", "link"))
    aim = Aim(place, chain.rng.randint(1, 8), number, chain.rng.random() < 0.5)
    return _signalled(chain, kind, aim, number)


def signal_elsewhere(chain: Chain, kind: str) -> bool:
    """Send such a signal where no clip is learned from: while the run begins, or validates."""
    number = chain.rng.choice(list(GRACEFUL.values()))
    place = "set-up" if "set-up" in kind else "validation"
    return _signalled(chain, kind, Aim(place, chain.rng.randint(1, 2), number), number)


def disk_full(chain: Chain, kind: str) -> bool:
    """Let every write fail that makes a file larger than a limit."""
    group = chain.start(Aim(DISK_FULL, chain.rng.randint(500, 40_000)))
    ended = chain.take(group, SECONDS, grace=GRACE)
    _check_writer(chain, kind, ended)
    return _struck(chain, kind, ended)


def damaged_newest(chain: Chain, kind: str) -> bool:
    """Kill the run, then cut, overwrite or empty its newest checkpoint."""
    is_done = kill_at_random(chain, "kill all at random")
    last = chain.folder / "last.pth"
    content = bytearray(last.read_bytes() if last.exists() else b"")
    if is_done or not content:  # nothing, or what the fault before has emptied
        return is_done
    place = chain.rng.randrange(len(content))
    damage = chain.rng.choice(("cut", "zero", "flip", "empty"))
    if damage == "cut":
        del content[place:]
    elif damage == "empty":
        content.clear()
    elif damage == "zero":
        content[place : place + 2000] = bytes(len(content[place : place + 2000]))
    else:
        content[place] ^= 1 << chain.rng.randrange(8)
    chain.ended_by = kind  # whatever was before it, iterations are to be done again now
    last.unlink()  # it may have a second name that another checkpoint goes by
    last.write_bytes(content)
    if list(chain.folder.glob("last.?.pth")):
        chain.struck.append((f"{kind}: {damage}", "survived"))
        return False
    ended = chain.take(chain.start(), SECONDS, grace=GRACE)
    if any(ended.codes):  # nothing whole is left: that is said, and decided by the user
        if "can be read; name another" not in ended.console:
            chain.faults.append(f"{kind}: {_tail(ended.console)}")
        last.unlink(missing_ok=True)
    chain.struck.append((f"{kind}: {damage}", "refused" if any(ended.codes) else "survived"))
    return not any(ended.codes)


def foreign_files(chain: Chain, kind: str) -> bool:
    """Put files of others, and rests of a dead writer, into the run folder."""
    has_run = (chain.folder / "last.pth").exists()
    names = [".last.pth.part", "notes.txt", "x.tmp", "last.pth.old", "log.jsonl.bak"]
    names += ["ckpt_e9.pth", "last.7.pth"] if has_run else []
    chain.folder.mkdir(exist_ok=True)
    for name in chain.rng.sample(names, k=3):
        (chain.folder / name).write_bytes(chain.rng.randbytes(200))
    chain.struck.append((kind, "survived"))
    return False


def two_writers(chain: Chain, kind: str) -> bool:
    """Start a second run in the folder of one that runs: it is refused, the first goes on."""
    first = chain.start(workers=0)
    while first.is_running() and not (chain.folder / "log.jsonl").exists():
        time.sleep(0.02)
    first.wait_while_running(chain.rng.uniform(0, 0.3))
    was_running = first.is_running()
    second = Group(chain.num, chain.words()).wait(SECONDS)  # if the first is done, nothing is to do
    was_running = was_running and first.is_running()
    ended = chain.take(first, SECONDS)
    if not was_running:
        return not any(ended.codes)
    if not any(second.codes):
        chain.faults.append(f"a second writer was let in: {_tail(second.console)}")
    _check_text(chain, kind, second.console)
    if any(ended.codes):
        chain.faults.append(f"the first writer ended: {ended.codes} {_tail(ended.console)}")
    chain.struck.append((kind, "refused"))
    return True


def file_system_full(chain: Chain, kind: str) -> bool:
    """Let the run folder's file system run full, then make it larger."""
    if chain.is_mounted:
        return False
    held = chain.home.with_name(f"{chain.home.name}_held")
    chain.home.rename(held)
    chain.home.mkdir()
    used = sum(-(-path.stat().st_size // 4096) * 4 for path in held.rglob("*")) + 40
    size = f"size={used + chain.rng.randint(4, 300)}k"
    subprocess.run(["mount", "-t", "tmpfs", "-o", size, "none", chain.home], check=True)
    chain.is_mounted = True
    shutil.copytree(held, chain.home, dirs_exist_ok=True)
    shutil.rmtree(held)
    ended = chain.take(chain.start(), SECONDS, grace=GRACE)
    _check_writer(chain, kind, ended)
    subprocess.run(["mount", "-o", "remount,size=100m", chain.home], check=True)
    return _struck(chain, kind, ended)


def host_cut_off(chain: Chain, kind: str) -> bool:
    """Cut the cable between two hosts; they end by an error, or go on if it was short."""
    if chain.num != 2:
        return False
    is_short = chain.rng.random() < 0.3
    aim = Aim("iteration", chain.rng.randint(1, 20), 0)
    with two_hosts() as hosts:
        group = Group(2, [*chain.words(), *SHORT_SILENCE], aim, aimed=1, hosts=hosts)
        while group.is_running() and not group.hit_at():
            time.sleep(0.01)
        cut(hosts[1], is_cut=True)
        if is_short:
            time.sleep(1)
            cut(hosts[1], is_cut=False)
        ended = chain.take(group, SECONDS)
    return _struck(chain, kind, ended)


def launched(chain: Chain, kind: str) -> bool:
    """Launch as users do, and kill or signal the launcher alone."""
    chain.is_noted = False
    words = [sys.executable, str(REPOSITORY / "tools/launching/torchrun.py"), "--standalone"]
    words += [f"--nproc_per_node={chain.num}", "main_ddp_shift.py", *chain.words()]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    console = chain.home / "console"
    with console.open("w") as file:
        launcher = subprocess.Popen(
            words, cwd=REPOSITORY, env=environment, stdout=file, stderr=file, start_new_session=True
        )
    before, end = _num_lines(chain.folder), time.monotonic() + SECONDS
    most = before + chain.rng.randint(0, 20)
    while launcher.poll() is None and _num_lines(chain.folder) <= most and time.monotonic() < end:
        time.sleep(0.01)
    number = signal.SIGKILL if kind == "launcher killed" else chain.rng.choice([*GRACEFUL.values()])
    processes = _all_below(launcher.pid)
    is_struck = launcher.poll() is None
    launcher.send_signal(number)
    with suppress(subprocess.TimeoutExpired):
        launcher.wait(SECONDS)
    while any(map(_is_alive, processes)) and time.monotonic() < end + SECONDS:
        time.sleep(0.05)
    for pid in filter(_is_alive, processes):
        chain.untidy.append((kind, f"process {pid} outlives its launcher"))
        os.kill(pid, signal.SIGKILL)
    text = console.read_text()
    chain.consoles.append(text)
    if not is_struck:
        return True
    code = 128 + number if number != signal.SIGKILL else -number
    if launcher.returncode not in (code, 0):
        text_of_code = f"exit code {launcher.returncode}, not {code}: {_tail(text)}"
        chain.untidy.append((kind, text_of_code))
    if number != signal.SIGKILL:
        _check_text(chain, kind, text)
    chain.struck.append((kind, "survived"))
    return launcher.returncode == 0


def stopped_process(chain: Chain, kind: str) -> bool:
    """Stop one process of several: the others end by an error that names it."""
    if chain.num == 1:
        return False
    aim = Aim("iteration", chain.rng.randint(1, 20), signal.SIGSTOP)
    group = Group(chain.num, [*chain.words(), *SHORT_SILENCE], aim, 1)
    others = [rank for rank in range(chain.num) if rank != 1]
    end = time.monotonic() + SECONDS
    while time.monotonic() < end and any(group.processes[r].exitcode is None for r in others):
        time.sleep(0.02)
    is_hung = time.monotonic() >= end
    group.send(signal.SIGKILL)
    ended = chain.take(group, SECONDS)
    if is_hung and ended.hit_at:
        chain.faults.append(f"{kind}: the others wait for ever: {_tail(ended.console)}")
    return _struck(chain, kind, ended)


def dead_loader(chain: Chain, kind: str) -> bool:
    """Kill a loader process."""
    group = chain.start(workers=chain.rng.choice((1, 2, 8)))
    loaders: list[int] = []
    while group.is_running() and not loaders:
        time.sleep(0.02)
        loaders = _children_of(group.processes[0].pid or 0)
    group.wait_while_running(chain.rng.uniform(0, 0.5))
    if group.is_running():
        with suppress(ProcessLookupError):
            os.kill(chain.rng.choice(loaders), signal.SIGKILL)
    return _struck(chain, kind, chain.take(group, SECONDS, grace=GRACE))


FAULTS: dict[str, Callable[[Chain, str], bool]] = {
    **dict.fromkeys(PLACE_OF, aimed_kill),
    "kill in a file's bytes": kill_in_bytes,
    "kill one at random": kill_at_random,
    "kill all at random": kill_at_random,
    **dict.fromkeys(GRACEFUL, graceful_signal),
    "signal in a save": signal_in_a_save,
    "signal in the set-up": signal_elsewhere,
    "signal in the validation": signal_elsewhere,
    "disk full": disk_full,
    "file system full": file_system_full,
    "newest damaged": damaged_newest,
    "foreign files": foreign_files,
    "two writers": two_writers,
    "stopped process": stopped_process,
    "dead loader": dead_loader,
    "host cut off": host_cut_off,
    "launcher killed": launched,
    "launcher signalled": launched,
}
# A real launch imports torch in each process, a stopped process and a host cut off are waited for.
RARE = {"host cut off": 0.3, "launcher killed": 0.2, "launcher signalled": 0.2}
RARE |= {"stopped process": 0.4, "two writers": 0.5}


def _signalled(chain: Chain, kind: str, aim: Aim, number: int) -> bool:
    ended = chain.take(chain.start(aim), SECONDS, forwarded=number)
    if ended.hit_at and any(ended.codes):
        seconds = time.time() - ended.hit_at
        chain.campaign.save_seconds.append(seconds)
        if {*ended.codes} != {128 + number}:
            chain.untidy.append((kind, f"exit codes {ended.codes} {_tail(ended.console)}"))
        _check_text(chain, kind, ended.console)
        if seconds > SAVE_SECONDS:
            chain.faults.append(f"{kind}: ended after {seconds:.0f} s")
    return _struck(chain, kind, ended)


def _check_text(chain: Chain, kind: str, console: str) -> None:
    """Note an end that was not told in one line."""
    if "Traceback" in console:
        last = console.rpartition("Traceback")[2]
        chain.untidy.append((kind, f"a traceback: {_tail(last)}"))


def _check_writer(chain: Chain, kind: str, ended: Ended) -> None:
    """Note what a write that failed left behind, or did not say in one line."""
    if any(ended.codes):
        _check_text(chain, kind, ended.console)
        start = time.time() - ended.seconds
        parts = chain.folder.glob(".*.part")
        rests = [path.name for path in parts if path.stat().st_mtime > start]
        if rests:
            chain.untidy.append((kind, f"rests stay behind: {rests}"))


def _num_lines(folder: Path) -> int:
    path = folder / "log.jsonl"
    return path.read_text().count("\n") if path.exists() else 0


def _all_below(pid: int) -> list[int]:
    """Return all processes that a process has started, and those that they have."""
    children = _children_of(pid)
    return children + [below for child in children for below in _all_below(child)]


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _struck(chain: Chain, kind: str, ended: Ended) -> bool:
    """Note the fault, unless the run was done before it; tell whether it is done."""
    if not any(ended.codes):
        return True
    chain.struck.append((kind, "survived"))
    if chain.has_learned:
        chain.ended_by = kind
    return False


def _children_of(pid: int) -> list[int]:
    """Return the processes that another has started."""
    try:
        tasks = Path(f"/proc/{pid}/task").iterdir()
        return [int(word) for task in tasks for word in (task / "children").read_text().split()]
    except OSError:
        return []


def _tail(console: str) -> str:
    return " | ".join(console.strip().splitlines()[-4:])[-600:]


def _row(kind: str, row: Counter[str]) -> str:
    tried, survived, refused, lost, untidy = (row[name] for name in COLUMNS)
    return f"{kind:28} {tried:7} {survived:9} {refused:8} {lost:5} {untidy:7}"


def main(argv: Sequence[str] | None = None) -> int:
    """Run a series as the command line says; return 1 if anything was lost."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=200, help="faults after which it ends")
    parser.add_argument("--hours", type=float, default=24.0, help="after which it ends")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="*", default=[], help="parts of the names of faults")
    args = parser.parse_args(argv)
    kinds = [k for k in FAULTS if not args.only or any(part in k for part in args.only)]
    if os.geteuid() or not shutil.which("ip"):
        kinds = [k for k in kinds if k not in ("file system full", "host cut off")]
        sys.stdout.write("left out, for root alone: file system full, host cut off\n")
    start_server()
    start = time.monotonic()
    end = start + 3600 * args.hours
    with tempfile.TemporaryDirectory(prefix="campaign_") as folder:
        campaign, number = Campaign(Path(folder), args.seed, kinds), 0
        with suppress(KeyboardInterrupt):  # the table is of what was done by then
            while campaign.num_struck() < args.kills and time.monotonic() < end:
                campaign.run_chain(number)
                number += 1
    minutes = (time.monotonic() - start) / 60
    sys.stdout.write(f"{number} chains in {minutes:.1f} minutes, seed {args.seed}\n")
    sys.stdout.writelines(f"{line}\n" for line in campaign.report())
    return 1 if any(row["lost"] for row in campaign.table.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
