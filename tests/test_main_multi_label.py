"""Videos of several classes, from the list to the figures."""

import json
import re
from pathlib import Path

import pytest

from engine.checkpoint_folder import CheckpointFolder
from tests.test_main import Experiment
from tools.rescore import main as rescore

SEVERAL = ("DATA.MULTI_LABEL", True)


@pytest.fixture
def experiment(tmp_path: Path) -> Experiment:
    """Every other video has the next class, too."""
    experiment = Experiment(tmp_path)
    for split in ("train", "val"):
        listed = tmp_path / f"{split}.txt"
        lines = [line.rsplit(maxsplit=1) for line in listed.read_text().splitlines()]
        second = (f",{(int(label) + 1) % 3}" if i % 2 else "" for i, (_, label) in enumerate(lines))
        content = zip(lines, second, strict=True)
        listed.write_text("".join(f"{start} {label}{more}\n" for (start, label), more in content))
    return experiment


def test_run_on_several_classes_is_judged_by_map(
    experiment: Experiment, capsys: pytest.CaptureFixture[str]
) -> None:
    mixes = ("AUG.MIXUP_ALPHA", 0.4, "AUG.CUTMIX_ALPHA", 1.0)
    console = experiment.run(*SEVERAL, *mixes, "TEST.AFTER_TRAINING", True)
    assert "epoch 2 validated: 3 views each, mAP " in console
    assert "test of 6 of 6 videos, 30 views each: mAP " in console
    folder = experiment.run_folder
    found, best = experiment.results(), CheckpointFolder(folder).record()
    assert 0 < found["map"] <= 100
    assert {*found["per_class_ap"]} == {"0", "1", "2"}
    assert found["run"]["lists"]["test"]["num_classes"] == 3
    assert best.metric == "map"
    assert best.top1 == max(entry["map"] for entry in experiment.log("val"))
    assert not [*folder.glob("confusion.*")]

    assert rescore([str(folder / "scores.npz"), "--json", str(folder / "re.json")]) == 0
    shown = capsys.readouterr().out
    assert re.search(r"^views  averaged +mAP +top1\n", shown, re.MULTILINE)
    rows = json.loads((folder / "re.json").read_text())
    of_test = next(r for r in rows if (r["views"], r["averaged"]) == ("10x3", "logits"))
    assert of_test["map"] == found["map"]
    assert {row["averaged"] for row in rows} == {"logits", "sigmoids"}

    weights = folder / "best.pth"
    again = experiment.run(
        *("--evaluate", "--resume", weights, "--output", folder / "sigmoids"),
        *("TEST.AVERAGE_LOGITS", False),
        has_cfg=False,
    )
    assert "mAP" in again
    protocol = experiment.results(folder / "sigmoids")["protocol"]
    assert protocol.endswith("sigmoids averaged")

    code, text = experiment.outcome("--resume", "DATA.MULTI_LABEL", False)
    assert code == 1
    assert "several labels, 0,1, which DATA.MULTI_LABEL True takes" in text


def test_run_of_one_class_does_not_go_on_with_several(experiment: Experiment) -> None:
    for split in ("train", "val"):
        listed = experiment.folder / f"{split}.txt"
        listed.write_text("".join(f"{x.split(',')[0]}\n" for x in listed.read_text().splitlines()))
    experiment.run("TRAIN.EPOCHS", 1)
    code, text = experiment.outcome("--resume", "TRAIN.EPOCHS", 2, *SEVERAL)
    assert code == 1
    assert "of a run with DATA.MULTI_LABEL False, now it is True: --resume goes on with" in text
