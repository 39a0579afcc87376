import json
from pathlib import Path
from typing import Any

import pytest

from config import load_cfg_text
from engine.kept_records import RecordedPart, cut_records
from engine.run_folder import RunFolder
from engine.run_log import RunLog, open_runlog

NUM_ITERATIONS = 4  # of an epoch


def record(runlog: RunLog, first: int, end: int, validates: bool = True) -> None:
    """Record the batches from one to another, and each epoch's end, as the training does."""
    for step in range(first + 1, end + 1):
        epoch, iteration = divmod(step - 1, NUM_ITERATIONS)
        runlog.scalars(step - 1, {"Iteration/loss": float(step), "Iteration/lr": 0.1})
        runlog.line("train", epoch=epoch + 1, iteration=iteration + 1, step=step)
        if iteration + 1 == NUM_ITERATIONS:
            runlog.scalars(
                epoch, {"Loss/train": 1.0, "LearningRate": 0.1, "Accuracy/train_top1": 1}
            )
            runlog.scalars(epoch + 1, {"train/loss": 1.0})
            if validates:
                validate(runlog, epoch)


def validate(runlog: RunLog, epoch: int, kind: str = "val") -> None:
    tag = "test" if kind == "val" else kind
    runlog.scalars(epoch, {f"Loss/{tag}": 1.0, f"Accuracy/{tag}_top1": 1.0})
    runlog.scalars(epoch + 1, {f"{kind}/top1": 1.0, f"{kind}_top1_of_class/0_up": 1.0})
    if kind == "val":
        runlog.scalars(epoch, {"Accuracy/best_test_top1": 1.0})
        runlog.scalars(epoch + 1, {"val/best_top1": 1.0})
    runlog.line(kind, epoch=epoch + 1, top1=1.0)


def lines_of(folder: Path, kind: str) -> list[dict[str, Any]]:
    lines = (folder / "log.jsonl").read_text().splitlines()
    return [entry for line in lines if (entry := json.loads(line))["kind"] == kind]


def steps_of(folder: Path) -> dict[str, list[int]]:
    from engine.event_files import _read_records

    steps: dict[str, list[int]] = {}
    for path in sorted((folder / "tensorboard").iterdir()):
        for _, event in _read_records(path):
            for value in event.summary.value:
                steps.setdefault(value.tag, []).append(event.step)
    return {tag: sorted(found) for tag, found in steps.items()}


def test_each_step_stands_once_after_any_number_of_kills(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    runlog = open_runlog(folder, is_main=True)
    saved, reached = 0, 3
    for _ in range(4):  # killed three batches after each save
        assert isinstance(runlog, RunLog)
        runlog.line("start", command="train")
        runlog.config(load_cfg_text("SEED: 1", "test"))
        record(runlog, saved, reached)
        runlog.close()
        saved = reached - 1
        epoch = saved // NUM_ITERATIONS
        part = RecordedPart(iterations=saved, epochs=epoch, validated=epoch)
        with (folder.path / "log.jsonl").open("a") as file:
            file.write('{"kind": "train", "epo')
        runlog = open_runlog(folder, is_main=True, part=part)
        reached = saved + 4
    assert isinstance(runlog, RunLog)
    record(runlog, saved, 12)
    runlog.close()
    assert [line["step"] for line in lines_of(folder.path, "train")] == [*range(1, 13)]
    assert [line["epoch"] for line in lines_of(folder.path, "val")] == [1, 2, 3]
    assert len(lines_of(folder.path, "start")) == 4
    steps = steps_of(folder.path)
    assert steps.pop("Iteration/loss") == steps.pop("Iteration/lr") == [*range(12)]
    assert not any(tag.startswith(("config", "_hparams_")) for tag in steps)  # said by each start
    ours = {tag for tag in steps if tag.startswith(("train", "val"))}
    assert len(ours) == 4
    assert all(steps.pop(tag) == [1, 2, 3] for tag in ours)
    assert len(steps) == 6  # the release's
    assert set(map(tuple, steps.values())) == {(0, 1, 2)}


def test_epoch_that_awaits_its_validation_keeps_its_training(tmp_path: Path) -> None:
    runlog = RunLog(tmp_path)
    record(runlog, 0, 8)
    runlog.close()
    cut_records(tmp_path, RecordedPart(iterations=8, epochs=2, validated=1))
    assert len(lines_of(tmp_path, "train")) == 8
    assert [line["epoch"] for line in lines_of(tmp_path, "val")] == [1]
    steps = steps_of(tmp_path)
    assert steps["Loss/train"] == steps["LearningRate"] == steps["Accuracy/train_top1"] == [0, 1]
    assert steps["Loss/test"] == steps["Accuracy/test_top1"] == [0]
    assert steps["Accuracy/best_test_top1"] == [0]
    assert steps["train/loss"] == [1, 2]
    assert steps["val/top1"] == steps["val/best_top1"] == steps["val_top1_of_class/0_up"] == [1]


def test_averaged_weights_are_validated_anew(tmp_path: Path) -> None:
    runlog = RunLog(tmp_path)
    record(runlog, 0, 8)
    validate(runlog, epoch=1, kind="swa")
    runlog.close()
    cut_records(tmp_path, RecordedPart(iterations=8, epochs=2, validated=2))
    assert not lines_of(tmp_path, "swa")
    assert [line["epoch"] for line in lines_of(tmp_path, "val")] == [1, 2]
    steps = steps_of(tmp_path)
    assert not {"Loss/swa", "swa/top1", "swa_top1_of_class/0_up"} & steps.keys()
    assert steps["Loss/test"] == [0, 1]
    assert steps["val/top1"] == [1, 2]


def test_test_of_the_last_epoch_is_made_anew(tmp_path: Path) -> None:
    runlog = RunLog(tmp_path)
    for epochs in (1, 2):
        runlog.scalars(epochs, {"test/top1": 1.0, "test_top1_of_class/0_up": 1.0})
    runlog.close()
    cut_records(tmp_path, RecordedPart(iterations=8, epochs=2, validated=2))
    assert steps_of(tmp_path) == {"test/top1": [1], "test_top1_of_class/0_up": [1]}


def test_run_that_goes_back_to_an_older_checkpoint_loses_what_came_after(tmp_path: Path) -> None:
    runlog = RunLog(tmp_path)
    record(runlog, 0, 12)
    runlog.close()
    cut_records(tmp_path, RecordedPart(iterations=4, epochs=1, validated=3))
    assert [line["epoch"] for line in lines_of(tmp_path, "val")] == [1]
    assert steps_of(tmp_path)["Loss/test"] == [0]
    assert steps_of(tmp_path)["val/top1"] == [1]


@pytest.mark.parametrize(
    ("line", "stays"),
    [
        ({"kind": "train", "epoch": 0, "iteration": 9}, True),  # older lines lack the step
        ({"kind": "train", "epoch": 1, "iteration": 1}, False),
        ({"kind": "mine", "epoch": 7}, True),
        ({"what": 1}, True),
    ],
)
def test_lines_of_older_and_of_unknown_kinds(
    line: dict[str, Any], stays: bool, tmp_path: Path
) -> None:
    text = json.dumps(line)
    (tmp_path / "log.jsonl").write_text(text)  # its end is lost, it is whole all the same
    cut_records(tmp_path, RecordedPart(iterations=4, epochs=1, validated=1))
    assert (tmp_path / "log.jsonl").read_text() == (text + "\n" if stays else "")


def test_folder_without_records_is_no_error(tmp_path: Path) -> None:
    cut_records(tmp_path, RecordedPart(iterations=4, epochs=1, validated=1))
    assert not [*tmp_path.iterdir()]
