"""Everything that a training needs before its first batch, built from the config."""

import argparse
import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch.utils.data import DataLoader
from yacs.config import CfgNode

from config.class_names import read_class_names
from datasets.annotations import VideoRecord
from datasets.loaders import Clips, Views, build_train_loader, build_view_loader, read_records
from engine.accumulation import Accumulation, build_accumulation
from engine.bad_videos import BadVideos
from engine.checkpoints import resume
from engine.distillation import build_teacher
from engine.distributed import World, barrier
from engine.experiment import load_teacher_cfg
from engine.learner import Learner, build_learner
from engine.objective import Objective, build_mixer, build_objective
from engine.run import Run, to_device
from engine.run_log import open_runlog
from engine.schedule import build_schedule
from engine.summary import log_start
from engine.teachers import Teacher
from models import build_model
from models.pretrained import load_weights
from ops.mixing import Mixer

_log = logging.getLogger("main")


@dataclass(frozen=True)
class Videos:
    """The videos of a split with what loads their views.

    Attributes:
        records: All of them, in the order of the list.
        loader: Of this process's share.
        split: ``val`` or ``test``.
    """

    records: list[VideoRecord]
    loader: DataLoader[Views]
    split: str


@dataclass(frozen=True)
class Training:
    """What a training works with.

    Attributes:
        learner: The model with its optimizer and averages.
        loader: Training clips, this process's share.
        names: Path of each training video, as in the list.
        clip_shape: Shape of a training clip, (T, 3, H, W).
        val: The validation.
        objective: From labels to the target of a batch.
        mixer: Of clips, Mixup and CutMix.
        schedule: From epochs done, with fraction, to the learning rate.
        groups: Which batches make a step together.
        teacher: What is asked about each batch; None without distillation.
        bad_videos: The training videos that could not be read.
        class_names: By label.
        start_epoch: 0-based.
        best: Highest validation top-1 before, percent; -1 in a fresh run.
    """

    learner: Learner
    loader: DataLoader[Clips]
    names: list[str]
    clip_shape: tuple[int, int, int, int]
    val: Videos
    objective: Objective
    mixer: Mixer
    schedule: Callable[[float], float]
    groups: Accumulation
    teacher: Teacher | None
    bad_videos: BadVideos
    class_names: list[str]
    start_epoch: int = 0
    best: float = -1.0


def open_videos(cfg: CfgNode, split: str, world: World) -> Videos:
    """Read the list of a split, ``val`` or ``test``, and build the loader of its views."""
    records = read_records(cfg, split)
    loader = build_view_loader(cfg, records, split, world.rank, world.size)
    return Videos(records, loader, split)


def set_up_training(
    cfg: CfgNode, args: argparse.Namespace, folder: Path, world: World
) -> tuple[Run, Training]:
    """Read lists and weights, build model, teacher and learner, and open the run folder.

    Args:
        cfg: The experiment.
        args: The command line; ``tune_from``, ``resume`` and ``start_epoch`` count here.
        folder: Run folder. If it holds a run and this one is fresh, the old one is moved aside.
        world: Where this process stands; all processes call together.

    Raises:
        ValueError: A list, a file of weights or a checkpoint cannot be read or does not fit.
    """
    records, val = read_records(cfg, "train"), open_videos(cfg, "val", world)
    if cfg.TEST.AFTER_TRAINING:
        read_records(cfg, "test")  # a fault in it would show only when the training is done
    class_names = read_class_names(cfg.DATA.CLASS_NAMES, cfg.MODEL.NUM_CLASSES)
    teacher_cfg = load_teacher_cfg(cfg, class_names)
    loader = build_train_loader(cfg, records, world.rank, world.size, teacher_cfg)
    groups = build_accumulation(cfg, len(loader), world.size)
    torch.manual_seed(cfg.SEED)
    model = build_model(cfg)
    drops_head = cfg.TRAIN.TUNE_DROPS_HEAD
    report = load_weights(model, args.tune_from, drops_head=drops_head) if args.tune_from else ""
    prepare = partial(to_device, cfg=teacher_cfg, world=world)
    mirrored = loader.dataset.maker.mirrored_labels  # type: ignore[attr-defined]
    trained, teacher, taught = build_teacher(
        cfg, teacher_cfg, model, records, mirrored, prepare, world
    )
    barrier()  # all have read: the files may lie in the folder that is moved aside now
    run = Run(cfg, world, open_runlog(folder, world.is_main, is_fresh=args.resume is None))
    run.log.text("config", cfg.dump())
    for text in filter(None, (report, taught)):
        _log.info("%s", text)
    learner = build_learner(cfg, trained.to(world.device), world)
    torch.manual_seed(cfg.SEED + world.rank)  # dropout differs between processes
    start_epoch, best = args.start_epoch, -1.0
    if args.resume is not None:
        start_epoch, best = resume(learner, args.resume, world)
    log_start(cfg, world, model, groups.size, len(records), len(val.records))
    names = [record.path for record in records]
    training = Training(
        learner,
        loader,
        names,
        (cfg.DATA.NUM_FRAMES, 3, cfg.DATA.IMAGE_SIZE, cfg.DATA.IMAGE_SIZE),
        val,
        build_objective(cfg),
        build_mixer(cfg),
        build_schedule(cfg),
        groups,
        teacher,
        BadVideos(folder, names, cfg.TRAIN.MAX_BAD_SHARE, world),
        class_names,
        start_epoch,
        best,
    )
    return run, training
