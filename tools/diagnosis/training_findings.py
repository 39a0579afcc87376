"""What `tools/doctor.py` finds of weights, teacher, batch, learning rate and disk."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import torch
from yacs.config import CfgNode

from config.values import counted
from datasets.annotations import read_class_names
from engine.accumulation import build_accumulation
from engine.checkpoint_folder import CheckpointFolder
from engine.distributed import World
from engine.experiment import load_teacher_cfg
from engine.learner import build_learner
from engine.resuming import best_of, resume
from engine.summary import rate_advice
from models import build_model
from models.freezing import count_trained
from models.pretrained import load_weights
from models.weights.load_report import LoadReport
from tools.diagnosis.examination import Examination
from tools.diagnosis.findings import ERROR, OK, WARNING, Finding

CPU = World(rank=0, size=1, local_rank=0, device=torch.device("cpu"))
BYTES_OF_NUMBER = 4  # float32
NUM_NAMED = 4
TUNES, RESUMES = "--tune_from", "--resume"


def check_weights(examination: Examination) -> Iterator[Finding]:
    """Yield how the checkpoint fits the model, as new weights and as a run to go on with."""
    cfg, path = examination.cfg, examination.checkpoint
    model = build_model(cfg)
    num_parameters = sum(parameter.numel() for parameter in model.parameters())
    trained = count_trained(model)
    learns = "" if trained == num_parameters else f", {trained / 1e6:.2f} M of them trained"
    size = f"{num_parameters / 1e6:.2f} M parameters{learns}"
    yield Finding(OK, f"{cfg.MODEL.NAME} {cfg.MODEL.BACKBONE}: {size}")
    if not path:
        yield Finding(OK, "no --checkpoint: the run starts from fresh weights")
        return
    try:
        report = load_weights(model, path, drops_head=cfg.TRAIN.TUNE_DROPS_HEAD)
    except ValueError as error:
        fix = "name the file's own --cfg or keys (MODEL.*, DATA.IMAGE_SIZE), or another file"
        yield Finding(ERROR, f"{TUNES} would fail: {error}", fix)
    else:
        yield Finding(OK, f"{TUNES}: {_in_short(report)}")
        yield from (Finding(OK, note) for note in report.notes)
        remark = report.pixel_remark(cfg.DATA.PIXEL_MEAN, cfg.DATA.PIXEL_STD)
        if remark:
            yield Finding(WARNING, remark, "DATA.PIXEL_MEAN and DATA.PIXEL_STD of the file")
    if cfg.DISTILL.LOSS == "dml" and (cfg.DISTILL.TEACHER or cfg.DISTILL.TEACHER_CFG):
        yield Finding(OK, f"{RESUMES} was not tried, since two models learn together")
        return
    try:
        content = resume(build_learner(cfg, build_model(cfg), CPU), path, CPU)
    except ValueError as error:
        yield Finding(OK, f"{RESUMES} is not for this file: {error}")
    else:
        num_epochs = content["epoch"]
        best = max(best_of(content), CheckpointFolder(Path(path).parent).record().top1)
        done = f"{RESUMES} goes on after {num_epochs} of {cfg.TRAIN.EPOCHS} epochs"
        if num_epochs < cfg.TRAIN.EPOCHS:
            yield Finding(OK, f"{done}, best top-1 {best:.2f}")
        else:
            yield Finding(WARNING, f"{done}: nothing is left to train", "TRAIN.EPOCHS higher")


def check_teacher(examination: Examination) -> Iterator[Finding]:
    """Yield whether the teacher is there and fits the student."""
    cfg = examination.cfg
    distill = cfg.DISTILL
    if distill.LOGITS and not Path(distill.LOGITS).is_file():
        text = f"DISTILL.LOGITS={distill.LOGITS!r} is not a file"
        yield Finding(ERROR, text, "write it with tools/dump_teacher.py")
    try:
        names = read_class_names(cfg.DATA.CLASS_NAMES, cfg.MODEL.NUM_CLASSES)
    except ValueError:
        names = [str(label) for label in range(cfg.MODEL.NUM_CLASSES)]  # said among the classes
    try:
        teacher_cfg = load_teacher_cfg(cfg, names)
        if teacher_cfg and distill.TEACHER:
            load_weights(build_model(teacher_cfg), distill.TEACHER, head_may_differ=False)
    except ValueError as error:
        yield Finding(ERROR, str(error), "choose another DISTILL.TEACHER, or change what is named")
    else:
        text = "the teacher fits the student" if teacher_cfg else "no teacher model takes part"
        yield Finding(OK, text)


def check_batch(examination: Examination) -> Iterator[Finding]:
    """Yield the effective batch, and whether it can be made and fits the learning rate."""
    cfg, num_processes = examination.cfg, examination.num_processes
    num_batches, clips = examination.num_batches, cfg.TRAIN.CLIPS_PER_GPU
    if "train" in examination.records and not num_batches:
        yield Finding(
            ERROR,
            f"{len(examination.records['train'])} training videos do not fill one batch of "
            f"{counted(num_processes, 'process', 'processes')} x {clips} clips",
            "TRAIN.CLIPS_PER_GPU lower, or more videos",
        )
    try:
        groups = build_accumulation(cfg, num_batches or cfg.TRAIN.ACCUMULATION, num_processes)
    except ValueError as error:
        yield Finding(ERROR, str(error), f"TRAIN.GLOBAL_BATCH {_next_multiple(cfg, num_processes)}")
        return
    batch = num_processes * clips * groups.size
    processes = counted(num_processes, "process", "processes")
    product = f"{processes} x {clips} clips x {groups.size} accumulated"
    yield Finding(OK, f"effective batch {batch} = {product}, learning rate {cfg.OPTIM.LR:g}")
    if 0 < num_batches < groups.size:
        yield Finding(
            WARNING,
            f"an epoch has {counted(num_batches, 'batch', 'batches')}, a step takes {groups.size}: "
            "each epoch makes one step of fewer batches",
            "TRAIN.ACCUMULATION or TRAIN.GLOBAL_BATCH lower",
        )
    elif num_batches:
        num_steps = sum(groups.steps_after(i) for i in range(num_batches))
        batches = counted(num_batches, "batch", "batches")
        text = f"an epoch has {batches} in each process, which make {counted(num_steps, 'step')}"
        yield Finding(OK, text)
    advice = rate_advice(cfg, batch)
    if advice:
        due = cfg.OPTIM.REFERENCE_LR * batch / cfg.OPTIM.REFERENCE_BATCH
        yield Finding(WARNING, advice, f"OPTIM.LR {due:.4g}")
    elif not (cfg.OPTIM.REFERENCE_BATCH and cfg.OPTIM.REFERENCE_LR):
        yield Finding(OK, "no OPTIM.REFERENCE_LR and REFERENCE_BATCH to compare the rate with")
    else:
        yield Finding(OK, "the learning rate is in proportion to the batch, as in the recipe")


def check_disk(examination: Examination) -> Iterator[Finding]:
    """Yield whether the checkpoints that will lie in the run folder find room."""
    cfg = examination.cfg
    folder = Path(cfg.OUTPUT_DIR).absolute()
    lies_in = next(parent for parent in (folder, *folder.parents) if parent.exists())
    if not lies_in.is_dir() or not os.access(lies_in, os.W_OK):
        yield Finding(ERROR, f"{lies_in} cannot be written into", "--output DIR elsewhere")
        return
    size = checkpoint_bytes(cfg)
    kept = cfg.TRAIN.EPOCHS // cfg.TRAIN.KEEP_EVERY if cfg.TRAIN.KEEP_EVERY else 0
    # besides: the best, the one being written
    number = cfg.TRAIN.KEEP_LAST + 2 + kept + bool(cfg.TRAIN.SWA.START_EPOCH)
    free = shutil.disk_usage(lies_in).free
    text = (
        f"{number} checkpoints of {_size(size)} at most, {_size(number * size)}; "
        f"{lies_in} has {_size(free)} free"
    )
    if number * size > free:
        yield Finding(ERROR, text, "--output DIR on another disk, or TRAIN.KEEP_EVERY higher or 0")
    elif number * size > 0.8 * free:
        yield Finding(WARNING, text, "make room: logs and other runs grow too")
    else:
        yield Finding(OK, text)
    checkpoints = CheckpointFolder(folder).candidates()
    if checkpoints:
        newest = checkpoints[0].name
        yield Finding(OK, f"{folder} holds {newest}: a fresh run moves it aside, {RESUMES} goes on")


def checkpoint_bytes(cfg: CfgNode) -> int:
    """Return the size of a training checkpoint: weights, optimizer and averages."""
    with torch.device("meta"):
        model = build_model(cfg)
    weights = sum(value.numel() for value in model.state_dict().values())
    trained = count_trained(model)
    copies = 1 + bool(cfg.TRAIN.EMA_DECAY) + bool(cfg.TRAIN.SWA.START_EPOCH)
    moments = 2 if cfg.OPTIM.NAME == "adamw" else int(cfg.OPTIM.MOMENTUM > 0)
    return BYTES_OF_NUMBER * (copies * weights + moments * trained)


def _next_multiple(cfg: CfgNode, num_processes: int) -> int:
    at_once = num_processes * cfg.TRAIN.CLIPS_PER_GPU
    return -(-cfg.TRAIN.GLOBAL_BATCH // at_once) * at_once


def _in_short(report: LoadReport) -> str:
    text = f"{report.kind}, {len(report.loaded)} tensors fit"
    outcomes = {
        "resized": list(report.resized),
        "copied": list(report.copied),
        "re-initialised": [f"{name} ({why})" for name, why in report.reinitialised.items()],
        "ignored": report.ignored,
    }
    for outcome, names in outcomes.items():
        if names:
            more = ", ..." if len(names) > NUM_NAMED else ""
            text += f"; {len(names)} {outcome}: {', '.join(names[:NUM_NAMED])}{more}"
    return text


def _size(num_bytes: float) -> str:
    return f"{num_bytes / 1e9:.1f} GB" if num_bytes >= 1e9 else f"{num_bytes / 1e6:.1f} MB"
