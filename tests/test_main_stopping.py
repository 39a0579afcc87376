"""Runs that are broken off and go on: by a signal, by force, with as many processes or others."""

import json
import signal
from collections import Counter
from pathlib import Path

import pytest

from tests.ranks import Ranks
from tests.test_main import Experiment, assert_same
from tests.test_main_resume import KEPT, log_of, run_cut_short

# The main script: notes the videos of each batch, and ends in silence after so many checkpoints.
SPY = """
import json, multiprocessing, os, sys
import main_ddp_shift

notes, num_left, words = sys.argv[1], int(sys.argv[2]), sys.argv[3:]
add, save = main_ddp_shift.Progress.add, main_ddp_shift.save

def noted(progress, loss, hits, num_clips, videos):
    with open(f"{notes}.{os.environ['RANK']}", "a") as file:
        file.write(json.dumps([progress.epoch, videos]) + "\\n")
    add(progress, loss, hits, num_clips, videos)

def cut(*args):
    global num_left
    save(*args)
    num_left -= 1
    if num_left == 0:
        main_ddp_shift.barrier()
        os._exit(0)

if __name__ == "__main__":  # and not in the loaders' workers
    multiprocessing.set_start_method("fork", force=True)  # of workers, without imports
    main_ddp_shift.Progress.add, main_ddp_shift.save = noted, cut
    main_ddp_shift.main(words)
"""
NEVER = 1000


@pytest.fixture
def experiment(tmp_path: Path) -> Experiment:
    """The tiny experiment with more videos than go round, in batches of two clips a process."""
    experiment = Experiment(tmp_path)
    lines = (tmp_path / "train.txt").read_text().splitlines()
    twice = [line.replace("train_", "./train_") for line in lines]  # other paths, the same videos
    listed = [*lines, *twice, lines[0].replace("train_", "././train_")]
    (tmp_path / "train.txt").write_text("\n".join(listed) + "\n")
    (tmp_path / "spy.py").write_text(SPY)
    return experiment


def run_until(
    experiment: Experiment, ranks: Ranks, num: int, num_saved: int, *words: object
) -> str:
    """Run in so many processes until so many checkpoints are written; return what they print."""
    settings = ("TRAIN.CLIPS_PER_GPU", 2, "TRAIN.CHECKPOINT_STEPS", 1, "--resume", "auto")
    command = (experiment.folder / "spy.py", experiment.folder / "seen", num_saved)
    done = ranks.run(num, *command, "--cfg", experiment.config, *settings, *words)
    assert done.returncode == 0, done.stdout
    return done.stdout


def clips_seen(experiment: Experiment) -> Counter[tuple[int, str]]:
    """Count how often each video was trained on in each epoch."""
    seen: Counter[tuple[int, str]] = Counter()
    for file in experiment.folder.glob("seen.*"):
        for line in file.read_text().splitlines():
            epoch, videos = json.loads(line)
            seen.update((epoch, video) for video in videos)
    return seen


@pytest.mark.ddp
def test_two_processes_go_on_as_if_they_had_never_stopped(
    experiment: Experiment, ranks: Ranks
) -> None:
    words = ("AUG.MIXUP_ALPHA", 0.3, "AUG.REPEATS", 2, "TRAIN.SWA.START_EPOCH", 1)
    unbroken, broken = (experiment.folder / name for name in ("unbroken", "broken"))
    run_until(experiment, ranks, 2, NEVER, "--output", unbroken, *words)
    expected_clips = clips_seen(experiment)
    for file in experiment.folder.glob("seen.*"):
        file.unlink()
    for num_saved, workers in ((2, 0), (3, 2), (NEVER, 1)):
        run_until(experiment, ranks, 2, num_saved, "--output", broken, "-j", workers, *words)
    assert clips_seen(experiment) == expected_clips
    ours, expected = (experiment.checkpoint(folder=folder) for folder in (broken, unbroken))
    for key in (*KEPT, "position", "swa", "swa_epochs"):
        assert_same(ours.get(key), expected.get(key), key)
    means = [log_of(folder, "val", "epoch", "top1") for folder in (broken, unbroken)]
    assert means[0] == means[1]


@pytest.mark.ddp
def test_other_numbers_of_processes_lose_and_double_no_clip(
    experiment: Experiment, ranks: Ranks
) -> None:
    consoles = [
        run_until(experiment, ranks, num, num_saved)
        for num, num_saved in ((2, 2), (1, 1), (3, 1), (1, 2), (2, NEVER))
    ]
    assert "goes on with a difference: 2 processes -> 1: the rest of a broken epoch" in consoles[1]
    seen = clips_seen(experiment)
    assert set(seen.values()) == {1}
    per_epoch = Counter(epoch for epoch, _ in seen)
    assert per_epoch.keys() == {0, 1}
    # of 25 videos, those that do not go round and those that make no whole batch are left out
    assert all(num > 25 - 3 * 2 for num in per_epoch.values()), per_epoch


@pytest.mark.parametrize("change", ["SEED", "AUG.REPEATS", "list"])
def test_epoch_whose_clips_come_otherwise_begins_anew(
    change: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment = Experiment(tmp_path)
    run_cut_short(experiment, monkeypatch)
    if change == "list":
        listed = tmp_path / "train.txt"
        listed.write_text("".join(reversed(listed.read_text().splitlines(keepends=True))))
    console = experiment.run("--resume", *((change, 2) if change != "list" else ()))
    assert "epoch 2 begins anew, with 8 clips of it trained on already" in console
    assert "goes on with a difference: " in console
    assert experiment.checkpoint()["epoch"] == 2


# Signals

STOPPED = (
    SPY.replace(
        "    add(progress",
        """    num_left -= 1
    if num_left == 0 and os.environ["RANK"] == os.environ["TOLD"]:
        os.kill(os.getpid(), int(os.environ["SIGNAL"]))
    add(progress""",
    )
    .replace(
        "def noted(progress, loss, hits, num_clips, videos):",
        """\
def noted(progress, loss, hits, num_clips, videos):
    global num_left""",
    )
    .replace("noted, cut", "noted, save")
)


@pytest.mark.ddp
@pytest.mark.parametrize(
    ("number", "num", "told", "batch"),
    [
        (signal.SIGUSR1, 1, 0, 2),  # in the middle of an epoch
        (signal.SIGTERM, 2, 1, 6),  # to one process alone
        (signal.SIGINT, 1, 0, 7),  # in the last batch of an epoch, which makes a step
    ],
)
def test_signal_ends_a_training_with_a_checkpoint_that_goes_on(
    number: signal.Signals,
    num: int,
    told: int,
    batch: int,
    experiment: Experiment,
    ranks: Ranks,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    unbroken, broken = (experiment.folder / name for name in ("unbroken", "broken"))
    run_until(experiment, ranks, num, NEVER, "--output", unbroken)
    expected_clips = clips_seen(experiment)
    for file in experiment.folder.glob("seen.*"):
        file.unlink()
    (experiment.folder / "stopped.py").write_text(STOPPED)
    for name, value in (("SIGNAL", int(number)), ("TOLD", told)):
        monkeypatch.setenv(name, str(value))
    words = ("--cfg", experiment.config, "TRAIN.CLIPS_PER_GPU", 2, "--output", broken)
    script = (experiment.folder / "stopped.py", experiment.folder / "seen", batch)
    done = ranks.run(num, *script, *words)
    assert done.returncode == 128 + number, done.stdout
    line = f"stopped by {number.name}: {broken} is saved; --resume auto goes on with the next clip"
    assert done.stdout.splitlines()[-1] == line
    assert "Traceback" not in done.stdout
    run_until(experiment, ranks, num, NEVER, "--output", broken)
    assert clips_seen(experiment) == expected_clips
    ours, expected = (experiment.checkpoint(folder=folder) for folder in (broken, unbroken))
    for key in (*KEPT, "position"):
        assert_same(ours.get(key), expected.get(key), key)
