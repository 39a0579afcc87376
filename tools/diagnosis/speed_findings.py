"""How fast `tools/doctor.py` finds clips to come, against what the model takes on this device."""

import math
import time
from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor
from yacs.config import CfgNode

from datasets.loaders import TrainClips, build_clip_maker
from engine.learner import autocast
from models import build_model
from ops.pixels import normalize
from tools.diagnosis.examination import Examination
from tools.diagnosis.findings import ERROR, OK, WARNING, Finding
from tools.launching.check_environment import num_cores as cores_of_host

SECONDS_MEASURED = 4.0
MAX_CLIPS = 64
NUM_ON_CPU = 1  # clips at once: the time of a CPU grows with them


def check_speed(examination: Examination) -> Iterator[Finding]:
    """Yield how many clips a second the model takes, a loader gives, and how many loaders do."""
    cfg = examination.cfg
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    per_process = examination.num_processes if device.type == "cpu" else 1
    try:
        of_model = seconds_of_model(cfg, device) * per_process  # CPU processes share the cores
    except torch.OutOfMemoryError:
        yield Finding(
            ERROR,
            f"TRAIN.CLIPS_PER_GPU={cfg.TRAIN.CLIPS_PER_GPU} do not fit into the GPU's memory",
            "TRAIN.CLIPS_PER_GPU lower and TRAIN.ACCUMULATION higher, --amp, or "
            "MODEL.CHECKPOINTS_BLOCKS True",
        )
        return
    yield Finding(
        OK, f"the model takes {1 / of_model:.3g} clips a second in a process, on {device.type}"
    )
    if not examination.readable.get("train"):
        yield Finding(OK, "loading was not measured: no training video was opened")
        return
    of_loader = seconds_of_loader(examination)
    yield Finding(OK, f"one loader process gives {1 / of_loader:.3g} clips a second")
    needed = math.ceil(of_loader / of_model)
    num_workers, num_cores = cfg.DATA.WORKERS, cores_of_host()
    total = needed * examination.num_processes
    if total > num_cores and device.type == "cuda":
        yield Finding(
            WARNING,
            f"the model needs {needed} loaders in each of {examination.num_processes} processes, "
            f"this host has {num_cores} cores: it will wait for data",
            "store smaller frames: tools/extract_frames.py --short-side 256",
        )
    elif num_workers < needed:
        yield Finding(
            WARNING,
            f"the model needs {needed} loaders in each process, DATA.WORKERS is {num_workers}: it "
            "will wait for data",
            f"DATA.WORKERS {needed}",
        )
    else:
        text = f"to keep up, each process needs {needed} of its {num_workers} DATA.WORKERS"
        yield Finding(OK, text)


def seconds_of_model(cfg: CfgNode, device: torch.device) -> float:
    """Return the seconds that forward and backward take for a clip."""
    data = cfg.DATA
    num_clips = cfg.TRAIN.CLIPS_PER_GPU if device.type == "cuda" else NUM_ON_CPU
    model = build_model(cfg).to(device).train()
    for module in model.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.eval()  # one clip alone has no statistics
    shape = (num_clips, data.NUM_FRAMES, 3, data.IMAGE_SIZE, data.IMAGE_SIZE)
    clips = torch.zeros(shape, dtype=torch.uint8, device=device)
    labels = torch.zeros(num_clips, dtype=torch.long, device=device)

    def step() -> None:
        with autocast(cfg.TRAIN.AMP, device):
            loss = F.cross_entropy(_logits(model, clips, cfg), labels)
        loss.backward()
        if device.type == "cuda":
            torch.cuda.synchronize()

    return _seconds(step) / num_clips


def seconds_of_loader(examination: Examination) -> float:
    """Return the seconds that one loader process takes for a clip, reading and augmenting."""
    cfg, records = examination.cfg, examination.readable["train"]
    clips = TrainClips(records, build_clip_maker(cfg), cfg.SEED)
    order = iter(range(10**9))
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as in a loader process
    try:
        return _seconds(lambda: clips[0, next(order) % len(records)])
    finally:
        torch.set_num_threads(num_threads)


def _logits(model: torch.nn.Module, clips: Tensor, cfg: CfgNode) -> Tensor:
    return model(normalize(clips, cfg.DATA.PIXEL_MEAN, cfg.DATA.PIXEL_STD))


def _seconds(step: Callable[[], object]) -> float:
    """Return the mean time of a step, the first one left out."""
    step()
    start, number = time.perf_counter(), 0
    while not number or (number < MAX_CLIPS and time.perf_counter() - start < SECONDS_MEASURED):
        step()
        number += 1
    return (time.perf_counter() - start) / number
