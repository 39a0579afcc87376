"""The diff of docs/architecture.md gives a model that everything can be done with."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.test_main import Experiment

ROOMS = ("config", "datasets", "engine", "models", "ops", "tools", "main_ddp_shift.py")
LIMIT = 60  # lines that a new model may take
SCRIPT = """
import sys
import main_ddp_shift
from tools import export, predict

config, run, video = sys.argv[1:]
keys = ["MODEL.NAME", "frameconv", "MODEL.FRAMECONV.WIDTH", "8", "TRAIN.EPOCHS"]
decay = ["OPTIM.LAYER_DECAY", "0.5"]
main_ddp_shift.main(["--cfg", config, *keys, "1", *decay])
main_ddp_shift.main(["--cfg", config, "--resume", f"{run}/last.pth", *keys, "2", *decay])
main_ddp_shift.main(["--evaluate", "--resume", f"{run}/last.pth", "TEST.NUM_CLIPS", "2"])
predict.main(["--checkpoint", f"{run}/last.pth", "--input", video, "--json", f"{run}/answer.json"])
export.main(["--checkpoint", f"{run}/last.pth", "--output", f"{run}/model.pt2", "--clips", video])
other = ["--output", f"{run}_tuned", "MODEL.NUM_CLASSES", "4"]
main_ddp_shift.main(["--cfg", config, "--tune_from", f"{run}/last.pth", *other, *keys, "1"])
"""


@pytest.fixture
def diff(repository: Path) -> str:
    text = (repository / "docs/architecture.md").read_text()
    (found,) = re.findall(r"^```diff\n(.*?)^```$", text, re.M | re.S)
    return found


@pytest.fixture
def copy(repository: Path, tmp_path: Path) -> Path:
    """The source files of this repository, in a folder of their own."""
    folder = tmp_path / "copy"
    ignored = shutil.ignore_patterns("__pycache__", "*.pth")
    for room in ROOMS:
        source = repository / room
        if source.is_dir():
            shutil.copytree(source, folder / room, ignore=ignored)
        else:
            shutil.copy(source, folder / room)
    return folder


def in_copy(folder: Path, *words: object, text: str | None = None) -> str:
    settings = {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(folder)}
    done = subprocess.run(
        [*map(str, words)],
        cwd=folder,
        env=os.environ | settings | {"GIT_CEILING_DIRECTORIES": str(folder.parent)},
        input=text,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert not done.returncode, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_the_diff_is_short(diff: str) -> None:
    added = [line for line in diff.splitlines() if re.match(r"\+(?!\+\+ )", line)]
    assert len(added) < LIMIT


def test_the_model_of_the_diff_trains_resumes_tests_predicts_and_is_exported(
    diff: str, copy: Path, tmp_path: Path
) -> None:
    in_copy(copy, "git", "apply", "-", text=diff)
    experiment = Experiment(tmp_path)
    run, video = experiment.run_folder, experiment.frames / "run/val_0"
    text = in_copy(copy, sys.executable, "-c", SCRIPT, experiment.config, run, video)
    assert "one convolution over 3 frames" in text
    assert re.search(r"resumed \S+/last.pth after 1 epochs", text)
    assert experiment.checkpoint()["epoch"] == 2
    assert experiment.results()["num_videos"] == 6
    assert len(json.loads((run / "answer.json").read_text())["ranks"]) == 3
    assert (run / "model.pt2").stat().st_size
    assert "re-initialised: classifier.weight: as drawn, (3, 8) in the file, (4, 8)" in text
