"""What `tools/doctor.py` finds of the Python and the machine."""

import platform
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist

from datasets.workers import num_workers
from engine.learner import amp_dtype
from tools.diagnosis.examination import Examination
from tools.diagnosis.findings import ERROR, OK, WARNING, Finding
from tools.launching.check_environment import (
    installed_version,
    missing,
    num_cores,
    read_requirements,
    untried,
)

REQUIREMENTS = Path(__file__).resolve().parents[2] / "requirements.txt"
SHARED_MEMORY = Path("/dev/shm")
NUM_PREFETCHED = 2  # batches of each worker that wait to be taken, torch's default
INSTALL = "pip install -r requirements.txt"


def check_python(examination: Examination) -> Iterator[Finding]:
    """Yield what is installed, what is missing, and what is known not to work."""
    names = ("torch", "torchvision", "numpy")
    shown = ", ".join(f"{name} {installed_version(name)}" for name in names)
    yield Finding(OK, f"Python {platform.python_version()}, {shown}")
    for lack in missing(REQUIREMENTS):
        yield Finding(ERROR, lack, INSTALL)
    yield from _known_bad(examination)
    for package in untried(REQUIREMENTS):
        yield Finding(WARNING, package, INSTALL)
    optional = [package.name for package in read_requirements(REQUIREMENTS) if package.is_optional]
    absent = [name for name in optional if not installed_version(name)]
    if absent:
        yield Finding(OK, f"optional, not installed: {', '.join(absent)}")


def check_devices(examination: Examination) -> Iterator[Finding]:
    """Yield the devices of this machine, and whether the processes and the precision fit them."""
    cfg, num_processes = examination.cfg, examination.num_processes
    num_gpus, cores = torch.cuda.device_count(), num_cores()
    for index in range(num_gpus):
        gpu = torch.cuda.get_device_properties(index)
        free = torch.cuda.mem_get_info(index)[0]
        level = OK if free > 0.5 * gpu.total_memory else WARNING
        text = f"GPU {index}: {gpu.name}, {_gb(gpu.total_memory)}, {_gb(free)} of it free"
        yield Finding(level, text, "" if level is OK else "nvidia-smi lists the other programs")
    if not num_gpus:
        yield Finding(OK, f"no CUDA GPU: the run computes on the CPU, {cores} cores")
    elif num_processes > num_gpus:
        yield Finding(
            ERROR,
            f"{num_processes} processes, this host has {num_gpus} GPUs",
            f"PROCESSES={num_gpus} ./train.sh ...",
        )
    device = torch.device("cuda" if num_gpus else "cpu")
    try:
        dtype = amp_dtype(cfg.TRAIN.AMP, device)
        yield from _precision(cfg.TRAIN.AMP, dtype, device)
    except ValueError as error:
        yield Finding(ERROR, str(error), "TRAIN.AMP none")
    yield from _backends(num_processes, num_gpus)
    workers = num_workers(cfg.DATA.WORKERS, num_processes)
    if cfg.DATA.WORKERS >= 0 and num_processes * workers > cores:
        yield Finding(
            WARNING,
            f"{num_processes} processes x {workers} DATA.WORKERS on {cores} CPU cores",
            "DATA.WORKERS -1 shares the cores out; more workers only take turns",
        )


def check_shared_memory(examination: Examination) -> Iterator[Finding]:
    """Yield whether the batches that wait for the model find room in shared memory."""
    cfg = examination.cfg
    data = cfg.DATA
    num_bytes = 4 if cfg.AUG.CROP == "laps" else 1  # a value: float32 or uint8
    clip = 3 * data.NUM_FRAMES * data.IMAGE_SIZE**2 * num_bytes
    workers = num_workers(data.WORKERS, examination.num_processes)
    num_batches = examination.num_processes * workers * (NUM_PREFETCHED + 1)
    needed = num_batches * cfg.TRAIN.CLIPS_PER_GPU * clip
    if not needed or not SHARED_MEMORY.is_dir():
        yield Finding(OK, "not needed: no loader process, or no shared memory on this system")
        return
    free = shutil.disk_usage(SHARED_MEMORY).free
    text = f"the loaders' batches take up to {_gb(needed)}, {SHARED_MEMORY} has {_gb(free)} free"
    if needed > free:
        fix = f"docker run --shm-size={needed * 2 // 10**9 + 1}g (or --ipc=host), or DATA.WORKERS"
        yield Finding(ERROR, f"{text}: workers would die with a bus error", f"{fix} lower")
    else:
        yield Finding(OK, text)


def _known_bad(examination: Examination) -> Iterator[Finding]:
    try:
        torch.from_numpy(np.zeros(1))
    except RuntimeError as error:  # a torch that was built for another numpy
        yield Finding(ERROR, f"torch cannot use this numpy: {error}", "pip install --upgrade torch")
    if examination.cfg.DATA.DECODER == "torchcodec":
        yield Finding(
            WARNING,
            "DATA.DECODER torchcodec: TorchCodec 0.17 gave wrong frames of some AVI files and no "
            "error for files that were cut",
            "DATA.DECODER auto",
        )


def _precision(amp: str, dtype: torch.dtype | None, device: torch.device) -> Iterator[Finding]:
    name = str(dtype or torch.float32).removeprefix("torch.")
    is_cuda = device.type == "cuda"
    if is_cuda and dtype is torch.bfloat16 and not _has_bf16():
        yield Finding(WARNING, "this GPU has no bf16 of its own: it is slow", "TRAIN.AMP fp16")
        return
    yield Finding(OK, f"precision {name} (TRAIN.AMP {amp})")
    if is_cuda and dtype is None:
        yield Finding(
            WARNING, "the GPU computes in float32 throughout", "--amp is about twice as fast"
        )


def _backends(num_processes: int, num_gpus: int) -> Iterator[Finding]:
    if num_processes == 1:
        yield Finding(OK, "one process")
        return
    needed = ["gloo", "nccl"] if num_gpus else ["gloo"]
    lacking = [
        name for name in needed if not (dist.is_available() and dist.is_backend_available(name))
    ]
    if lacking:
        text = f"{num_processes} processes, and this torch has no {', '.join(lacking)}"
        yield Finding(ERROR, text, "PROCESSES=1 ./train.sh ..., or another build of torch")
    else:
        yield Finding(OK, f"{num_processes} processes, by {' and '.join(needed)}")


def _has_bf16() -> bool:
    return torch.cuda.is_bf16_supported(including_emulation=False)


def _gb(num_bytes: float) -> str:
    return f"{num_bytes / 1e9:.2g} GB" if num_bytes < 1e11 else f"{num_bytes / 1e9:.0f} GB"
