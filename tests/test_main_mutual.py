"""Two models that learn from each other: training, averaging, and what is kept and tested."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from config import load_cfg
from models import build_model
from models.pretrained import load_weights
from tests.test_main import assert_same
from tests.test_main_distill import SMALL, Taught
from tests.test_main_errors import assert_clear
from tests.test_main_resume import KEPT, run_cut_short
from tools import average_checkpoints

SWA = ("TRAIN.EPOCHS", 3, "TRAIN.SWA.START_EPOCH", 2, "TRAIN.KEEP_EVERY", 1)


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> Taught:
    """Teachers, lists and frames, to be looked at only; each test has its own run folder."""
    return Taught(tmp_path_factory.mktemp("taught"))


@pytest.fixture(scope="module")
def mutual(taught: Taught, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of a small student beside a larger teacher."""
    folder = tmp_path_factory.mktemp("mutual") / "run"
    taught.run(*taught.modes()["dml"], *SMALL, "--output", folder)
    return folder


def test_both_models_learn_and_are_kept(taught: Taught, mutual: Path) -> None:
    content = taught.checkpoint(folder=mutual)
    names = {name.split(".")[0] for name in content["state_dict"]}
    assert names == {"student", "teacher"} == {name.split(".")[0] for name in content["ema"]}
    start = torch.load(taught.same, weights_only=True)["ema"]
    moved = {
        name
        for name, w in start.items()
        if not torch.equal(content["state_dict"][f"teacher.{name}"], w)
    }
    assert moved == {*start}


def test_students_part_of_the_checkpoint_is_tested(
    taught: Taught, mutual: Path, tmp_path: Path
) -> None:
    checkpoint = mutual / "best.pth"
    words = ("--evaluate", "--resume", checkpoint, "--output", tmp_path)
    console = taught.run(*words, has_cfg=False)
    assert f"weights from {checkpoint} (checkpoint, its ema, of a pair the student): " in console
    model = build_model(load_cfg(mutual / "config.yml"))
    load_weights(model, checkpoint)
    ema = taught.checkpoint("best.pth", mutual)["ema"]
    for name, weight in model.state_dict().items():
        assert torch.equal(weight, ema[f"student.{name}"])


def test_validation_is_the_students(taught: Taught, mutual: Path, tmp_path: Path) -> None:
    top1 = [entry["top1"] for entry in log_of(mutual) if entry["kind"] == "val"][-1]
    views = ("TEST.NUM_CLIPS", 1, "TEST.NUM_CROPS", 3)
    words = ("--evaluate", "--resume", mutual / "last.pth", "--output", tmp_path)
    taught.run(*words, *views, has_cfg=False)
    assert taught.results(tmp_path)["top1"] == top1


def log_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def test_teacher_of_a_yml_alone_starts_from_fresh_weights(taught: Taught, tmp_path: Path) -> None:
    words = ("DISTILL.LOSS", "dml", "DISTILL.TEACHER_CFG", taught.config, "TRAIN.EPOCHS", 1)
    console = taught.run("--output", tmp_path / "run", *words)
    assert "teacher: fresh weights" in console


def test_trained_pair_can_be_a_teacher_itself(taught: Taught, mutual: Path, tmp_path: Path) -> None:
    words = ("DISTILL.TEACHER", mutual / "best.pth", "TRAIN.EPOCHS", 1)
    console = taught.run("--output", tmp_path / "run", *words)
    assert "of a pair the student" in console


def test_student_that_started_from_weights_keeps_them_beside_its_teacher(
    taught: Taught, tmp_path: Path
) -> None:
    words = (*taught.modes()["dml"], "--tune_from", taught.same, "OPTIM.LR", 0.0)
    taught.run("--output", tmp_path / "run", *words, "TRAIN.EPOCHS", 1)
    content = taught.checkpoint(folder=tmp_path / "run")["state_dict"]
    start = torch.load(taught.same, weights_only=True)["ema"]
    for name, weight in start.items():
        assert torch.equal(content[f"student.{name}"], weight)
        assert torch.equal(content[f"teacher.{name}"], weight)


# Averages of a pair


def test_average_of_a_pair_is_the_mean_of_both_and_tested_as_its_student(
    taught: Taught, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    words = (*taught.modes()["dml"], *SWA, "TRAIN.EMA_DECAY", 0.0, "TEST.AFTER_TRAINING", True)
    taught.run("--output", run, *words)
    average = taught.checkpoint("swa.pth", run)["state_dict"]
    kept = [run / f"epoch_{epoch}.pth" for epoch in (2, 3)]
    second, third = (torch.load(path, weights_only=True)["state_dict"] for path in kept)
    for name, weight in average.items():
        # a running mean in float32 of weights of order 1
        expected = (second[name] + third[name]) / 2
        torch.testing.assert_close(weight, expected, atol=3e-7, rtol=0, msg=name)
    after_training = taught.results(run)
    taught.run("-e", "--resume", run / "swa.pth", "--output", tmp_path / "swa", has_cfg=False)
    assert taught.results(tmp_path / "swa") == after_training
    averaged = tmp_path / "averaged.pth"
    average_checkpoints.main(["--output", str(averaged), *map(str, kept)])
    content = torch.load(averaged, weights_only=True)["state_dict"]
    assert {*content} == {n.removeprefix("student.") for n in average if n.startswith("student.")}
    for name, weight in content.items():
        expected = average[f"student.{name}"]
        torch.testing.assert_close(weight, expected, atol=3e-7, rtol=0, msg=name)


def test_batch_norms_of_an_averaged_pair_have_statistics_of_their_own(
    taught: Taught, tmp_path: Path
) -> None:
    tsm = ("MODEL.NAME", "tsm", "MODEL.BACKBONE", "resnet18", "MODEL.TSM.WIDTH", 4)
    words = (*tsm, *taught.modes()["dml"], *SWA, "TRAIN.EMA_DECAY", 0.0, "OPTIM.LR", 0.01)
    console = taught.run("--output", tmp_path / "run", *words)
    assert "statistics of 20 batch norms set by a pass over training clips" in console
    average = taught.checkpoint("swa.pth", tmp_path / "run")
    assert average["state_dict"]["student.bn1.num_batches_tracked"] == 3
    words = ("--resume", tmp_path / "run/swa.pth", "--output", tmp_path / "test")
    taught.run("--evaluate", *words, "TEST.NUM_CLIPS", 1, has_cfg=False)
    assert taught.results(tmp_path / "test")["top1"] == average["val_top1"]


def test_resumed_pair_ends_as_the_unbroken_one_with_every_option_on(
    taught: Taught, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    timesformer = tmp_path / "timesformer.yml"
    timesformer.write_text(
        taught.config.read_text().replace("MODEL:\n", "MODEL:\n  NAME: timesformer\n")
    )
    words = (
        *("DISTILL.LOSS", "dml", "DISTILL.TEACHER_CFG", timesformer, "MODEL.PARTIAL_BN", True),
        *("AUG.MIXUP_ALPHA", 0.5, "AUG.CUTMIX_ALPHA", 1.0, "AUG.REPEATS", 2),
        *("OPTIM.GROUPS", "vit", "OPTIM.LAYER_DECAY", 0.75, "OPTIM.WEIGHT_DECAY", 0.05, *SWA),
    )
    unbroken, broken = tmp_path / "unbroken", tmp_path / "broken"
    taught.run("--output", unbroken, *words)
    run_cut_short(taught, monkeypatch, "--output", broken, *words, after=5)
    taught.run("--output", broken, "--resume", broken / "last.pth", *words)
    ours, expected = (taught.checkpoint(folder=folder) for folder in (broken, unbroken))
    for key in (*KEPT, "swa", "swa_epochs"):
        assert_same(ours[key], expected[key], key)
    ours, expected = (taught.checkpoint("swa.pth", folder) for folder in (broken, unbroken))
    assert_same(ours["state_dict"], expected["state_dict"])


# Errors


def test_pair_and_single_model_do_not_resume_each_other(
    taught: Taught, mutual: Path, tmp_path: Path
) -> None:
    run = ("--output", tmp_path / "run")
    words = (*taught.modes()["dml"], *SMALL)
    code, console = taught.outcome(*run, "--resume", taught.same, *words)
    assert code == 1
    assert_clear(console, r"holds one model, this run trains two; --resume needs the DISTILL\.LOSS")
    code, console = taught.outcome(*run, "--resume", mutual / "last.pth", *SMALL)
    assert code == 1
    assert_clear(console, r"holds two models, this run trains one; --resume needs the DISTILL\.L")
