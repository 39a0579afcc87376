import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.test_main import Experiment, process_restored
from tools import doctor


def run(*words: object) -> tuple[Any, str]:
    """Run the tool here; return its exit code and what it prints."""
    text = io.StringIO()
    with process_restored(), contextlib.redirect_stdout(text), contextlib.redirect_stderr(text):
        try:
            code = doctor.main([*map(str, words)])
        except SystemExit as end:
            code = end.code
    return code, text.getvalue()


def snapshot(folder: Path) -> dict[Path, tuple[int, bytes]]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in files}


def test_sound_run_is_ready_and_nothing_is_changed(experiment: Experiment) -> None:
    before = snapshot(experiment.folder)
    run_folder = ("OUTPUT_DIR", experiment.run_folder)
    code, text = run("--cfg", experiment.config, "--processes", 1, *run_folder)
    assert code == 0, text
    assert "verdict: ready to run" in text
    for name in doctor.CHECKS:
        assert f"\n{name}\n" in f"\n{text}"
    assert snapshot(experiment.folder) == before


def test_what_must_be_mended_fails_and_is_kept_for_machines(experiment: Experiment) -> None:
    (experiment.frames / "red/train_0/img_00001.jpg").unlink(missing_ok=True)
    broken = next(experiment.frames.rglob("val_0"))
    for file in broken.iterdir():
        file.write_bytes(b"no image")
    out, damaged = experiment.folder / "out.json", experiment.folder / "damaged.txt"
    words = ("--json", out, "--damaged", damaged, "--skip-speed", "--sample", "all")
    code, text = run("--cfg", experiment.config, "--processes", 1, *words)
    assert code == 1
    assert "speed" not in text
    content = json.loads(out.read_text())
    errors = [finding for finding in content["findings"] if finding["level"] == "error"]
    assert not content["ready"]
    assert "val: 1 of 6 videos are damaged" in errors[-1]["text"]
    video, reason = damaged.read_text().splitlines()[-1].split("\t")
    assert (experiment.frames / video) == broken
    assert "UnidentifiedImageError" in reason


def test_fault_in_the_config_is_said_without_a_traceback(experiment: Experiment) -> None:
    code, text = run("--cfg", experiment.config, "OPTIM.RATE", 1)
    assert code == 1
    assert "unknown key 'OPTIM.RATE'" in text
    assert "Traceback" not in text


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("--sample", "0"), "takes a number from 1 or 'all', got '0'"),
        (("--json", "/no/folder/out.json"), "/no/folder is not a folder"),
    ],
)
def test_option_that_cannot_be_is_said(
    words: tuple[str, ...], reason: str, experiment: Experiment
) -> None:
    code, text = run("--cfg", experiment.config, *words)
    assert code
    assert reason in text


def test_interrupt_ends_quietly(
    experiment: Experiment, repository: Path, takes_interrupts: Callable[[], None]
) -> None:
    lines = (experiment.folder / "train.txt").read_text() * 4000
    (experiment.folder / "train.txt").write_text(lines)
    command = [sys.executable, "tools/doctor.py", "--cfg", str(experiment.config)]
    process = subprocess.Popen(
        [*command, "--sample", "all", "--workers", "0"],
        cwd=repository,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=takes_interrupts,
    )
    assert process.stdout is not None
    for line in process.stdout:
        if line == "files\n":
            break
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert out.endswith("stopped by the user\n")
    assert "Traceback" not in err
