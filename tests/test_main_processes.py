import re
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from datasets.annotations import read_list
from datasets.loaders import EpochSampler
from tests.ranks import Ranks
from tests.test_main import Experiment, assert_same, scalars_of, start
from tests.test_main_errors import assert_clear, truncate

Torchrun = Callable[[int], list[str]]

pytestmark = pytest.mark.ddp


@pytest.fixture
def experiment(tmp_path: Path) -> Experiment:
    return Experiment(tmp_path)


def start_two(
    experiment: Experiment, repository: Path, torchrun: Torchrun, *words: object
) -> tuple[int, str]:
    """Run the main script in two processes; return the exit code and what all of them print."""
    command = [*torchrun(2), "--cfg", str(experiment.config)]
    done = start(command, repository, *words)
    return done.returncode, done.stdout + done.stderr


def test_two_processes_with_half_the_batch_train_as_one(
    experiment: Experiment, repository: Path, torchrun: Torchrun
) -> None:
    one, two = experiment.folder / "one", experiment.folder / "two"
    words = ("MODEL.VIT.DROPOUT", 0.0)  # its draws differ between processes
    experiment.run("--output", one, *words)
    code, console = start_two(
        experiment, repository, torchrun, "--output", two, *words, "TRAIN.CLIPS_PER_GPU", 2
    )
    assert code == 0, console
    ours, expected = (experiment.checkpoint(folder=folder) for folder in (two, one))
    for key in ("state_dict", "ema"):
        for name, weight in expected[key].items():
            # the gradient of eight clips is summed in another order: float32 rounding of gradients
            # of order 1, over four steps of rate 0.1 and less
            torch.testing.assert_close(ours[key][name], weight, atol=1e-6, rtol=0)
    figures, reference = (scalars_of(folder / "tensorboard") for folder in (two, one))
    for tag in ("Loss/train", "Accuracy/train_top1", "Loss/test", "Accuracy/test_top1"):
        steps, values = zip(*figures[tag], strict=True)
        assert steps == (0, 1)
        np.testing.assert_allclose(values, [value for _, value in reference[tag]], rtol=1e-5)
    # only one of the two speaks
    assert "effective batch 8 = 2 processes x 2 clips x 2 accumulated" in console
    lines = [line.split(" ", 1)[-1] for line in console.splitlines()]
    assert "Traceback" not in console
    for text in ("run folder", "epoch 1 trained", "epoch 2 validated", "best checkpoint"):
        assert sum(line.startswith(text) for line in lines) == 1, console


def test_run_resumed_in_two_processes_ends_as_the_unbroken_one_to_the_last_bit(
    experiment: Experiment, ranks: Ranks
) -> None:
    # one video under every label: each epoch is as good as the first, whose checkpoint stays best
    listed = experiment.folder / "undecided.txt"
    listed.write_text("".join(f"run/val_0 7 {label}\n" for label in range(3)))
    words: tuple[object, ...] = ("--cfg", experiment.config, "DATA.VAL_LIST", listed)
    words = ("main_ddp_shift.py", *words, "TRAIN.CLIPS_PER_GPU", 2)
    unbroken, resumed = experiment.folder / "unbroken", experiment.folder / "resumed"
    done = ranks.run(2, *words, "--output", unbroken)
    assert done.returncode == 0, done.stdout
    assert experiment.checkpoint("best.pth", unbroken)["epoch"] == 1
    resumed.mkdir()
    for name in ("best.pth", "last.pth"):
        shutil.copy(unbroken / "best.pth", resumed / name)
    done = ranks.run(2, *words, "--output", resumed, "--resume")
    assert done.returncode == 0, done.stdout
    ours, expected = (experiment.checkpoint(folder=folder) for folder in (resumed, unbroken))
    for key in ("state_dict", "ema", "optimizer", "best_acc1", "epoch", "rng"):
        assert_same(ours[key], expected[key], key)
    # dropout draws differently in each of the two
    assert len(ours["rng"]) == 2
    assert not torch.equal(ours["rng"][0]["cpu"], ours["rng"][1]["cpu"])


def test_broken_video_of_any_process_is_named(
    experiment: Experiment, repository: Path, torchrun: Torchrun
) -> None:
    records = read_list(experiment.folder / "train.txt", num_classes=3)
    _, index = next(iter(EpochSampler(len(records), rank=1, world_size=2, seed=0)))
    for frame in (experiment.frames / records[index].path).iterdir():
        truncate(frame)
    code, text = start_two(experiment, repository, torchrun, "TRAIN.CLIPS_PER_GPU", 2)
    assert code != 0
    assert re.search(rf"error: .*\n?.*{records[index].path}/img_\d+\.jpg: ", text), text
    assert "epoch 1 trained" not in text


SPAWN = ("--multiprocessing-distributed", "--world-size", 1, "--rank", 0, "--dist-backend", "nccl")


def test_released_launch_flags_work_without_a_gpu(experiment: Experiment, ranks: Ranks) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = ("main_ddp_shift.py", "--cfg", experiment.config, *SPAWN)
    url = ("--dist-ur", f"tcp://127.0.0.1:{port}")  # shortened, as the released scripts have it
    done = ranks.run(1, *command, *url, "TRAIN.EPOCHS", 1, is_launched=False)
    assert done.returncode == 0, done.stdout
    warning = "--dist-backend nccl needs GPUs and none is there: using gloo"
    assert warning in done.stdout
    assert "1 process, rank 0 on cpu" in done.stdout
    spawned = experiment.checkpoint()["state_dict"]
    experiment.run("TRAIN.EPOCHS", 1)
    assert_same(spawned, experiment.checkpoint()["state_dict"])


def test_error_under_the_released_launch_flags_is_clear(
    experiment: Experiment, ranks: Ranks
) -> None:
    command = ("main_ddp_shift.py", "--cfg", experiment.config, *SPAWN)
    done = ranks.run(1, *command, "DATA.VAL_LIST", "gone.txt", is_launched=False)
    assert done.returncode == 1
    assert_clear(done.stdout, r"cannot read the list file 'gone\.txt'")
