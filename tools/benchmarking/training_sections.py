"""Sections of the benchmark that train on clips in memory: speed, memory, and what compiling is."""

import time
from typing import Any

import torch
from torch import Tensor
from yacs.config import CfgNode

from engine.learner import Learner
from tools.benchmarking.operations import count_operations
from tools.benchmarking.profiling import profile_training
from tools.benchmarking.recipe_plan import FLOPS
from tools.benchmarking.setting import (
    Setting,
    precision_name,
    random_clips,
    training_step,
)
from tools.benchmarking.timing import time_side_by_side, wait_for

GB = 1e9


def measure_train(setting: Setting) -> None:
    """Time training steps of a batch, in the precisions of the device; with --profile, why so."""
    for amp in setting.precisions:
        _measure_steps(setting, precision_name(amp), "TRAIN.AMP", amp)
    if setting.profiles:
        profile_training(setting)


def measure_compile(setting: Setting) -> None:
    """Time compiled training steps, the first of which compiles."""
    for amp in setting.precisions:
        torch.compiler.reset()
        name = f"{precision_name(amp)}, compiled"
        _measure_steps(setting, name, "TRAIN.AMP", amp, "TRAIN.COMPILE", "True")


def _measure_steps(setting: Setting, name: str, *words: str) -> None:
    cfg = setting.cfg(*words)
    clips = random_clips(cfg, cfg.TRAIN.CLIPS_PER_GPU if _is_gpu(setting) else 2)
    section = "compile" if cfg.TRAIN.COMPILE else "train"
    try:
        learner = setting.learner(cfg)
        first = _seconds_of_first(setting, learner, cfg, clips)
        call = {"step": lambda: training_step(learner, cfg, setting.world, clips)}
        times = time_side_by_side(call, setting.device, setting.seconds)["step"]
    except torch.OutOfMemoryError:
        setting.report.figures(section, name, clips=len(clips), out_of_memory=True)
        return
    reached = len(clips) / times.median * FLOPS * count_operations(cfg).training
    setting.report.times(
        *(section, name, times),
        precision=precision_name(cfg.TRAIN.AMP),
        compiled=cfg.TRAIN.COMPILE,
        clips=len(clips),
        clips_per_s=len(clips) / times.median,
        first_step_s=first,
        **_memory(setting),
    )
    if _is_gpu(setting) and cfg.TRAIN.AMP == "bf16":
        what = "share of the peak" if cfg.TRAIN.COMPILE else "share of the peak, eager"
        setting.report.ratio("train", what, reached / setting.peak, tflops=reached / 1e12)


def _seconds_of_first(setting: Setting, learner: Learner, cfg: CfgNode, clips: Tensor) -> float:
    if _is_gpu(setting):
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    start = time.perf_counter()
    training_step(learner, cfg, setting.world, clips)
    wait_for(setting.device)
    return time.perf_counter() - start


def _memory(setting: Setting) -> dict[str, Any]:
    return {"gpu_gb": torch.cuda.max_memory_allocated() / GB} if _is_gpu(setting) else {}


def _is_gpu(setting: Setting) -> bool:
    return setting.device.type == "cuda"
