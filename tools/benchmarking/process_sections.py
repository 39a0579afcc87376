"""Sections of the benchmark that run whole programs: processes together, and fed training."""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

import main_ddp_shift
from config import load_cfg
from datasets.loaders import build_train_loader, read_records
from tools.benchmarking.data_sections import CLIP_SIZE, batches, videos_cfg
from tools.benchmarking.setting import Setting, precision_name, training_step
from tools.benchmarking.timing import Times, wait_for

REPOSITORY = Path(__file__).resolve().parents[2]
ROUNDS = 3
_START_SECONDS = 300  # after which processes that say nothing count as lost
_EPOCHS = 2


def measure_ddp(setting: Setting) -> None:
    """Time a step of several processes beside one process alone, each with one batch."""
    is_gpu = setting.device.type == "cuda"
    number = max(torch.cuda.device_count(), 1) if is_gpu else 2
    if is_gpu and number == 1:
        setting.report.figures("ddp", "step", not_measured="this host has one GPU")
        return
    rounds = 1 if setting.is_tiny else ROUNDS
    found = [[_step_of(setting, size) for size in (1, number)] for _ in range(rounds)]
    alone, together = (Times(tuple(float(r[i]["seconds"]) for r in found)) for i in (0, 1))
    ratio = number * alone.over(together)
    setting.report.ratio(
        *("ddp", "step", ratio),
        processes=number,
        median_ms=1e3 * together.median,
        against="one process of one thread",
        against_ms=1e3 * alone.median,
        clips_per_s_of_all=number * float(found[0][1]["clips"]) / together.median,
    )


def measure_nccl(setting: Setting) -> None:
    """Compare the weights after steps in a process group of one with those without a group."""
    grouped = _step_of(setting, 1)
    alone = _step_of(setting, 0)
    difference = abs(grouped["checksum"] - alone["checksum"]) / abs(alone["checksum"])
    setting.report.figures(
        *("nccl", "a group of one process"),
        backend=grouped["backend"],
        weights_differ_by=difference,
        ok=difference < 1e-6,
        gathered=grouped["gathered"],
    )


def measure_feed(setting: Setting) -> None:
    """Tell the share of the time that a training waits for its loaders."""
    for workers in setting.workers:
        _measure_fed(setting, workers)
    if setting.is_tiny:
        return
    runs = {"quickstart": "config/quickstart.yml", "fir": "config/fir_small.yml"}
    for name, config in runs.items():
        if name == "fir" and not Path(load_cfg(config, []).DATA.TRAIN_LIST).exists():
            setting.report.figures("feed", f"wait of {name}", not_measured="data/fir is not here")
            continue
        with tempfile.TemporaryDirectory(dir=setting.folder) as folder:
            words = ["TRAIN.EPOCHS", str(_EPOCHS), "TEST.AFTER_TRAINING", "False"]
            main_ddp_shift.main(["--cfg", config, "--output", f"{folder}/run", *words])
            waits = [line["data_wait"] for line in _training_lines(Path(folder) / "run")]
        setting.report.figures("feed", f"wait of {name}", wait=statistics.mean(waits[1:] or waits))


def measure_quickstart(setting: Setting) -> None:
    """Train in each precision, go on from a checkpoint, and compare the weights bit by bit."""
    names = ("none", "tf32", "bf16", "fp16") if setting.device.type == "cuda" else ("none", "bf16")
    for amp in names:
        words = ["DETERMINISTIC", "True", "TRAIN.KEEP_EVERY", "1", "TEST.AFTER_TRAINING", "False"]
        words += ["TRAIN.EPOCHS", str(_EPOCHS), *_precision_words(amp)]
        if setting.is_tiny:
            drawn = videos_cfg(setting, CLIP_SIZE)
            words += ["DATA.ROOT", drawn.DATA.ROOT, "DATA.TRAIN_LIST", drawn.DATA.TRAIN_LIST]
            words += ["DATA.VAL_LIST", drawn.DATA.VAL_LIST, "DATA.WORKERS", "0"]
            command = ["--cfg", setting.config, *setting.words(), *words]
        else:
            command = ["--cfg", "config/quickstart.yml", *words]
        with tempfile.TemporaryDirectory(dir=setting.folder) as folder:
            start = time.perf_counter()
            main_ddp_shift.main([*command, "--output", f"{folder}/whole"])
            seconds = time.perf_counter() - start
            first = ["--resume", f"{folder}/whole/epoch_1.pth"]
            main_ddp_shift.main([*command, "--output", f"{folder}/resumed", *first])
            torch.use_deterministic_algorithms(False)
            whole, resumed = (_weights(Path(folder) / name) for name in ("whole", "resumed"))
            loss = _training_lines(Path(folder) / "whole")[-1]["loss"]
        equal = all(torch.equal(tensor, resumed[name]) for name, tensor in whole.items())
        setting.report.figures(
            *("quickstart", precision_name(amp)), resume_equal=equal, loss=loss, seconds=seconds
        )


def _precision_words(amp: str) -> list[str]:
    return ["TRAIN.TF32", "True"] if amp == "tf32" else ["TRAIN.AMP", amp]


def _weights(folder: Path) -> dict[str, torch.Tensor]:
    return torch.load(folder / "last.pth", map_location="cpu", weights_only=True)["state_dict"]


def _training_lines(folder: Path) -> list[dict[str, Any]]:
    lines = (folder / "log.jsonl").read_text(encoding="utf-8").splitlines()
    return [line for line in map(json.loads, lines) if line["kind"] == "train"]


def _measure_fed(setting: Setting, workers: int) -> None:
    """Train on drawn videos; wait only where the training does, at the loader."""
    amp = "bf16" if setting.device.type == "cuda" else "none"
    words = ["DATA.WORKERS", str(workers), "TRAIN.AMP", amp]
    if setting.device.type == "cpu":
        words += ["TRAIN.CLIPS_PER_GPU", "2"]
    cfg = videos_cfg(setting, CLIP_SIZE, *words)
    learner = setting.learner(cfg)
    given = batches(build_train_loader(cfg, read_records(cfg, "train"), rank=0, world_size=1))
    for _ in range(2):
        training_step(learner, cfg, setting.world, next(given).clips)
    wait_for(setting.device)
    start, waited, number = time.perf_counter(), 0.0, 0
    while number < 3 or time.perf_counter() - start < setting.seconds:
        before = time.perf_counter()
        batch = next(given)
        waited += time.perf_counter() - before
        training_step(learner, cfg, setting.world, batch.clips)
        number += len(batch.labels)
    wait_for(setting.device)
    seconds = time.perf_counter() - start
    setting.report.ratio(
        *("feed", "wait", waited / seconds), workers=workers, fed_clips_per_s=number / seconds
    )


def _step_of(setting: Setting, num_processes: int) -> dict[str, Any]:
    """Run steps in processes of a group, or with 0 in one process without a group."""
    with tempfile.TemporaryDirectory(dir=setting.folder) as folder:
        out = Path(folder) / "step.json"
        order = {
            "config": setting.config,
            "overrides": setting.words(),
            "device": setting.device.type,
            "seconds": setting.seconds / 2,
            "out": str(out),
        }
        script = [str(REPOSITORY / "tools/benchmarking/step_worker.py"), json.dumps(order)]
        launcher = [str(REPOSITORY / "tools/launching/torchrun.py"), "--standalone"]
        launcher += ["--nproc-per-node", str(num_processes)]
        command = [sys.executable, *(launcher if num_processes else []), *script]
        subprocess.run(command, check=True, timeout=_START_SECONDS + 10 * setting.seconds)
        return json.loads(out.read_text(encoding="utf-8"))
