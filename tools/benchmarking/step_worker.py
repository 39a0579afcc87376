"""One of the processes that `tools/benchmark.py ddp` starts: makes training steps and times them.

Its one argument is an order in JSON; process 0 writes what it found to ``out``.
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY))

import torch
import torch.distributed as dist

from config import load_cfg
from engine.distributed import LaunchOptions, World, barrier, gather_objects, launch
from engine.learner import build_learner
from models import build_model
from tools.benchmarking.setting import random_clips, training_step
from tools.benchmarking.timing import wait_for

CHECKED_STEPS = 2


def main(argv: list[str]) -> None:
    """Do what the order says, as one of the processes that a launcher started."""
    order = json.loads(argv[0])
    if order["device"] == "cpu":
        torch.set_num_threads(1)  # a process a core
    launch(run, LaunchOptions(), order)


def run(world: World, order: dict[str, Any]) -> None:
    """Make a few steps whose weights are compared, then time more."""
    cfg = load_cfg(order["config"], order["overrides"])
    torch.manual_seed(0)
    learner = build_learner(cfg, build_model(cfg).to(world.device).train(), world)
    clips = random_clips(cfg, cfg.TRAIN.CLIPS_PER_GPU if world.device.type == "cuda" else 2)

    def step() -> None:
        training_step(learner, cfg, world, clips)

    for _ in range(CHECKED_STEPS):
        step()
    checksum = sum(p.detach().double().abs().sum().item() for p in learner.model.parameters())
    barrier()
    # as many in each process: they wait for each other in every step
    number = max(3, round(order["seconds"] / _seconds(step, world, 1)))
    number = max(gather_and_share(number, world))
    seconds = _seconds(step, world, number)
    gathered = gather_objects({"rank": world.rank}, world)
    if world.is_main:
        found = {
            "seconds": seconds,
            "clips": len(clips),
            "checksum": checksum,
            "gathered": gathered == [{"rank": rank} for rank in range(world.size)],
            "backend": str(dist.get_backend_config()) if dist.is_initialized() else "no group",
        }
        Path(order["out"]).write_text(json.dumps(found), encoding="utf-8")


def gather_and_share(number: int, world: World) -> list[int]:
    """Return the numbers of all processes."""
    numbers = [number] * world.size
    if dist.is_initialized():
        dist.all_gather_object(numbers, number)
    return numbers


def _seconds(step: Callable[[], None], world: World, number: int) -> float:
    wait_for(world.device)
    start = time.perf_counter()
    for _ in range(number):
        step()
    wait_for(world.device)
    return (time.perf_counter() - start) / number


if __name__ == "__main__":
    main(sys.argv[1:])
