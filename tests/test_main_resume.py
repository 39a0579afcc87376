import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import main_ddp_shift
from engine.checkpoint_folder import CheckpointFolder
from tests.test_main import Experiment, assert_same, scalars_of

KEPT = ("state_dict", "ema", "ema_steps", "optimizer", "scaler", "best_acc1", "epoch", "rng")
MID_EPOCH_1, END_OF_EPOCH_1, MID_EPOCH_2, END_OF_EPOCH_2 = range(1, 5)  # with CHECKPOINT_STEPS 1


@pytest.fixture
def experiment(tmp_path: Path) -> Experiment:
    return Experiment(tmp_path)


class PowerCutError(Exception):
    """Ends a run."""


def run_cut_short(
    experiment: Experiment, patch: pytest.MonkeyPatch, *words: object, after: int = MID_EPOCH_2
) -> None:
    """Run with a checkpoint after each step, and end right after the one of that number."""
    save, num_saved = CheckpointFolder.save, 0

    def cut(folder: CheckpointFolder, content: dict[str, Any]) -> None:
        nonlocal num_saved
        save(folder, content)
        num_saved += 1
        if num_saved == after:
            raise PowerCutError

    with patch.context() as patched:
        patched.setattr(CheckpointFolder, "save", cut)
        with pytest.raises(PowerCutError):
            experiment.run(*words, "TRAIN.CHECKPOINT_STEPS", 1)


def log_of(folder: Path, kind: str, *keys: str) -> list[tuple[Any, ...]]:
    """The values of some keys in the lines of one kind in log.jsonl."""
    entries = map(json.loads, (folder / "log.jsonl").read_text().splitlines())
    return [tuple(entry[key] for key in keys) for entry in entries if entry["kind"] == kind]


def script_top1(patch: pytest.MonkeyPatch, top1s: list[float]) -> None:
    """Have the validations of the epochs give these figures."""
    patch.setattr(main_ddp_shift, "validate", lambda *args: top1s[args[3] - 1])


# A run that goes on is the run that never stopped


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("OPTIM.NAME", "adamw", "OPTIM.SCHEDULE", "cosine", "OPTIM.LR", 0.01),
        ("TRAIN.AMP", "bf16", "MODEL.DROP_PATH", 0.3),
        ("-j", 2),
        ("OPTIM.MOMENTUM", 0.0, "TRAIN.EMA_DECAY", 0.0, "MODEL.PARTIAL_BN", True),
        ("TRAIN.CHECKPOINT_LAYOUT", "released"),
        (
            *("OPTIM.NAME", "adamw", "OPTIM.GROUPS", "vit", "OPTIM.LAYER_DECAY", 0.75),
            *("OPTIM.LR", 0.01, "OPTIM.WEIGHT_DECAY", 0.05, "MODEL.PARTIAL_BN", True),
        ),
        ("AUG.MIXUP_ALPHA", 0.2, "AUG.CUTMIX_ALPHA", 1.0, "AUG.MIX_PROB", 0.75),
        ("TRAIN.LAST_GROUP", "drop", "OPTIM.GROUPS", "pp_timesformer", "OPTIM.NESTEROV", True),
    ],
    ids=[
        *("sgd", "adamw and cosine", "bf16 and drop path", "workers", "no momentum", "released"),
        *("layers", "mixing", "dropped group"),
    ],
)
def test_resumed_run_ends_as_the_unbroken_one_to_the_last_bit(
    words: tuple[object, ...], experiment: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    unbroken, broken = experiment.folder / "unbroken", experiment.folder / "broken"
    last = "ckpt_e1.pth" if "released" in words else "last.pth"
    experiment.run("--output", unbroken, *words)
    run_cut_short(experiment, monkeypatch, "--output", broken, *words)
    assert CheckpointFolder(broken).record().validated == 1
    assert experiment.checkpoint(CheckpointFolder(broken).newest().name, broken)["epoch"] == 1
    console = experiment.run("--output", broken, "--resume", *words)
    assert "after 1 epochs and 8 clips of the next" in console
    ours, expected = (experiment.checkpoint(last, folder) for folder in (broken, unbroken))
    assert {*KEPT} - ours.keys() <= {"ema", "ema_steps"}  # where there is no average
    for key in KEPT:
        assert_same(ours.get(key), expected.get(key), key)


def test_balanced_epoch_goes_on_where_it_was_cut(
    experiment: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = experiment.folder / "train.txt"
    paths = [line.rsplit(maxsplit=1)[0] for line in listed.read_text().splitlines()]
    labels = [0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 2]
    listed.write_text("".join(f"{p} {n}\n" for p, n in zip(paths, labels, strict=True)))
    unbroken, broken = experiment.folder / "unbroken", experiment.folder / "broken"
    words = ("DATA.BALANCE", 0.8, "LOSS.CLASS_WEIGHTS", "frequency")
    console = experiment.run("--output", unbroken, *words)
    assert "DATA.BALANCE 0.8: of 12 clips drawn an epoch 3.2 are of '2', which has 1 video, " in (
        console
    )
    assert "LOSS.CLASS_WEIGHTS frequency: a clip counts from" in console
    ((balance, weights),) = log_of(unbroken, "start", "class_balance", "class_weights")
    assert balance == 0.8
    assert weights[0] < 1 < weights[2]
    run_cut_short(experiment, monkeypatch, "--output", broken, *words)
    experiment.run("--output", broken, "--resume", *words)
    ours, expected = (experiment.checkpoint(folder=folder) for folder in (broken, unbroken))
    for key in KEPT:
        assert_same(ours.get(key), expected.get(key), key)


@pytest.mark.parametrize("after", [MID_EPOCH_1, END_OF_EPOCH_1, MID_EPOCH_2, END_OF_EPOCH_2])
def test_run_goes_on_from_wherever_it_was_cut(
    after: int, experiment: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    unbroken, broken = experiment.folder / "unbroken", experiment.folder / "broken"
    experiment.run("--output", unbroken)
    run_cut_short(experiment, monkeypatch, "--output", broken, after=after)
    num_validated = {END_OF_EPOCH_2: 1, MID_EPOCH_2: 1}.get(after, 0)
    assert len(log_of(broken, "val", "epoch")) == num_validated
    experiment.run("--output", broken, "--resume", "auto")
    ours, expected = (experiment.checkpoint(folder=folder) for folder in (broken, unbroken))
    for key in (*KEPT, "position"):
        assert_same(ours.get(key), expected.get(key), key)
    best, same = (experiment.checkpoint("best.pth", folder) for folder in (broken, unbroken))
    assert_same(best["state_dict"], same["state_dict"])
    records = [CheckpointFolder(folder).record() for folder in (broken, unbroken)]
    assert records[0] == records[1]
    for kind, keys in (("train", ("epoch", "iteration", "top1")), ("val", ("epoch", "top1"))):
        assert log_of(broken, kind, *keys) == log_of(unbroken, kind, *keys)


def test_weights_do_not_depend_on_the_number_of_workers(experiment: Experiment) -> None:
    alone, helped = experiment.folder / "alone", experiment.folder / "helped"
    experiment.run("--output", alone, "-j", 0)
    experiment.run("--output", helped, "-j", 2)
    ours, expected = (experiment.checkpoint(folder=folder) for folder in (helped, alone))
    assert_same(ours["state_dict"], expected["state_dict"])


def test_run_of_more_epochs_goes_on_from_one_that_ended(experiment: Experiment) -> None:
    longer, unbroken = experiment.folder / "longer", experiment.folder / "unbroken"
    experiment.run("TRAIN.EPOCHS", 1)
    last = experiment.run_folder / "last.pth"
    experiment.run("--output", longer, "--resume", last, "TRAIN.EPOCHS", 3)
    experiment.run("--output", unbroken, "TRAIN.EPOCHS", 3)
    ours, expected = (experiment.checkpoint(folder=folder) for folder in (longer, unbroken))
    assert_same(ours["state_dict"], expected["state_dict"])


def test_logs_of_a_resumed_run_go_on_where_they_ended(experiment: Experiment) -> None:
    experiment.run("TRAIN.EPOCHS", 1)
    time.sleep(1)  # TensorBoard's files are named by the second
    console = experiment.run("--resume", experiment.run_folder / "last.pth")
    assert "after 1 epochs" in console
    assert [entry["epoch"] for entry in experiment.log("val")] == [1, 2]
    steps = [step for step, _ in scalars_of(experiment.run_folder / "tensorboard")["Loss/test"]]
    assert steps == [0, 1]
    assert "epoch 1 validated" in (experiment.run_folder / "train.log").read_text()
    assert len(list(experiment.folder.glob("run*"))) == 1  # nothing is put aside


def test_settings_of_a_resumed_run_are_those_of_its_config(experiment: Experiment) -> None:
    experiment.run("TRAIN.EPOCHS", 1)
    last = experiment.run_folder / "last.pth"
    experiment.run("--resume", last, "OPTIM.LR", 0.4, "OPTIM.MOMENTUM", 0.3)
    assert [entry["lr"] for entry in experiment.log("train")][3:] == 3 * [0.4 * 0.1]
    (group,) = experiment.checkpoint()["optimizer"]["param_groups"]
    assert group["momentum"] == 0.3


def test_run_that_is_complete_trains_no_more(experiment: Experiment) -> None:
    experiment.run("TRAIN.EPOCHS", 1)
    last = experiment.run_folder / "last.pth"
    before = last.read_bytes()
    experiment.run("--resume", last, "TRAIN.EPOCHS", 1)
    assert last.read_bytes() == before
    assert len(experiment.log("train")) == 3


def test_start_epoch_skips_epochs_and_their_rates(experiment: Experiment) -> None:
    experiment.run("--start-epoch", 1)
    assert [entry["epoch"] for entry in experiment.log("train")] == 3 * [2]
    assert [entry["lr"] for entry in experiment.log("train")] == 3 * [0.1 * 0.1]


# Which checkpoint


def test_bare_resume_takes_the_newest_checkpoint_of_the_run_folder(
    experiment: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_cut_short(experiment, monkeypatch)
    console = experiment.run("--resume", "TRAIN.EPOCHS", 2)
    assert f"resumed {experiment.run_folder / 'last.pth'} after 1 epochs" in console
    experiment.run("--resume", "TRAIN.EPOCHS", 3, "TRAIN.CHECKPOINT_LAYOUT", "released")
    console = experiment.run("--resume", "TRAIN.EPOCHS", 4)  # of either layout
    assert f"resumed {experiment.run_folder / 'ckpt_e2.pth'} after 3 epochs" in console


def test_bare_resume_without_a_checkpoint_is_an_error(experiment: Experiment) -> None:
    code, text = experiment.outcome("--resume")
    assert code == 1
    assert f"found no checkpoint in the run folder {experiment.run_folder}" in text
    assert "Traceback" not in text
    assert not experiment.run_folder.exists()


def test_fresh_run_into_a_used_folder_keeps_the_old_one_aside(experiment: Experiment) -> None:
    experiment.run("TRAIN.EPOCHS", 1)
    before = experiment.checkpoint()
    for number in (1, 2):
        console = experiment.run("TRAIN.EPOCHS", 1, "--seed", number)
        kept = experiment.folder / f"run.{number}"
        assert f"held a run; it is now {kept}" in console
        assert len(experiment.log("train")) == 3
    assert_same(experiment.checkpoint(folder=experiment.folder / "run.1"), before)
    seeds = [
        experiment.checkpoint(folder=experiment.folder / name)["config"]
        for name in ("run.2", "run")
    ]
    assert "SEED: 1" in seeds[0]
    assert "SEED: 2" in seeds[1]


def test_best_checkpoint_stays_that_of_the_best_epoch(
    experiment: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    script_top1(monkeypatch, [40.0, 60.0, 50.0, 60.0, 70.0])
    for epochs in (2, 4):
        experiment.run(*(("--resume",) if epochs > 2 else ()), "TRAIN.EPOCHS", epochs)
        assert experiment.checkpoint("best.pth")["epoch"] == 2
        assert experiment.checkpoint("last.pth")["epoch"] == epochs
        record = CheckpointFolder(experiment.run_folder).record()
        assert (record.top1, record.epoch, record.validated) == (60.0, 2, epochs)
    assert experiment.checkpoint("last.pth")["best_acc1"] == 60.0  # the best of the epochs before
    experiment.run("--resume", "TRAIN.EPOCHS", 5)
    assert experiment.checkpoint("best.pth")["epoch"] == 5


def test_resume_into_another_folder_without_a_better_epoch_ends_well(
    experiment: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    script_top1(monkeypatch, [60.0, 50.0])
    experiment.run("TRAIN.EPOCHS", 1)
    other = experiment.folder / "other"
    code, text = experiment.outcome(
        "--resume", experiment.run_folder / "last.pth", "--output", other
    )
    assert code == 0, text
    assert experiment.checkpoint(folder=other)["epoch"] == 2


def test_best_of_a_run_resumed_elsewhere_is_the_best_epoch_there(
    experiment: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    script_top1(monkeypatch, [60.0, 50.0, 55.0])
    experiment.run("TRAIN.EPOCHS", 1)
    words = ("--resume", experiment.run_folder / "last.pth", "TRAIN.EPOCHS", 3)
    experiment.run(*words, "--output", experiment.folder / "other")
    assert experiment.checkpoint("best.pth", experiment.folder / "other")["epoch"] == 3


def test_run_that_is_complete_has_nothing_to_do_in_another_folder(experiment: Experiment) -> None:
    experiment.run("TRAIN.EPOCHS", 1)
    last, other = experiment.run_folder / "last.pth", experiment.folder / "other"
    code, text = experiment.outcome("--resume", last, "--output", other, "TRAIN.EPOCHS", 1)
    assert code == 1
    assert f"{last} is of a run that has done all TRAIN.EPOCHS=1, so there is nothing to do" in text
    assert "Traceback" not in text
    assert not other.exists()


# The release's layout


def test_released_layout_has_the_release_s_names_and_keeps_as_many_as_it_is_told(
    experiment: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    script_top1(monkeypatch, [60.0, 50.0, 70.0, 65.0])
    layout = ("TRAIN.CHECKPOINT_LAYOUT", "released")
    for epochs, files in (
        (2, {"ckpt_e0.pth", "ckpt_e1.pth", "best_ckpt_e0.pth"}),
        (4, {"ckpt_e2.pth", "ckpt_e3.pth", "best_ckpt_e2.pth"}),  # also across a resume
    ):
        experiment.run(*(("--resume",) if epochs > 2 else ()), *layout, "TRAIN.EPOCHS", epochs)
        assert {path.name for path in experiment.run_folder.glob("*.pth")} == files
    checkpoint = experiment.checkpoint("ckpt_e3.pth")
    assert {"epoch", "state_dict", "best_acc1", "optimizer", "scheduler"} <= checkpoint.keys()
    assert (checkpoint["epoch"], checkpoint["best_acc1"]) == (4, 70.0)
    names = list(checkpoint["state_dict"])
    assert names[:2] == [
        "module.base_model.transformer.embeddings.position_embeddings",
        "module.base_model.transformer.embeddings.cls_token",
    ]
    assert "module.base_model.transformer.encoder.layer.1.attn.query.weight" in names
    assert names[-2:] == ["module.base_model.head.weight", "module.base_model.head.bias"]
    buffers = checkpoint["optimizer"]["state"]
    shapes = [weight.shape for weight in checkpoint["state_dict"].values()]
    assert [buffers[index]["momentum_buffer"].shape for index in range(len(names))] == shapes


def test_released_layout_tests_as_the_plain_one(experiment: Experiment) -> None:
    logits = []
    for layout, name in (("plain", "last.pth"), ("released", "ckpt_e1.pth")):
        folder = experiment.folder / layout
        experiment.run("--output", folder, "TRAIN.CHECKPOINT_LAYOUT", layout)
        experiment.run("--evaluate", "--resume", folder / name, "--output", folder)
        with np.load(folder / "scores.npz") as scores:
            logits.append(scores["view_logits"])
    np.testing.assert_array_equal(*logits)


# What cannot be resumed


def test_weights_alone_cannot_be_resumed_and_the_text_names_tune_from(
    experiment: Experiment,
) -> None:
    experiment.run("TRAIN.EPOCHS", 1)
    weights = experiment.folder / "weights.pth"
    torch.save(experiment.checkpoint()["state_dict"], weights)
    arrays = experiment.folder / "weights.npz"
    np.savez(arrays, cls=np.zeros(3))
    for path in (weights, arrays):
        code, text = experiment.outcome("--resume", path)
        assert code == 1
        assert f"--tune_from {path}" in text
        assert "Traceback" not in text


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("MODEL.NUM_CLASSES", 4), "head.bias: (3,) in the file, (4,) in the model"),
        (("MODEL.VIT.NUM_LAYERS", 1), "left over: blocks.1."),
        (("DATA.IMAGE_SIZE", 32), "--resume goes on with the same run"),
    ],
)
def test_checkpoint_of_another_model_cannot_be_resumed(
    words: tuple[object, ...], reason: str, experiment: Experiment
) -> None:
    experiment.run("TRAIN.EPOCHS", 1)
    before = experiment.checkpoint()
    code, text = experiment.outcome("--resume", experiment.run_folder / "last.pth", *words)
    assert code == 1
    assert reason in text
    assert "Traceback" not in text
    assert_same(experiment.checkpoint(), before)


@pytest.mark.parametrize(
    "words", [("OPTIM.GROUPS", "vit"), ("OPTIM.LAYER_DECAY", 0.5)], ids=["groups", "layers"]
)
def test_momentum_of_other_groups_cannot_be_resumed(
    words: tuple[object, ...], experiment: Experiment
) -> None:
    experiment.run("TRAIN.EPOCHS", 1)
    last = experiment.run_folder / "last.pth"
    code, text = experiment.outcome("--resume", last, *words)
    assert code == 1
    assert "--resume needs the OPTIM.GROUPS and MODEL.PARTIAL_BN of the run" in text
    assert "and its OPTIM.LAYER_DECAY on or off" in text
    assert "Traceback" not in text


def test_optimizer_of_another_kind_cannot_be_resumed(experiment: Experiment) -> None:
    experiment.run("TRAIN.EPOCHS", 1)
    last = experiment.run_folder / "last.pth"
    code, text = experiment.outcome("--resume", last, "OPTIM.NAME", "adamw")
    assert code == 1, text
    assert "OPTIM.NAME" in text or "optimizer" in text
    assert "Traceback" not in text
