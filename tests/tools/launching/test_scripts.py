"""The shell scripts: what they start with, and what they do with signals and ends."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

NOTES = '#!/bin/sh\necho "{name} $*" >>"$NOTES"\n'


@pytest.fixture
def fakes(tmp_path: Path) -> dict[str, str]:
    """An environment whose SLURM commands note their words, and whose Python always suits."""
    commands = {
        "python": 'for word; do case "$word" in --processes) echo 2 1 ;; esac; done\n',
        "srun": NOTES.format(name="srun")
        + 'echo "$MASTER_ADDR $MASTER_PORT $NODES $JOB_ID" >>"$NOTES"; sleep "$SRUN_SECONDS"\n'
        + "exit $SRUN_STATUS\n",
        "scontrol": NOTES.format(name="scontrol")
        + 'if [ "$1" = show ]; then printf "first\\nsecond\\n"; fi\n',
    }
    for name, text in commands.items():
        path = tmp_path / name
        path.write_text(text if text.startswith("#!") else f"#!/bin/sh\n{text}")
        path.chmod(0o755)
    kept = {k: v for k, v in os.environ.items() if k not in ("VENV", "REQUIREMENTS")}
    return kept | {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "NOTES": str(tmp_path / "notes"),
        "SLURM_SUBMIT_DIR": str(Path(__file__).parents[3]),
        "SLURM_JOB_NODELIST": "node[1-2]",
        "SLURM_JOB_NUM_NODES": "2",
        "SLURM_JOB_ID": "1234567",
        "SLURM_CPUS_PER_TASK": "4",
        "SRUN_SECONDS": "0",
        "SRUN_STATUS": "0",
    }


def run_job(fakes: dict[str, str], status: int) -> tuple[int, list[str]]:
    """Run the SLURM script with an end of its steps; return its status and what it called."""
    done = subprocess.run(
        ["bash", "tools/slurm.sh", "--cfg", "a.yml", "--tune_from", "w.npz"],
        cwd=fakes["SLURM_SUBMIT_DIR"],
        env=fakes | {"SRUN_STATUS": str(status)},
        check=False,
    )
    return done.returncode, Path(fakes["NOTES"]).read_text().splitlines()


@pytest.mark.parametrize("status", [0, 1, 143])
def test_job_runs_the_launcher_on_every_host(status: int, fakes: dict[str, str]) -> None:
    code, notes = run_job(fakes, status)
    assert code == status
    assert notes == [
        "scontrol show hostnames node[1-2]",
        "srun --kill-on-bad-exit=1 --cpus-per-task=4 ./train.sh --resume auto --cfg a.yml"
        " --tune_from w.npz",
        "first 24567 2 1234567",
    ]


def test_job_that_was_told_of_its_end_is_queued_again(fakes: dict[str, str]) -> None:
    code, notes = run_job(fakes, 128 + signal.SIGUSR1)
    assert code == 138
    assert notes[-1] == "scontrol requeue 1234567"


def test_job_waits_for_what_its_processes_save(fakes: dict[str, str]) -> None:
    with subprocess.Popen(
        ["bash", "tools/slurm.sh", "--cfg", "a.yml"],
        cwd=fakes["SLURM_SUBMIT_DIR"],
        env=fakes | {"SRUN_SECONDS": "1", "SRUN_STATUS": "138"},
    ) as job:
        notes = Path(fakes["NOTES"])
        end = time.monotonic() + 20
        while not (notes.exists() and "srun" in notes.read_text()):
            assert time.monotonic() < end
            time.sleep(0.02)
        job.send_signal(signal.SIGTERM)
        assert job.wait(timeout=20) == 138
    assert notes.read_text().endswith("scontrol requeue 1234567\n")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1])
def test_script_that_is_stopped_early_says_that_nothing_is_lost(
    number: signal.Signals, repository: Path
) -> None:
    command = "set -euo pipefail; source tools/launching/environment.sh; echo ready; sleep 1"
    with subprocess.Popen(
        ["bash", "-c", command],
        cwd=repository,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as script:
        assert script.stdout is not None
        while script.stdout.readline() != "ready\n":
            assert script.poll() is None
        script.send_signal(number)
        _, console = script.communicate(timeout=20)
    line = f"stopped by {number.name}: nothing was saved yet; the same command starts again\n"
    assert (script.returncode, console.splitlines(keepends=True)[1:]) == (128 + number, [line])


@pytest.mark.parametrize("script", ["tools/slurm.sh", "train.sh", "test.sh"])
def test_scripts_parse(script: str, repository: Path) -> None:
    subprocess.run(["bash", "-n", script], cwd=repository, check=True)


def test_place_where_no_environment_can_be_made_is_named(repository: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = subprocess.run(
        ["bash", "-c", "set -euo pipefail; source tools/launching/environment.sh"],
        cwd=repository,
        env={**os.environ, "VENV": str(tmp_path / "file" / "venv")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert f"no environment can be made in {tmp_path}/file; name another" in done.stderr
