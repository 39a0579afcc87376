import json
from pathlib import Path

import pytest

from tests.test_main import Experiment
from tools import plan


def shown(capsys: pytest.CaptureFixture[str], *words: object) -> dict[str, str]:
    assert plan.main([str(word) for word in words]) == 0
    lines = capsys.readouterr().out.splitlines()
    return {name: text.strip() for name, _, text in (line.partition(":") for line in lines)}


def test_hours_of_a_recipe_by_hand(
    experiment: Experiment, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "plan.json"
    words = ["--gpus", 1, "--videos", 720, "--test-videos", 100, "--clips-per-second", 2]
    keys = ["TRAIN.CLIPS_PER_GPU", 4, "TRAIN.ACCUMULATION", 3, "TRAIN.EPOCHS", 10]
    lines = shown(capsys, experiment.config, *words, "--views-per-second", 10, "--json", out, *keys)
    numbers = json.loads(out.read_text())
    assert numbers["training_hours"] == pytest.approx(10 * 720 / 2 / 3600)
    assert "12 clips a step = 1 GPUs x 4 x 3 accumulated, 60 steps an epoch" in lines["batch"]
    assert "60 minutes, 10 epochs of 720 videos" in lines["training"]
    assert lines["GPUs"].endswith("(given)")
    assert lines["scaling"] == "one GPU waits for no other"
    assert numbers["memory_bytes"] > 0


def test_more_gpus_send_gradients(
    experiment: Experiment, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--gpus", 8, "--nodes", 2, "--clips-per-second", 500, "--cores", 1]
    lines = shown(capsys, experiment.config, *words, "TRAIN.CLIPS_PER_GPU", 2)
    assert lines["GPUs"].startswith("16 (2 x 8)")
    assert "of the time is computed" in lines["scaling"]
    assert "the GPU will wait" in lines["cores"]


def test_speed_comes_from_results(
    experiment: Experiment, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = tmp_path / "results.jsonl"
    row = {"section": "train", "config": experiment.config.stem, "precision": "bf16"}
    rows = [row | {"clips_per_s": 3, "device": "card"}, row | {"clips_per_s": 7, "device": "card"}]
    text = "".join(f"{json.dumps(row)}\n" for row in rows)
    results.write_text(text + '{"section": "tra')  # it was cut off while it was written
    words = [experiment.config, "--gpus", 1, "--results", results]
    assert "7 training clips" in shown(capsys, *words)["GPUs"]
    results.write_text(f"nothing\n{text}")
    with pytest.raises(SystemExit):
        plan.main([str(word) for word in words])
    assert f"error: {results}, line 1: not JSON" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--videos", "7", "--gpus", "8"], "7 videos are fewer than one batch of 8 GPUs"),
        (["--results", "nowhere.jsonl"], "cannot read the results nowhere.jsonl"),
        (["TRAIN.GLOBAL_BATCH", "9"], "TRAIN.GLOBAL_BATCH=9; it must be a multiple of"),
    ],
)
def test_faults_are_told_in_a_line(
    words: list[str], told: str, experiment: Experiment, capsys: pytest.CaptureFixture[str]
) -> None:
    gpus = [] if "--gpus" in words else ["--gpus", "1"]
    keys = ["TRAIN.CLIPS_PER_GPU", "4"]
    with pytest.raises(SystemExit):
        plan.main([str(experiment.config), *gpus, *words, *keys])
    out = capsys.readouterr().out
    assert told in out
    assert "Traceback" not in out
