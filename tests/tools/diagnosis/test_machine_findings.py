from collections import namedtuple
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from tools.diagnosis import machine_findings
from tools.diagnosis.examination import Examination
from tools.diagnosis.findings import Finding
from tools.diagnosis.machine_findings import check_devices, check_python, check_shared_memory

Examine = Callable[..., Examination]
Only = Callable[..., Finding]
Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)


@pytest.fixture
def one_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU of 16 GB, half of it taken, without bf16."""
    properties = SimpleNamespace(name="T4", total_memory=16e9)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: properties)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda index: (7e9, 16e9))
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: False)


def test_this_python_has_what_is_needed(examine: Examine) -> None:
    found = list(check_python(examine()))
    assert {finding.level for finding in found} == {"ok"}
    assert f"torch {torch.__version__.split('+')[0]}" in found[0].text


def test_missing_and_old_packages_are_told(
    examine: Examine, only: Only, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needed = tmp_path / "requirements.txt"
    needed.write_text("torch>=99.0\nno-such>=1.0\n# Optional: this.\nnot-there>=2.0\n")
    monkeypatch.setattr(machine_findings, "REQUIREMENTS", needed)
    found = list(check_python(examine()))
    assert "is older than 99.0" in only(found, "error", "torch").text
    assert only(found, "error", "no-such").text == "no-such is not installed"
    assert only(found, "ok", "optional").text == "optional, not installed: not-there"


def test_known_bad_combinations_are_told(
    examine: Examine, only: Only, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(array: object) -> None:
        raise RuntimeError("Numpy is not available")

    monkeypatch.setattr(torch, "from_numpy", fail)
    found = list(check_python(examine("DATA.DECODER", "torchcodec")))
    assert "Numpy is not available" in only(found, "error").text
    assert only(found, "warning").fix == "DATA.DECODER auto"


def test_cpu_runs_what_it_can(examine: Examine, only: Only, no_gpu: None) -> None:
    found = list(check_devices(examine(num_processes=2)))
    assert {finding.level for finding in found} == {"ok"}
    only(found, "ok", "2 processes, by gloo")
    found = list(check_devices(examine("TRAIN.AMP", "fp16")))
    assert "fp16 needs a GPU" in only(found, "error").text


def test_more_loaders_than_cores_are_told(examine: Examine, only: Only, no_gpu: None) -> None:
    found = list(check_devices(examine("DATA.WORKERS", 400, num_processes=2)))
    assert "2 processes x 400 DATA.WORKERS" in only(found, "warning").text
    assert {f.level for f in check_devices(examine("DATA.WORKERS", -1, num_processes=400))} == {
        "ok"
    }


def test_gpu_that_is_short_of_what_is_asked_is_told(
    examine: Examine, only: Only, one_gpu: None
) -> None:
    found = list(check_devices(examine("TRAIN.AMP", "bf16", num_processes=2)))
    assert only(found, "error", "2 processes, this host has 1 GPU").fix.startswith("PROCESSES=1")
    assert "7 GB of it free" in only(found, "warning", "T4").text
    assert only(found, "warning", "bf16").fix == "TRAIN.AMP fp16"
    assert "--amp" in only(check_devices(examine()), "warning", "float32").fix


def test_missing_backend_is_told(
    examine: Examine, only: Only, no_gpu: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.distributed, "is_backend_available", lambda name: False)
    assert "no gloo" in only(check_devices(examine(num_processes=2)), "error").text


def test_shared_memory_that_the_batches_overflow_is_told(
    examine: Examine, only: Only, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(machine_findings, "SHARED_MEMORY", tmp_path)
    # 2 processes x 2 workers x 3 batches x 4 clips x 4 frames of 3 x 16 x 16 bytes
    needed = 2 * 2 * 3 * 4 * 4 * 3 * 16 * 16
    for free, level in ((needed, "ok"), (needed - 1, "error")):
        usage = Usage(1, 1, free)
        monkeypatch.setattr(machine_findings.shutil, "disk_usage", lambda path, usage=usage: usage)
        only(check_shared_memory(examine("DATA.WORKERS", 2, num_processes=2)), level)
    only(check_shared_memory(examine("DATA.WORKERS", 0)), "ok", "not needed")
