"""How fast `tools/doctor.py` finds clips to come, against what the model takes on this device."""

import math
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from yacs.config import CfgNode

from config.values import counted
from datasets.loaders import TrainClips, build_clip_maker, num_test_clips
from datasets.workers import num_workers
from engine.learner import autocast
from models import build_model
from ops.pixels import normalize
from tools.diagnosis.examination import Examination
from tools.diagnosis.findings import ERROR, OK, WARNING, Finding
from tools.launching.check_environment import num_cores as cores_of_host

SECONDS_MEASURED = 4.0
MAX_CLIPS = 64
NUM_ON_CPU = 1  # clips at once: the time of a CPU grows with them
FORWARD_SHARE = 1 / 3  # of a training step's time: the backward pass has twice its operations
_NUM_MOMENTS = {"sgd": 1, "adamw": 2}  # of the optimizer, each as large as the weights
GIB = 2**30


class ModelCost(NamedTuple):
    """What a training step takes for each clip, in seconds, and in all, in bytes."""

    seconds: float
    num_bytes: int


def check_speed(examination: Examination) -> Iterator[Finding]:
    """Yield how many clips a second the model takes, a loader gives, and how many loaders do."""
    cfg = examination.cfg
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    per_process = examination.num_processes if device.type == "cpu" else 1
    try:
        cost = cost_of_model(cfg, device)
    except torch.OutOfMemoryError:
        yield Finding(
            ERROR,
            f"TRAIN.CLIPS_PER_GPU={cfg.TRAIN.CLIPS_PER_GPU} do not fit into the GPU's memory",
            "TRAIN.CLIPS_PER_GPU lower and TRAIN.ACCUMULATION higher, --amp, or "
            "MODEL.CHECKPOINTS_BLOCKS True",
        )
        return
    of_model = cost.seconds * per_process  # CPU processes share the cores
    yield Finding(
        OK, f"the model takes {1 / of_model:.3g} clips a second in a process, on {device.type}"
    )
    if not examination.readable.get("train"):
        yield Finding(OK, "loading was not measured: no training video was opened")
        yield from _whole_run(examination, cost, of_model, of_loader=0.0)
        return
    of_loader = seconds_of_loader(examination)
    yield Finding(OK, f"one loader process gives {1 / of_loader:.3g} clips a second")
    needed = math.ceil(of_loader / of_model)
    workers = num_workers(cfg.DATA.WORKERS, examination.num_processes)
    num_cores = cores_of_host()
    total = needed * examination.num_processes
    if total > num_cores and device.type == "cuda":
        yield Finding(
            WARNING,
            f"the model needs {needed} loaders in each of {examination.num_processes} processes, "
            f"this host has {num_cores} cores: it will wait for data",
            "store smaller frames: tools/extract_frames.py --short-side 256",
        )
    elif workers < needed:
        yield Finding(
            WARNING,
            f"the model needs {needed} loaders in each process, DATA.WORKERS is {workers}: it "
            "will wait for data",
            f"DATA.WORKERS {needed}",
        )
    else:
        text = f"to keep up, each process needs {needed} of its {workers} DATA.WORKERS"
        yield Finding(OK, text)
    yield from _whole_run(examination, cost, of_model, of_loader)


def _whole_run(
    examination: Examination, cost: ModelCost, of_model: float, of_loader: float
) -> Iterator[Finding]:
    """Estimate a run from the seconds of the model and of a loader for each clip in a process."""
    cfg, processes = examination.cfg, examination.num_processes
    loading = of_loader / max(1, num_workers(cfg.DATA.WORKERS, processes))
    num_trained = examination.num_batches * cfg.TRAIN.CLIPS_PER_GPU
    if not num_trained:  # the lists could not be read
        return
    seconds = cfg.TRAIN.EPOCHS * num_trained * max(of_model, loading)
    forward = max(FORWARD_SHARE * of_model, loading) / processes
    seconds += cfg.TRAIN.EPOCHS * _num_views(examination, "val") * forward
    if cfg.TEST.AFTER_TRAINING:
        seconds += _num_views(examination, "test") * forward
    minutes = f"{seconds / 60:.0f} minutes" if seconds < 7200 else f"{seconds / 3600:.1f} hours"
    place = "GPU memory" if torch.cuda.is_available() else "memory, its loaders aside,"
    yield Finding(
        OK,
        f"the whole run, {counted(cfg.TRAIN.EPOCHS, 'epoch')} of {num_trained * processes} clips, "
        f"will take about {minutes} in {counted(processes, 'process', 'processes')} like this, and "
        f"about {cost.num_bytes / GIB:.2g} GiB of {place} in each",
    )


def _num_views(examination: Examination, split: str) -> int:
    cfg = examination.cfg
    records = examination.records.get(split) or examination.records.get("val", [])
    num_crops = cfg.VAL.NUM_CROPS if split == "val" else cfg.TEST.NUM_CROPS
    return len(records) * num_test_clips(cfg, split) * num_crops


def cost_of_model(cfg: CfgNode, device: torch.device) -> ModelCost:
    """Measure forward and backward of a training step."""
    data = cfg.DATA
    num_clips = cfg.TRAIN.CLIPS_PER_GPU if device.type == "cuda" else NUM_ON_CPU
    model = build_model(cfg).to(device).train()
    for module in model.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.eval()  # one clip alone has no statistics
    shape = (num_clips, data.NUM_FRAMES, 3, data.IMAGE_SIZE, data.IMAGE_SIZE)
    clips = torch.zeros(shape, dtype=torch.uint8, device=device)
    labels = torch.zeros(num_clips, dtype=torch.long, device=device)

    def loss() -> Tensor:
        with autocast(cfg.TRAIN.AMP, device):
            return F.cross_entropy(_logits(model, clips, cfg), labels)

    def step() -> None:
        loss().backward()
        if device.type == "cuda":
            torch.cuda.synchronize()

    of_clip = bytes_kept(loss, model) // num_clips
    return ModelCost(
        _seconds(step) / num_clips,
        of_clip * cfg.TRAIN.CLIPS_PER_GPU + bytes_of_weights(cfg, model),
    )


def bytes_kept(loss: Callable[[], Tensor], model: torch.nn.Module) -> int:
    """Return the bytes that a forward pass keeps for the backward pass, the weights aside."""
    # by the storage's own address: those of fake tensors hold no data that has one
    weights = {parameter.untyped_storage()._cdata for parameter in model.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in weights:
            kept[storage._cdata] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        held = loss()  # what it keeps stays alive, so that no address comes twice
    del held
    return sum(kept.values())


def bytes_of_weights(cfg: CfgNode, model: torch.nn.Module) -> int:
    """Return the bytes of the weights with gradients, the optimizer's moments and averages."""
    num_bytes = sum(p.numel() * p.element_size() for p in model.parameters())
    num_averages = bool(cfg.TRAIN.EMA_DECAY) + bool(cfg.TRAIN.SWA.START_EPOCH)
    return num_bytes * (2 + _NUM_MOMENTS[cfg.OPTIM.NAME] + num_averages)


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
