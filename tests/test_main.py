import contextlib
import io
import json
import logging
import math
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from PIL import Image

import main_ddp_shift
from config import load_cfg
from engine.learner import Learner
from tests.conftest import golden_names, released_sizes, released_words

CLASSES = ("kick ball", "run", "swim")
FRAMES_OF = {"train": (6, 9, 12, 40), "val": (7, 30)}  # frames of each video of a class

CONFIG = """
OUTPUT_DIR: {folder}/run
DATA:
  NAME: tiny
  ROOT: {folder}/frames
  TRAIN_LIST: {folder}/train.txt
  VAL_LIST: {folder}/val.txt
  NUM_FRAMES: 4
  FRAME_STRIDE: 2
  IMAGE_SIZE: 16
  TEST_SHORT_SIDE: 16
  WORKERS: 0
AUG: {{SHORT_SIDE_RANGE: [16, 22], JITTER_ONE_IN: 2}}
MODEL:
  NUM_CLASSES: 3
  BACKBONE: toy
  VIT: {{PATCH_SIZE: 8, HIDDEN_SIZE: 16, MLP_DIM: 32, NUM_HEADS: 2, NUM_LAYERS: 2, DROPOUT: 0.1}}
OPTIM: {{LR: 0.1, MILESTONES: [1]}}
TRAIN: {{EPOCHS: 2, CLIPS_PER_GPU: 4, ACCUMULATION: 2, EMA_DECAY: 0.5, PRINT_FREQ: 1}}
"""


class Experiment:
    """A tiny data set, a config for it, and the main script to run on them.

    Videos are noise around a colour of their class, 20 x 24 pixels; twelve to train on, six to
    validate on, three classes.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.frames = folder / "frames"
        self.run_folder = folder / "run"
        self.config = folder / "tiny.yml"
        self.config.write_text(CONFIG.format(folder=folder))
        rng = np.random.default_rng(0)
        for split, lengths in FRAMES_OF.items():
            lines = []
            for number, length in enumerate(lengths):
                for label, name in enumerate(CLASSES):
                    path = f"{name}/{split}_{number}"
                    write_video(self.frames / path, label, length, rng)
                    lines.append(f"{path} {length} {label}\n")
            (folder / f"{split}.txt").write_text("".join(lines))

    def run(self, *words: object, has_cfg: bool = True) -> str:
        """Run the main script here, on its config; return what it prints."""
        code, text = self.outcome(*words, has_cfg=has_cfg)
        assert code == 0, text
        return text

    def outcome(self, *words: object, has_cfg: bool = True) -> tuple[Any, str]:
        """Run the main script here; return its exit code and what it prints, on both streams."""
        code, text = 0, io.StringIO()
        argv = [str(word) for word in (*(("--cfg", self.config) if has_cfg else ()), *words)]
        with process_restored(), contextlib.redirect_stdout(text), contextlib.redirect_stderr(text):
            try:
                main_ddp_shift.main(argv)
            except SystemExit as end:
                code = end.code
        return code, text.getvalue()

    def checkpoint(self, name: str = "last.pth", folder: Path | None = None) -> dict[str, Any]:
        return torch.load((folder or self.run_folder) / name, weights_only=True)

    def results(self, folder: Path | None = None) -> dict[str, Any]:
        return json.loads(((folder or self.run_folder) / "results.json").read_text())

    def log(self, kind: str) -> list[dict[str, Any]]:
        """The lines of one kind in log.jsonl."""
        lines = (self.run_folder / "log.jsonl").read_text().splitlines()
        return [entry for entry in map(json.loads, lines) if entry["kind"] == kind]


def write_video(folder: Path, label: int, num_frames: int, rng: np.random.Generator) -> None:
    folder.mkdir(parents=True)
    colour = np.roll([190, 90, 40], label)
    for number in range(1, num_frames + 1):
        frame = np.clip(colour + rng.normal(0, 25, (20, 24, 3)), 0, 255).astype(np.uint8)
        Image.fromarray(frame).save(folder / f"img_{number:05d}.jpg")


@contextlib.contextmanager
def process_restored() -> Iterator[None]:
    """Hide GPUs, and undo what the main script does to a process: handlers, kernels."""
    root, is_benchmarking = logging.getLogger(), torch.backends.cudnn.benchmark
    handlers, level = root.handlers[:], root.level
    root.handlers.clear()
    try:
        with mock.patch("torch.cuda.is_available", return_value=False):
            yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
        torch.use_deterministic_algorithms(False)
        torch.backends.cudnn.benchmark = is_benchmarking


def start(command: list[str], repository: Path, *words: object) -> subprocess.CompletedProcess[str]:
    """Run the main script, or another command, in processes of their own from the repository."""
    return subprocess.run(
        [*command, *map(str, words)],
        cwd=repository,
        env=os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def assert_same(ours: Any, expected: Any, where: str = "") -> None:
    """Assert that two trees of tensors and plain values are equal to the last bit."""
    assert type(ours) is type(expected), where
    if isinstance(expected, dict):
        assert ours.keys() == expected.keys(), where
        for key in expected:
            assert_same(ours[key], expected[key], f"{where}.{key}")
    elif isinstance(expected, list | tuple):
        assert len(ours) == len(expected), where
        for number, (one, other) in enumerate(zip(ours, expected, strict=True)):
            assert_same(one, other, f"{where}[{number}]")
    elif isinstance(expected, torch.Tensor):
        assert torch.equal(ours, expected), where
    else:
        assert ours == expected, where


@pytest.fixture
def experiment(tmp_path: Path) -> Experiment:
    return Experiment(tmp_path)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Experiment, str]:
    """Two epochs of training, and what was printed; to be looked at only."""
    experiment = Experiment(tmp_path_factory.mktemp("trained"))
    return experiment, experiment.run()


def scalars_of(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """TensorBoard's scalars: tag to (step, value) of each."""
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    accumulator = events.EventAccumulator(str(folder), size_guidance={"scalars": 0})
    accumulator.Reload()
    return {
        tag: [(event.step, event.value) for event in accumulator.Scalars(tag)]
        for tag in accumulator.Tags()["scalars"]
    }


# What a training run leaves behind


def test_run_folder_holds_config_logs_and_checkpoints(trained: tuple[Experiment, str]) -> None:
    experiment, _ = trained
    names = {path.name for path in experiment.run_folder.iterdir()}
    assert names - {"confusion.png", "curves.png"} == {  # those need matplotlib
        *("config.yml", "train.log", "log.jsonl", "tensorboard", "confusion.csv"),
        *("last.pth", "last.1.pth", "best.pth", "best.json"),
    }


def test_config_of_the_run_loads_again_as_it_was(trained: tuple[Experiment, str]) -> None:
    experiment, _ = trained
    assert load_cfg(experiment.run_folder / "config.yml") == load_cfg(experiment.config)


def test_training_log_holds_the_lines_of_the_console(trained: tuple[Experiment, str]) -> None:
    experiment, console = trained
    kept = (experiment.run_folder / "train.log").read_text().splitlines()
    assert len(kept) > 10
    texts = [line.split(" ", 2)[2] for line in kept]  # after date and time
    shown = [line.split(" ", 1)[-1] for line in console.splitlines()]  # after the time
    first = shown.index(texts[0])
    assert shown[first : first + len(texts)] == texts
    assert "epoch 2/2 it 3/3" in "\n".join(kept)
    assert "epoch 2 validated: 3 views each" in kept[-1]


def test_log_of_json_lines_holds_every_report_and_validation(
    trained: tuple[Experiment, str],
) -> None:
    experiment, _ = trained
    train, val = experiment.log("train"), experiment.log("val")
    places = [(entry["epoch"], entry["iteration"]) for entry in train]
    assert places == [(epoch, iteration) for epoch in (1, 2) for iteration in (1, 2, 3)]
    assert [entry["lr"] for entry in train] == 3 * [0.1] + 3 * [0.1 * 0.1]
    assert all(math.isfinite(entry["loss"]) for entry in train)
    assert all(entry["grad_norm"] > 0 for entry in train if entry["iteration"] > 1)  # a step done
    assert [entry["epoch"] for entry in val] == [1, 2]
    figures = {"top1", "mean_class_accuracy", "loss_single_views"}
    assert all(figures < entry.keys() for entry in val)
    assert not any("top5" in entry for entry in val)  # of three classes it is always 100


def test_tensorboard_holds_the_released_tags_by_epoch(trained: tuple[Experiment, str]) -> None:
    experiment, _ = trained
    scalars = scalars_of(experiment.run_folder / "tensorboard")
    released = ["Loss/train", "LearningRate", "Accuracy/train_top1"]
    released += ["Loss/test", "Accuracy/test_top1"]
    for tag in [*released, "Accuracy/best_test_top1"]:
        assert [step for step, _ in scalars[tag]] == [0, 1], tag
    assert not any("top5" in tag for tag in scalars)  # of three classes it is always 100
    rates = [value for _, value in scalars["LearningRate"]]
    assert rates == pytest.approx([0.1, 0.01], rel=1e-6)  # stored as float32
    assert [step for step, _ in scalars["Iteration/loss"]] == list(range(6))
    val = experiment.log("val")
    tops = [value for _, value in scalars["Accuracy/test_top1"]]
    assert tops == pytest.approx([entry["top1"] for entry in val], rel=1e-6)
    best = [value for _, value in scalars["Accuracy/best_test_top1"]]
    assert best == pytest.approx(np.maximum.accumulate(tops).tolist())


def test_tensorboard_counts_our_own_tags_as_the_console_does(
    trained: tuple[Experiment, str],
) -> None:
    experiment, console = trained
    scalars = scalars_of(experiment.run_folder / "tensorboard")
    val, train = experiment.log("val"), experiment.log("train")
    figures = {"val/top1": "top1", "val/mean_class_accuracy": "mean_class_accuracy"}
    figures["val/loss"] = "loss_single_views"
    for tag, name in figures.items():
        assert [step for step, _ in scalars[tag]] == [entry["epoch"] for entry in val]
        values = [value for _, value in scalars[tag]]
        assert values == pytest.approx([entry[name] for entry in val], rel=1e-6)
    of_train = ["train/loss", "train/top1", "train/lr"]
    for tag in ["val/best_top1", "val_top1_of_class/0_0", *of_train]:
        assert [step for step, _ in scalars[tag]] == [1, 2], tag
    assert {entry["epoch"] for entry in train} == {1, 2}
    assert "epoch 1 validated" in console


def test_checkpoint_describes_itself(trained: tuple[Experiment, str]) -> None:
    experiment, _ = trained
    checkpoint = experiment.checkpoint()
    assert checkpoint["epoch"] == 2
    assert checkpoint["best_acc1"] == max(entry["top1"] for entry in experiment.log("val"))
    assert checkpoint["class_names"] == ["0", "1", "2"]
    assert checkpoint["preprocessing"] == {
        "num_frames": 4,
        "frame_stride": 2,
        "sampling": "dense",
        "short_side": 16,
        "image_size": 16,
        "mean": [0.5] * 3,
        "std": [0.5] * 3,
    }
    text = experiment.folder / "again.yml"
    text.write_text(checkpoint["config"])
    assert load_cfg(text) == load_cfg(experiment.config)


def test_training_moves_the_weights_and_their_average(trained: tuple[Experiment, str]) -> None:
    experiment, _ = trained
    checkpoint = experiment.checkpoint()
    assert checkpoint["ema_steps"] == 4  # two steps an epoch: two batches, then the third
    for name, weight in checkpoint["state_dict"].items():
        assert torch.isfinite(weight).all()
        assert not torch.equal(weight, checkpoint["ema"][name]), name


def test_start_says_what_runs(trained: tuple[Experiment, str]) -> None:
    experiment, console = trained
    num_parameters = sum(w.numel() for w in experiment.checkpoint()["state_dict"].values())
    assert "12 videos to train on, 6 to validate" in console
    assert f"tokshift toy: {num_parameters} parameters" in console
    assert "class-token channels shifted: 4 of 16 (both), twice in 2 blocks" in console
    assert "1 process, rank 0 on cpu" in console
    assert "effective batch 8 = 1 process x 4 clips x 2 accumulated, learning rate 0.1" in console
    assert "recipe's learning rate" not in console  # none is known


def test_end_says_where_everything_is(trained: tuple[Experiment, str]) -> None:
    experiment, console = trained
    assert f"best checkpoint: {experiment.run_folder / 'best.pth'}" in console
    assert f"tensorboard.main --logdir {experiment.run_folder}" in console


def test_flags_stand_above_the_config(experiment: Experiment) -> None:
    output = experiment.folder / "elsewhere"
    flags = ("--output", output, "--seed", 3, "-j", 1, "-p", 2, "--amp")
    experiment.run(*flags, "TRAIN.EPOCHS", 1)
    cfg = load_cfg(output / "config.yml")
    assert (str(output), 3) == (cfg.OUTPUT_DIR, cfg.SEED)
    assert (cfg.DATA.WORKERS, cfg.TRAIN.PRINT_FREQ, cfg.TRAIN.AMP) == (1, 2, "auto")


@pytest.mark.parametrize(
    ("rate", "is_warned"), [(0.1, True), (0.02, False), (0.0201, False), (0.0203, True)]
)
def test_learning_rate_out_of_proportion_to_the_batch_is_warned_of(
    rate: float, is_warned: bool, experiment: Experiment
) -> None:
    console = experiment.run(
        *("OPTIM.LR", rate, "OPTIM.REFERENCE_LR", 0.1, "OPTIM.REFERENCE_BATCH", 40),
        *("TRAIN.EPOCHS", 1),
    )
    warning = "learning rate is 0.1 at batch 40; in proportion, batch 8 takes OPTIM.LR 0.02"
    assert (warning in console) == is_warned


# The loop


@pytest.mark.parametrize(
    ("last_group", "last_share", "num_steps"),
    [("underweight", 0.5, 2), ("reweight", 1.0, 2), ("drop", 0.5, 1)],
)
def test_last_smaller_group_is_weighted_as_asked_and_steps_unless_it_is_dropped(
    last_group: str,
    last_share: float,
    num_steps: int,
    experiment: Experiment,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shares: list[float] = []
    are_last: list[bool] = []
    backward, accumulating = Learner.backward, Learner.accumulating

    def record_share(self: Learner, loss: torch.Tensor, share: float) -> None:
        shares.append(share)
        backward(self, loss, share)

    def record_last(self: Learner, is_last: bool) -> Any:
        are_last.append(is_last)
        return accumulating(self, is_last)

    monkeypatch.setattr(Learner, "backward", record_share)
    monkeypatch.setattr(Learner, "accumulating", record_last)
    experiment.run("TRAIN.LAST_GROUP", last_group, "TRAIN.EPOCHS", 1)
    assert shares == [0.5, 0.5, last_share]
    assert are_last == [False, True, num_steps == 2]
    assert experiment.checkpoint()["ema_steps"] == num_steps


def test_dropped_group_leaves_no_gradient_to_the_next_epoch(
    experiment: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    left: list[bool] = []
    train_one_epoch = main_ddp_shift.train_one_epoch

    def record(run: Any, training: Any, *args: Any) -> Any:
        place = train_one_epoch(run, training, *args)
        weights = training.learner.model.parameters()
        left.append(any(weight.grad is not None for weight in weights))
        return place

    monkeypatch.setattr(main_ddp_shift, "train_one_epoch", record)
    experiment.run("TRAIN.LAST_GROUP", "drop")
    assert left == [False, False]
    assert experiment.checkpoint()["ema_steps"] == 2


def test_effective_batch_is_the_global_one_where_it_is_set(experiment: Experiment) -> None:
    console = experiment.run("TRAIN.GLOBAL_BATCH", 12, "TRAIN.EPOCHS", 1)
    assert "effective batch 12 = 1 process x 4 clips x 3 accumulated" in console
    assert experiment.checkpoint()["ema_steps"] == 1
    code, text = experiment.outcome("TRAIN.GLOBAL_BATCH", 10)
    assert code == 1
    assert "TRAIN.GLOBAL_BATCH=10; it must be a multiple of 4" in text
    assert "Traceback" not in text


def test_rate_follows_the_schedule_within_the_epoch(experiment: Experiment) -> None:
    experiment.run("OPTIM.SCHEDULE", "cosine", "OPTIM.WARMUP_EPOCHS", 1.0)
    rates = [entry["lr"] for entry in experiment.log("train")]
    cosine = [0.1 * (1 + math.cos(math.pi * i / 6)) / 2 for i in range(6)]
    warmup = [0.01 + 0.99 * i / 3 for i in range(3)] + 3 * [1.0]
    expected = [rate * factor for rate, factor in zip(cosine, warmup, strict=True)]
    assert rates == pytest.approx(expected, rel=1e-12)  # float64 throughout


def test_every_epoch_trains_on_other_clips(
    experiment: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    clips: list[torch.Tensor] = []
    to_device = main_ddp_shift.to_device

    def record(batch: torch.Tensor, *args: Any) -> torch.Tensor:
        if batch.dim() == 5 and len(batch) == 4:
            clips.append(batch.clone())
        return to_device(batch, *args)

    monkeypatch.setattr(main_ddp_shift, "to_device", record)
    experiment.run("VAL.NUM_CROPS", 1)
    epochs = [torch.cat(clips[:3]), torch.cat(clips[-3:])]
    in_both = [any(torch.equal(a, b) for b in epochs[1]) for a in epochs[0]]
    assert not any(in_both)


def test_all_augmentations_of_modern_fine_tuning_train_together(experiment: Experiment) -> None:
    lines = experiment.run(
        *("AUG.CROP", "scale_jitter", "AUG.RANDAUG_NUM_OPS", 2, "AUG.ERASING_PROB", 0.25),
        *("AUG.REPEATS", 2, "DATA.SAMPLING", "linspace", "DATA.WINDOW", "paddle", "DATA.FPS", 10.0),
        *("TEST.CROPS", "uniform", "TEST.AFTER_TRAINING", True, "DATA.WORKERS", 2),
    )
    assert "epoch 2 trained" in lines
    iterations = [entry for entry in experiment.log("train") if entry["epoch"] == 1]
    assert len(iterations) == 6  # twelve videos twice, four clips a batch
    results = experiment.results()
    assert results["num_views"] == 3
    assert "linspace 4 of the first 4.27 s" in results["protocol"]


def test_deterministic_runs_with_one_seed_end_in_the_same_weights(experiment: Experiment) -> None:
    outputs = [experiment.folder / name for name in "abc"]
    for output, seed in zip(outputs, (0, 0, 1), strict=True):
        experiment.run("--output", output, "--seed", seed, "DETERMINISTIC", True)
    first, again, other = (experiment.checkpoint(folder=output) for output in outputs)
    for key in ("state_dict", "ema", "optimizer", "best_acc1", "rng"):
        assert_same(again[key], first[key], key)
    weights = [checkpoint["state_dict"]["head.weight"] for checkpoint in (first, other)]
    assert not torch.equal(*weights)


def test_mixed_precision_trains_on_the_cpu(experiment: Experiment) -> None:
    plain, mixed = experiment.folder / "plain", experiment.folder / "mixed"
    experiment.run("--output", plain, "MODEL.VIT.DROPOUT", 0.0)
    console = experiment.run("--output", mixed, "--amp", "MODEL.VIT.DROPOUT", 0.0)
    assert "AMP auto" in console
    expected, ours = (experiment.checkpoint(folder=f)["state_dict"] for f in (plain, mixed))
    assert all(weight.dtype == torch.float32 for weight in ours.values())
    moved = max((ours[name] - expected[name]).abs().max().item() for name in ours)
    # bf16 keeps 8 bits: it must show, and stay small against weights that moved by 0.1; measured
    # 8e-4
    assert 1e-6 < moved < 1e-2


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("g++"), reason="torch.compile needs a C++ compiler")
def test_compiled_model_trains_to_the_weights_of_the_plain_one(experiment: Experiment) -> None:
    plain, compiled = experiment.folder / "plain", experiment.folder / "compiled"
    experiment.run("--output", plain, "MODEL.VIT.DROPOUT", 0.0)
    experiment.run("--output", compiled, "MODEL.VIT.DROPOUT", 0.0, "TRAIN.COMPILE", True)
    expected, ours = (experiment.checkpoint(folder=f)["state_dict"] for f in (plain, compiled))
    assert ours.keys() == expected.keys()
    for name in ours:
        # fused kernels add up in another order: float32 rounding over four steps
        torch.testing.assert_close(ours[name], expected[name], atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", golden_names("tokshift/c_in21k_*.npz"))
def test_training_starts_from_the_weights_of_an_npz_file(
    name: str,
    experiment: Experiment,
    golden: Callable[[str], dict[str, Any]],
    golden_path: Callable[[str], Path],
) -> None:
    weights, meta = golden_path(name), golden(name.replace("c_in21k", "c_loaded"))["meta"]
    words: list[object] = released_words(meta["arch"])
    side = meta["grid"] * released_sizes(meta["arch"])["patch_size"]
    words += ["DATA.IMAGE_SIZE", side, "DATA.TEST_SHORT_SIDE", side]
    words += ["AUG.SHORT_SIDE_RANGE", [side, side + 12]]
    words += ["OPTIM.LR", 0.0, "TRAIN.EPOCHS", 1]  # so that the weights stay as they come
    console = experiment.run("--tune_from", weights, *words)
    assert "(ImageNet-21k .npz)" in console
    assert "re-initialised: head.weight: zeros" in console
    assert "ignored: head/" in console
    state = experiment.checkpoint()["state_dict"]
    with np.load(weights) as arrays:
        np.testing.assert_array_equal(state["cls_token"], arrays["cls"])
        np.testing.assert_array_equal(
            state["patch_embed.proj.weight"], arrays["embedding/kernel"].transpose(3, 2, 0, 1)
        )
    assert not state["head.weight"].any()


def test_head_that_is_kept_must_be_of_the_same_classes(experiment: Experiment) -> None:
    names, named = experiment.folder / "names.txt", experiment.folder / "named.pth"
    names.write_text("red\ngreen\nblue\n")
    experiment.run("TRAIN.EPOCHS", 1)
    torch.save(experiment.checkpoint() | {"class_names": ["blue", "green", "red"]}, named)
    words = ("--tune_from", named, "DATA.CLASS_NAMES", names, "--output", experiment.folder / "b")
    code, text = experiment.outcome(*words)
    assert code == 1
    assert f"label 0 is 'blue' in {named} and 'red' in DATA.CLASS_NAMES; TRAIN.TUNE_DROPS" in text
    assert not (experiment.folder / "b" / "log.jsonl").exists()
    experiment.run(*words, "TRAIN.TUNE_DROPS_HEAD", True, "TRAIN.EPOCHS", 1)


@pytest.mark.parametrize("script", ["train.sh", "test.sh", "tools/launching/environment.sh"])
def test_shell_script_parses(script: str, repository: Path) -> None:
    done = start(["bash", "-n"], repository, script)
    assert (done.returncode, done.stderr) == (0, "")
