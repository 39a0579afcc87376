import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tools.launching import check_environment
from tools.launching.check_environment import (
    Requirement,
    is_older,
    may_have_gpu,
    mismatched_builds,
    missing,
    num_cores,
    num_processes,
    read_requirements,
    untried,
)

INSTALLED = {"torch": "2.16.0+cpu", "av": "16.1", "numpy": "2.0.0", "scipy": "1.9"}
PLACE_OF_GPU = ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES")


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        check_environment, "installed_version", lambda name: INSTALLED.get(name, "")
    )


@pytest.fixture
def gpu_sign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A driver's file, which is there, on a host that says nothing else of GPUs."""
    for name in PLACE_OF_GPU:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    sign = tmp_path / "nvidiactl"
    sign.touch()
    monkeypatch.setattr(check_environment, "GPU_SIGNS", (str(tmp_path / "kfd"), str(sign)))
    return sign


def run(repository: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "tools/launching/check_environment.py", *words]
    return subprocess.run(command, cwd=repository, capture_output=True, text=True, check=False)


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_requirements_are_read_with_those_they_include(tmp_path: Path) -> None:
    write(tmp_path / "base.txt", "a>=1.2,<3  # why\nb\n# Optional: c.\nc-d<4\n")
    assert list(
        read_requirements(write(tmp_path / "all.txt", "-r base.txt\n# word\ne>=0.1\n"))
    ) == [
        Requirement("a", "1.2", "3", is_optional=False),
        Requirement("b", "", "", is_optional=False),
        Requirement("c-d", "", "4", is_optional=True),
        Requirement("e", "0.1", "", is_optional=False),
    ]


@pytest.mark.parametrize(
    ("version", "than", "expected"),
    [
        ("2.9.1", "2.11", True),
        ("2.11.0+cu130", "2.11", False),
        ("3", "3.0.0", False),
        ("2.15.0", "", False),
        ("20.0.0rc1", "20", False),
    ],
)
def test_versions_are_compared_by_their_numbers(version: str, than: str, expected: bool) -> None:
    assert is_older(version, than) is expected


def test_what_is_missing_or_too_old_is_needed_and_what_is_newer_is_untried(
    installed: None, tmp_path: Path
) -> None:
    text = (
        "torch>=2.11,<2.16\nnumpy>=2.0,<3\nscipy>=1.13\nyacs\n# Optional: x.\nav>=17,<20\nonnx>=1\n"
    )
    path = write(tmp_path / "requirements.txt", text)
    assert list(missing(path)) == ["scipy 1.9 is older than 1.13", "yacs is not installed"]
    assert list(untried(path)) == [
        "torch 2.16.0+cpu is newer than what was tried, below 2.16",
        "av 16.1 is older than 17",
    ]


def test_this_environment_has_what_the_tests_need(repository: Path) -> None:
    done = run(repository, "requirements-dev.txt")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("torch_version", "torchvision_version", "needs", "expected"),
    [
        ("2.11.0+cu130", "0.26.0+cu130", "torch (==2.11.0)", ""),
        ("2.15.0", "0.29.2", "torch (>=2.14.0)", ""),
        ("2.12.1", "0.27.0", "torch!=2.12.0,>=2.11; python_version > '3'", ""),
        (
            "2.12.0",
            "0.26.0",
            "torch==2.11.0",
            "torchvision 0.26.0 was built for torch==2.11.0, not",
        ),
        ("2.13.0", "0.29.2", "torch (>=2.14.0)", "was built for torch>=2.14.0, not 2.13.0"),
        ("2.11.0+cpu", "0.26.0+cu130", "torch==2.11.0", "for another CUDA than torch 2.11.0+cpu"),
        ("2.11.0+cu126", "0.26.0+cu130", "torch==2.11.0", "for another CUDA than"),
        ("2.11.0+cu128", "0.26.0+cu126", "torch==2.11.0", ""),
        ("2.11.0+cu128", "0.26.0+cpu", "torch==2.11.0", ""),
        ("2.11.0", "0.26.0+cu126", "torch==2.11.0", ""),
        ("2.11.0", "", "torch==2.12.0", ""),
    ],
)
def test_torchvision_must_have_been_built_for_this_torch(
    torch_version: str,
    torchvision_version: str,
    needs: str,
    expected: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    versions = {"torch": torch_version, "torchvision": torchvision_version}
    monkeypatch.setattr(check_environment, "installed_version", lambda name: versions[name])
    needed = ["numpy", "torch-like>=9", needs]
    monkeypatch.setattr(check_environment, "metadata_requirements", lambda name: needed)
    found = list(mismatched_builds())
    assert len(found) == bool(expected)
    assert not expected or expected in found[0]
    assert list(missing(write(tmp_path / "requirements.txt", "torch>=2.11\n"))) == found


def test_the_look_at_the_environment_imports_no_package(repository: Path) -> None:
    code = (
        "import sys; from tools.launching import check_environment; "
        "check_environment.GPU_SIGNS = (); "
        "check_environment.main(['requirements-dev.txt']); "
        "check_environment.main(['--processes']); "
        "assert not {'torch', 'torchvision', 'numpy'} & sys.modules.keys()"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_process_for_each_gpu_that_torch_counts(
    gpu_sign: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    assert num_processes() == 3
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)  # a driver and no GPU
    assert num_processes() == min(2, num_cores())
    gpu_sign.unlink()
    monkeypatch.setattr(torch.cuda, "device_count", lambda: pytest.fail("torch was asked"))
    assert num_processes() == min(2, num_cores())


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("CUDA_VISIBLE_DEVICES", "", False),
        ("CUDA_VISIBLE_DEVICES", "-1", False),
        ("CUDA_VISIBLE_DEVICES", "0,1", True),
        ("CUDA_VISIBLE_DEVICES", "GPU-1", True),
        ("HIP_VISIBLE_DEVICES", "", True),
    ],
)
def test_hidden_gpus_are_not_asked_for(
    name: str, value: str, expected: bool, gpu_sign: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    assert may_have_gpu() is expected


def test_other_systems_than_linux_have_no_such_files(
    gpu_sign: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpu_sign.unlink()
    assert not may_have_gpu()
    monkeypatch.setattr(sys, "platform", "win32")
    assert may_have_gpu()
    monkeypatch.setattr(sys, "platform", "darwin")
    assert not may_have_gpu()


def test_cores_are_counted_where_the_system_tells_no_affinity(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3, 5, 7}, raising=False)
    assert num_cores() == 3
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert num_cores() == 6
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert num_cores() == 1


@pytest.mark.parametrize(
    ("asked", "cores", "expected"), [("", 8, "2 4\n"), ("3", 8, "3 2\n"), ("4", 2, "4 1\n")]
)
def test_processes_share_the_cores(
    asked: str,
    cores: int,
    expected: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(check_environment, "GPU_SIGNS", ())
    monkeypatch.setattr(check_environment, "num_cores", lambda: cores)
    assert check_environment.main(["--processes", *filter(None, [asked])]) == 0
    assert capsys.readouterr().out == expected
    check_environment.main(["--cores"])
    assert capsys.readouterr().out == f"{cores}\n"


@pytest.mark.parametrize("asked", ["0", "-1", "two"])
def test_number_of_processes_that_is_none_is_said_in_a_line(asked: str, repository: Path) -> None:
    done = run(repository, "--processes", asked)
    text = f"error: PROCESSES={asked}; it must be a number from 1 on\n"
    assert (done.returncode, done.stdout, done.stderr) == (1, "", text)


def test_launch_tells_torchrun_the_processes_and_them_their_threads(
    repository: Path, tmp_path: Path
) -> None:
    shown = tmp_path / "python"  # shows its words, but does what is no launch
    write(
        shown,
        f"""#!/bin/sh
        case "$1" in
          *torchrun.py) echo "$OMP_NUM_THREADS" "$@" ;;
          *) exec {sys.executable} "$@" ;;
        esac
        """,
    ).chmod(0o755)
    environment = {k: v for k, v in os.environ.items() if k not in ("OMP_NUM_THREADS", "VENV")}
    environment |= {"CUDA_VISIBLE_DEVICES": "", "PATH": f"{tmp_path}:{os.environ['PATH']}"}

    def launch(**extra: str) -> subprocess.CompletedProcess[str]:
        source = "set -euo pipefail; source tools/launching/environment.sh"
        command = f"{source}; launch main.py --a 'b c'"
        return subprocess.run(
            ["bash", "-c", command],
            cwd=repository,
            env=environment | extra,
            capture_output=True,
            text=True,
            check=False,
        )

    start = f"{repository}/tools/launching/torchrun.py --standalone --nproc-per-node"
    processes = min(2, num_cores())
    expected = f"{num_cores() // processes} {start} {processes} main.py --a b c"
    assert launch().stdout.splitlines()[-1] == expected
    asked = launch(PROCESSES="1", OMP_NUM_THREADS="7")
    assert asked.stdout.splitlines()[-1] == f"7 {start} 1 main.py --a b c"
    wrong = launch(PROCESSES="no")
    text = "error: PROCESSES=no; it must be a number from 1 on\n"
    assert (wrong.returncode, wrong.stderr.splitlines(keepends=True)[1:]) == (1, [text])


def test_readme_names_the_versions_of_the_requirements(repository: Path) -> None:
    line = next(
        line
        for line in (repository / "README.md").read_text(encoding="utf-8").splitlines()
        if line.startswith("Tried with Python ")
    )
    spans = dict(re.findall(r"(\w+) (\d[\d.]*(?: to \d[\d.]*)?)[,;]", line))
    pythons = re.search(r"VERSIONS=\((.+)\)", (repository / "tests/versions.sh").read_text())
    assert pythons is not None
    versions = pythons[1].split()
    assert spans.pop("Python") == f"{versions[0]} to {versions[-1]}"
    packages = {p.name: p for p in read_requirements(repository / "requirements.txt")}
    assert {"torch", "torchvision", "PyAV"} <= spans.keys()
    for name, span in spans.items():
        package = packages[{"PyAV": "av", "NumPy": "numpy"}.get(name, name)]
        lowest, _, newest = span.partition(" to ")
        assert lowest == package.lowest, line
        *major, minor = package.below.split(".")
        assert newest == ".".join([*major, str(int(minor) - 1)]), line
