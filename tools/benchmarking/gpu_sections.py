"""Sections of the benchmark for the first minutes on a GPU: its limits, and whether it is right."""

import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd
from yacs.config import CfgNode

import main_ddp_shift
from engine.distributed import World
from engine.learner import autocast
from engine.run import to_device
from tools.benchmarking.setting import Setting, precision_name, random_clips
from tools.benchmarking.timing import time_side_by_side

SIDE = 8192  # of the matrices of the roofline
COPIED = 2**30  # bytes
# largest relative difference from float32 on the CPU: of the logits, and of all gradients together
LIMITS = {
    "none": (1e-4, 1e-3),
    "tf32": (5e-3, 3e-2),
    "bf16": (3e-2, 1e-1),
    "fp16": (5e-3, 3e-2),
}
LOSS_SCALE = 1024.0  # of fp16, whose smallest numbers are large


def measure_roofline(setting: Setting) -> None:
    """Tell the products a second in each precision, and the bytes a second of copies."""
    device, side = setting.device, 256 if setting.is_tiny else SIDE
    matrix = torch.randn(side, side, device=device)
    for amp in _precisions(setting):
        with _tf32(amp == "tf32"):
            factor = matrix.to({"bf16": torch.bfloat16, "fp16": torch.float16}.get(amp))
            call = {"product": lambda factor=factor: factor @ factor}
            times = time_side_by_side(call, device, setting.seconds / 8)["product"]
        tflops = 2 * side**3 / times.median / 1e12
        setting.report.times("roofline", f"product {precision_name(amp)}", times, tflops=tflops)
    num_bytes = 2**20 if setting.is_tiny else COPIED
    source = torch.empty(num_bytes, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    host = torch.empty(num_bytes, dtype=torch.uint8, pin_memory=device.type == "cuda")
    calls: dict[str, Callable[[], object]] = {
        "copy": lambda: target.copy_(source),
        "copy from the host": lambda: target.copy_(host, non_blocking=True),
    }
    for name, times in time_side_by_side(calls, device, setting.seconds / 4).items():
        moved = num_bytes * (2 if name == "copy" else 1)  # read and written
        setting.report.times("roofline", name, times, gb_per_s=moved / times.median / 1e9)


def measure_parity(setting: Setting) -> None:
    """Compare logits and gradients in each precision with float32 on the CPU."""
    cfg = setting.cfg("MODEL.DROP_PATH", "0.0")
    model = setting.model(cfg).cpu().train()
    for module in model.modules():
        if isinstance(module, _DropoutNd):
            module.p = 0.0
    clips = random_clips(cfg, 2)
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    cpu = World(rank=0, size=1, local_rank=0, device=torch.device("cpu"))
    expected = _logits_and_gradients(model, model, clips, cfg, "none", cpu)
    for amp, mode in _variants(setting):
        model.load_state_dict(state)  # the norms' statistics have moved
        model.to(setting.device)
        if mode == "compiled":
            torch.compiler.reset()
        run = torch.compile(model) if mode == "compiled" else model
        with _tf32(amp == "tf32"):
            found = _logits_and_gradients(model, run, clips, cfg, amp, setting.world)
        logits, gradients = (_difference(a, b) for a, b in zip(found, expected, strict=True))
        is_right = logits < LIMITS[amp][0] and gradients < LIMITS[amp][1]
        setting.report.figures(
            *("parity", f"{precision_name(amp)}, {mode}"),
            logits=logits,
            gradients=gradients,
            ok=is_right,
        )


def measure_waits(setting: Setting) -> None:
    """Count for what a training iteration makes the host wait, and where."""
    if setting.device.type != "cuda":
        setting.report.figures("waits", "of a training epoch", not_measured="no GPU to wait for")
        return
    found: Counter[str] = Counter()
    train_one_epoch = main_ddp_shift.train_one_epoch

    def watched(*args: Any) -> Any:
        with _waits_noted(found):
            return train_one_epoch(*args)

    main_ddp_shift.train_one_epoch = watched  # type: ignore[assignment]
    out = str(setting.folder / "waits")
    words = ["TRAIN.EPOCHS", "2", "TRAIN.PRINT_FREQ", "1000", "TEST.AFTER_TRAINING", "False"]
    try:
        main_ddp_shift.main(["--cfg", "config/quickstart.yml", "--output", out, *words])
    finally:
        main_ddp_shift.train_one_epoch = train_one_epoch
    # an epoch of the quickstart has 50 iterations, and a report at its end
    setting.report.figures(
        *("waits", "of two epochs of 50 iterations"),
        count=found.total(),
        ok=found.total() < 50,
        where=dict(found.most_common(20)),
    )


def _precisions(setting: Setting) -> tuple[str, ...]:
    return ("none", "tf32", "bf16", "fp16") if setting.device.type == "cuda" else ("none", "bf16")


def _variants(setting: Setting) -> Iterator[tuple[str, str]]:
    for amp in _precisions(setting):
        yield amp, "eager"
    if not setting.is_tiny:
        yield "bf16", "compiled"


def _logits_and_gradients(
    model: nn.Module, run: Any, clips: Tensor, cfg: CfgNode, amp: str, world: World
) -> tuple[Tensor, Tensor]:
    model.zero_grad(set_to_none=True)
    labels = torch.arange(len(clips), device=world.device)
    with autocast("none" if amp == "tf32" else amp, world.device):
        logits = run(to_device(clips, cfg, world))
    loss = F.cross_entropy(logits.float(), labels, label_smoothing=cfg.LOSS.LABEL_SMOOTHING)
    scale = LOSS_SCALE if amp == "fp16" else 1.0
    (loss * scale).backward()
    given = [p.grad for p in model.parameters() if p.grad is not None]
    gradients = torch.cat([gradient.flatten().float().cpu() / scale for gradient in given])
    return logits.detach().float().cpu(), gradients


def _difference(found: Tensor, expected: Tensor) -> float:
    return ((found.double() - expected.double()).norm() / expected.double().norm()).item()


@contextmanager
def _tf32(is_on: bool) -> Iterator[None]:
    """Compute float32 products in TF32 on a GPU that can."""
    matmul, conv = torch.backends.cuda.matmul, torch.backends.cudnn.conv  # type: ignore[attr-defined]
    before = matmul.fp32_precision, conv.fp32_precision
    matmul.fp32_precision = conv.fp32_precision = "tf32" if is_on else "ieee"
    try:
        yield
    finally:
        matmul.fp32_precision, conv.fp32_precision = before


@contextmanager
def _waits_noted(found: Counter[str]) -> Iterator[None]:
    """Count by place what torch warns of: operations for which the host waits."""
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            yield
    finally:
        torch.cuda.set_sync_debug_mode("default")
    for one in told:
        if "synchroniz" in str(one.message):
            found[f"{Path(one.filename).name}:{one.lineno}"] += 1
