import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

MINUTES = 8


@pytest.fixture
def script(repository: Path) -> Path:
    return repository / "tools/gpu_check.sh"


def test_all_parts_together_keep_the_time(script: Path) -> None:
    """Each part ends at its own limit, whatever hangs: they add up to less than the whole."""
    text = script.read_text()
    limits = [int(limit) for limit in re.findall(r"^ *(?:measure|part) [a-z]+ (\d+) ", text, re.M)]
    loops = {"parity_$name": 3, "train_$name": 5}
    for name, times in loops.items():
        (limit,) = re.findall(rf'"{re.escape(name)}" (\d+) ', text)
        limits.append(times * int(limit))
    assert len(limits) == 10
    assert sum(limits) <= 60 * MINUTES


def test_a_part_that_fails_does_not_end_the_others(script: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = subprocess.run(
        ["bash", script, out, "--device", "cpu", "--tiny"],
        env={**os.environ, "PYTHON": "false"},
        capture_output=True,
        text=True,
        check=False,
    )
    parts = [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]
    assert done.returncode == 1
    assert {part["status"] for part in parts} == {1}
    assert [part["what"] for part in parts][-1] == "quickstart"
    assert "tests" not in [part["what"] for part in parts]  # of a GPU


@pytest.mark.slow
def test_the_whole_runs_on_a_cpu(script: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    subprocess.run(
        ["bash", script, out, "--device", "cpu", "--tiny"],
        env={
            **os.environ,
            "PYTHON": sys.executable,
            "OMP_NUM_THREADS": "1",
            "LIMIT_FACTOR": "20",
        },
        check=True,
    )
    rows = [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]
    assert {row["status"] for row in rows if row["section"] == "part"} == {0}
    measured = {row["section"] for row in rows} - {"part"}
    assert measured == {
        *("roofline", "parity", "waits", "nccl", "train", "compile"),
        *("test", "load", "feed", "quickstart"),
    }
    assert not [row for row in rows if row.get("ok") is False or row.get("resume_equal") is False]
