"""Where the time of a training iteration goes: a trace, shares in a paragraph, what to change."""

import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.profiler import ProfilerActivity, profile, record_function
from torch.utils.data import DataLoader
from yacs.config import CfgNode

from datasets.loaders import Clips, build_clip_maker, build_train_loader, read_records
from datasets.records import open_frames, read_frames
from engine.objective import build_objective
from engine.run import to_device
from tools.benchmarking.data_sections import CLIP_SIZE, batches, videos_cfg
from tools.benchmarking.setting import Setting
from tools.benchmarking.timing import wait_for

ITERATIONS = 8
_PHASES = ("wait", "host-to-device", "forward", "backward", "optimizer")
_ADVICE = {
    "wait": "raise DATA.WORKERS, or store smaller frames: the loaders are what is slow",
    "host-to-device": "nothing in the loop: the link to the GPU is slow, or the memory not pinned",
    "forward": "TRAIN.AMP bf16 and TRAIN.COMPILE True: the GPU computes, as it should",
    "backward": "TRAIN.AMP bf16 and TRAIN.COMPILE True: the GPU computes, as it should",
    "optimizer": "TRAIN.ACCUMULATION or TRAIN.CLIPS_PER_GPU higher: steps are made too often",
    "all-reduce": "TRAIN.ACCUMULATION higher, or a faster network: see docs/scaling.md",
}


def profile_training(setting: Setting) -> Path:
    """Train on drawn videos under torch's profiler; tell the shares and write the trace.

    Returns:
        The trace, for chrome://tracing or ui.perfetto.dev.
    """
    cfg = videos_cfg(setting, CLIP_SIZE, "DATA.WORKERS", str(max(setting.workers)))
    loader = build_train_loader(cfg, read_records(cfg, "train"), rank=0, world_size=1)
    activities = [ProfilerActivity.CPU]
    if setting.device.type == "cuda":
        activities.append(ProfilerActivity.CUDA)
    with profile(activities=activities) as trace:
        seconds = _train(setting, cfg, loader)
    path = setting.folder / f"trace_{Path(setting.config).stem}.json"
    trace.export_chrome_trace(str(path))
    seconds["all-reduce"] = _of_all_reduce(trace)
    total = sum(seconds[phase] for phase in _PHASES)
    decode, augment = _seconds_of_clip(cfg)
    shares = {phase: seconds[phase] / total for phase in (*_PHASES, "all-reduce")}
    named: dict[str, Any] = {name.replace("-", "_"): share for name, share in shares.items()}
    largest = max(shares, key=lambda phase: shares[phase])
    setting.report.figures(
        *("train", "profile"),
        decode_ms=1e3 * decode,
        augment_ms=1e3 * augment,
        **named,
        trace=str(path),
        change=_ADVICE[largest],
    )
    return path


def _train(setting: Setting, cfg: CfgNode, loader: DataLoader[Clips]) -> dict[str, float]:
    """Return the seconds of each phase; the device is waited for between them."""
    learner, objective, given = setting.learner(cfg), build_objective(cfg), batches(loader)
    seconds = dict.fromkeys(_PHASES, 0.0)
    for i in range(ITERATIONS + 1):
        if i == 1:
            seconds = dict.fromkeys(_PHASES, 0.0)  # the first iteration starts the workers
        phase = _Phases(setting.device, seconds)
        with phase("wait"):
            batch = next(given)
        with phase("host-to-device"):
            clips = to_device(batch.clips, cfg, setting.world)
            target = objective(batch.labels.to(setting.device), None, None)
        with learner.accumulating(is_last=True):
            with phase("forward"), learner.autocast():
                loss = target.loss(learner.parallel(clips))
            with phase("backward"):
                learner.backward(loss, 1.0)
        with phase("optimizer"):
            learner.step()
    return seconds


class _Phases:
    """Times a phase, and marks it in the trace."""

    def __init__(self, device: torch.device, seconds: dict[str, float]) -> None:
        self.device = device
        self.seconds = seconds

    def __call__(self, name: str) -> "_Phases":
        self.name = name
        return self

    def __enter__(self) -> None:
        self.mark = record_function(self.name)
        self.mark.__enter__()
        self.start = time.perf_counter()

    def __exit__(self, *error: object) -> None:
        wait_for(self.device)
        self.seconds[self.name] += time.perf_counter() - self.start
        self.mark.__exit__(*error)


def _of_all_reduce(trace: profile) -> float:
    names = ("allreduce", "all_reduce", "AllReduce")
    found = (event for event in trace.key_averages() if any(name in event.key for name in names))
    return sum(event.cpu_time_total for event in found) / 1e6


def _seconds_of_clip(cfg: CfgNode) -> tuple[float, float]:
    """Return what a core takes for a clip: reading and decoding, and the rest."""
    maker, records = build_clip_maker(cfg), read_records(cfg, "train")
    start = time.perf_counter()
    for i in range(ITERATIONS):
        maker.make(records[i % len(records)], np.random.default_rng(i))
    whole = time.perf_counter() - start
    start = time.perf_counter()
    for i in range(ITERATIONS):
        record = records[i % len(records)]
        indices = maker.sample(record.num_frames, rng=np.random.default_rng(i))
        read_frames(record, indices, lambda one: open_frames(cfg, one))
    decode = time.perf_counter() - start
    return decode / ITERATIONS, max(whole - decode, 0.0) / ITERATIONS
