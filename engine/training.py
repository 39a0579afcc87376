"""Everything that a training needs before its first batch, built from the config."""

import argparse
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader
from yacs.config import CfgNode

from config.backbones import backbone_pixels
from config.class_names import check_same_names, read_class_names
from datasets.annotations import VideoRecord, list_digest
from datasets.first_look import look_at_lists
from datasets.loaders import (
    Clips,
    EpochSampler,
    Views,
    build_train_loader,
    build_view_loader,
    read_records,
)
from engine.accumulation import Accumulation, build_accumulation
from engine.agreement import check_agreement
from engine.bad_videos import BadVideos
from engine.checkpoint_folder import CheckpointFolder
from engine.checkpoints import TrainingList
from engine.class_weights import build_emphasis
from engine.distillation import build_teacher
from engine.distributed import World, barrier, decided_by_main
from engine.experiment import load_teacher_cfg
from engine.kept_records import RecordedPart
from engine.learner import Learner, build_learner
from engine.objective import Objective, build_mixer, build_objective
from engine.pace import Pace
from engine.patience import Patience
from engine.position import EpochPart, Position
from engine.provenance import describe_run
from engine.resuming import Start, find_start, resume
from engine.run import Run, placed, to_device
from engine.run_folder import RunFolder
from engine.run_log import NullRunLog, RunLog, open_runlog
from engine.save_points import SavePoints
from engine.schedule import build_schedule
from engine.smoke_part import part_to_use
from engine.stop_signals import stop_signals
from engine.summary import log_start
from engine.teachers import Teacher
from models import VideoModel, build_model
from models.pretrained import load_weights
from models.weights.load_report import LoadReport
from ops.mixing import Mixer

_log = logging.getLogger("main")


@dataclass(frozen=True)
class Videos:
    """The videos of a split with what loads their views.

    Attributes:
        records: Records of all videos that are used, in the order of the list.
        loader: Loader of this process's share.
        split: Name of the split, ``val`` or ``test``.
    """

    records: list[VideoRecord]
    loader: DataLoader[Views]
    split: str


@dataclass(frozen=True)
class Training:
    """What a training works with.

    Attributes:
        learner: The model with its optimizer and averages.
        loader: Loader of this process's share of the training clips.
        names: Path of each training video, as in the list.
        clip_shape: Shape of a training clip, (T, 3, H, W).
        val: Videos of the validation.
        objective: Function from labels to the target of a batch.
        mixer: Mixer of clips, Mixup and CutMix.
        schedule: Function from epochs done, with fraction, to the learning rate.
        groups: Groups of batches that make a step together.
        teacher: Teacher that is asked about each batch; None without distillation.
        bad_videos: Training videos that could not be read.
        listed: List that is trained on, for the checkpoints.
        start: Place where the training begins.
        save_points: Rule that says when checkpoints are written within an epoch.
        patience: Rule that says whether it ends early.
        pace: Estimate of the time left.
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
    listed: TrainingList
    start: Start
    save_points: SavePoints
    patience: Patience = field(default_factory=partial(Patience, limit=0))
    pace: Pace = field(default_factory=Pace)

    def part(self, epoch: int, world: World) -> EpochPart:
        """Return the batches of an epoch that are to be trained on, and set the loader to them.

        All of them, except in the epoch that was broken off.
        """
        sampler, start = self.loader.sampler, self.start.position
        assert isinstance(sampler, EpochSampler)
        assert self.loader.batch_size
        # Of a whole epoch, whatever is left of this one: the schedule's unit must not change on the
        # way.
        batches_per_epoch = sampler.num_whole // self.loader.batch_size
        sampler.set_epoch(start.epoch, start.offset, start.dealt_to)
        if epoch > start.epoch:
            # len(loader) is still that of the broken epoch, which may have fewer batches left.
            later = (epoch - start.epoch - 1) * batches_per_epoch
            start = Position(epoch, 0, world.size, start.iterations + len(self.loader) + later)
            sampler.set_epoch(epoch)
        clips_per_batch = self.loader.batch_size * world.size
        return EpochPart(start, batches_per_epoch, len(self.loader), clips_per_batch)


def open_videos(cfg: CfgNode, split: str, world: World) -> Videos:
    """Read the list of a split, ``val`` or ``test``, and build the loader of its views."""
    # Rank 0 alone looks at the disk, and tells the others what it found.
    whole = read_records(cfg, split, partial(decided_by_main, world=world))
    records = part_to_use(whole, cfg, split, world)
    loader = build_view_loader(cfg, records, split, world.rank, world.size)
    return Videos(records, loader, split)


def check_lists(cfg: CfgNode, lists: Mapping[str, Sequence[VideoRecord]], world: World) -> None:
    """Check that all processes have the same config and lists, and that the videos exist.

    Args:
        cfg: Config of the run.
        lists: Records by split: ``train``, ``val``, ``test``.
        world: Rank and device of this process. All processes call this together.

    Raises:
        ValueError: Something differs or is missing, in every process; see `check_agreement` and
            `look_at_lists`.
    """
    # Another order of lines on one host is no error anywhere else, and gives wrong figures.
    digests = {f"{split} list": list_digest(records) for split, records in lists.items()}
    check_agreement(world, {"config": cfg.dump(), **digests})
    is_test = "train" not in lists  # it keeps the scores of the others, and fails in the end
    decided_by_main(partial(look_at_lists, cfg, lists, bears_bad=is_test), world)


def set_up_training(
    cfg: CfgNode,
    args: argparse.Namespace,
    folder: RunFolder,
    checkpoints: CheckpointFolder,
    world: World,
) -> tuple[Run, Training]:
    """Read lists and weights, build model, teacher and learner, and open the run folder.

    Args:
        cfg: Config of the run.
        args: Parsed command line; ``tune_from``, ``resume`` and ``start_epoch`` count here.
        folder: Run folder. If it holds a run and this one begins there, the old one is moved
            aside.
        checkpoints: Checkpoints of the run folder.
        world: Rank and device of this process. All processes call this together.

    Raises:
        ValueError: A list, a file of weights or a checkpoint cannot be read or does not fit, or
            videos are missing.
    """
    once = partial(decided_by_main, world=world)
    listed_records, val = read_records(cfg, "train", once), open_videos(cfg, "val", world)
    lists = {"train": listed_records, "val": val.records}
    if cfg.TEST.AFTER_TRAINING:  # a fault in it would show only when the training is done
        lists["test"] = part_to_use(read_records(cfg, "test", once), cfg, "test", world)
    check_lists(cfg, lists, world)
    records = part_to_use(listed_records, cfg, "train", world)
    class_names = read_class_names(cfg.DATA.CLASS_NAMES, cfg.MODEL.NUM_CLASSES)
    teacher_cfg = load_teacher_cfg(cfg, class_names)
    loader = build_train_loader(cfg, records, world.rank, world.size, teacher_cfg)
    mirrored = loader.dataset.maker.mirrored_labels  # type: ignore[attr-defined]
    emphasis = build_emphasis(cfg, records, mirrored, world.device)
    groups = build_accumulation(cfg, len(loader), world.size)
    # Kept in checkpoints: a run that goes on with other processes says if its batch has changed.
    clips_per_step = world.size * cfg.TRAIN.CLIPS_PER_GPU * groups.size
    listed = TrainingList(list_digest(records), len(records), class_names, clips_per_step)
    # Before anything is drawn, and on the CPU: the first weights are the same in all processes and
    # on any device.
    torch.manual_seed(cfg.SEED)
    model = build_model(cfg)
    drops_head = cfg.TRAIN.TUNE_DROPS_HEAD
    # A run that goes on has its weights already; the command may still name those it began with.
    tunes = args.tune_from and args.resume is None
    report = load_weights(model, args.tune_from, drops_head=drops_head) if tunes else None
    is_fresh = not args.tune_from and args.resume is None
    if cfg.TRAIN.FREEZE != "nothing" and is_fresh and world.is_main:
        _log.warning(
            "TRAIN.FREEZE=%r without --tune_from: what is frozen stays as it was drawn at random",
            cfg.TRAIN.FREEZE,
        )
    if report and not drops_head:
        _check_kept_head(model, report, class_names)
    prepare = partial(to_device, cfg=teacher_cfg, world=world)
    trained, teacher, taught = build_teacher(
        cfg, teacher_cfg, model, records, mirrored, prepare, world
    )
    # What is frozen is frozen by now: frozen later, as in the release's PARTIAL_BN, it breaks DDP
    # in the second step.
    learner = build_learner(cfg, placed(trained, cfg, world), world)
    torch.manual_seed(cfg.SEED + world.rank)  # dropout differs between processes
    # After the seed: the random states of a checkpoint take the place of its draws.
    start = _find_start(cfg, args, checkpoints, learner, listed, groups.num_batches, world)
    barrier()  # all have read: the files may lie in the folder that is moved aside now
    log = _open_records(folder, checkpoints, args.resume, start, world)
    run = Run(cfg, world, log)
    described = describe_run(cfg, lists, world)
    # Each start, also one that goes on: figures of one run may come from two revisions.
    log.line("start", resumed=args.resume, **emphasis.as_dict(), **described)
    log.config(cfg)
    for text in filter(None, (report, taught, *emphasis.lines(class_names))):
        _log.info("%s", text)
    if report:
        report.pixels = report.pixels or backbone_pixels(cfg.MODEL.BACKBONE)
    if report and (remark := report.pixel_remark(cfg.DATA.PIXEL_MEAN, cfg.DATA.PIXEL_STD)):
        _log.warning("%s", remark)
    log_start(cfg, world, model, groups.size, len(records), len(val.records))
    names = [record.path for record in records]
    # A smoke run reads few videos of the list: as many may be bad as in the whole of it.
    max_bad = cfg.TRAIN.MAX_BAD_SHARE * len(listed_records) / len(records)
    bad_videos = BadVideos(checkpoints.folder, names, max_bad, world)
    bad_videos.restore(start.bad_videos)
    training = Training(
        learner,
        loader,
        names,
        (cfg.DATA.NUM_FRAMES, 3, cfg.DATA.IMAGE_SIZE, cfg.DATA.IMAGE_SIZE),
        val,
        build_objective(cfg, emphasis.weights),
        build_mixer(cfg),
        build_schedule(cfg),
        groups,
        teacher,
        bad_videos,
        listed,
        start,
        SavePoints(cfg.TRAIN.CHECKPOINT_MINUTES, cfg.TRAIN.CHECKPOINT_STEPS, world, stop_signals),
        Patience(cfg.TRAIN.PATIENCE, start.top1s),
        Pace(),
    )
    return run, training


def _check_kept_head(model: nn.Module, report: LoadReport, class_names: Sequence[str]) -> None:
    """Reject a head that was learned for other classes, or for these in another order."""
    assert isinstance(model, VideoModel)
    # The shapes fit as long as the number of classes does: nothing else would notice.
    if any(name.startswith(f"{model.head_name}.") for name in report.loaded):
        way_out = "TRAIN.TUNE_DROPS_HEAD True starts without the file's head"
        check_same_names(class_names, report.class_names, report.source, way_out)


def _open_records(
    folder: RunFolder,
    checkpoints: CheckpointFolder,
    resumed: str | None,
    start: Start,
    world: World,
) -> RunLog | NullRunLog:
    """Open the records, and take the folder's files for the run's own as far as it has come."""
    position = start.position
    # A run that was broken off before its validation makes that anew: its old record would stand
    # there twice.
    num_validated = position.epoch - start.awaits_validation
    part = RecordedPart(position.iterations, position.epoch, num_validated)
    log = open_runlog(folder, world.is_main, part if folder.holds(resumed) else None)
    if resumed and world.is_main:
        checkpoints.go_on_from(Path(resumed))
    return log


def _find_start(
    cfg: CfgNode,
    args: argparse.Namespace,
    checkpoints: CheckpointFolder,
    learner: Learner,
    listed: TrainingList,
    batches_per_epoch: int,
    world: World,
) -> Start:
    """Take up the checkpoint that --resume names; without it begin at --start-epoch."""
    if args.resume is None:
        # The schedule starts there, too; in the release --start-epoch alone does not move the rate.
        iterations = args.start_epoch * batches_per_epoch
        return Start(Position(args.start_epoch, 0, world.size, iterations))
    content = resume(learner, args.resume, world)
    validated = decided_by_main(CheckpointFolder(Path(args.resume).parent).record, world)
    start = find_start(content, validated, cfg, listed, batches_per_epoch, world)
    if not start.awaits_validation and not decided_by_main(checkpoints.has_best, world):
        _check_has_more(cfg, args.resume, start, checkpoints)
    if len(content.get("rng", ())) not in (0, world.size):
        # each process draws anew, and not what it drew when the run began
        torch.manual_seed(cfg.SEED + world.rank + world.size * (1 + start.position.iterations))
    offset = start.position.offset
    _log.info(
        "resumed %s after %d epochs%s, best %s %.2f",
        *(args.resume, start.position.epoch),
        f" and {offset} clips of the next" if offset else "",
        *("mAP" if cfg.DATA.MULTI_LABEL else "top-1", start.best),
    )
    return start


def _check_has_more(cfg: CfgNode, path: str, start: Start, checkpoints: CheckpointFolder) -> None:
    """Raise ``ValueError`` where a run that goes on has nothing left to train."""
    # An error and not a silent test: the command asked for training.
    has_ended = Patience(cfg.TRAIN.PATIENCE, start.top1s).why_end()
    if start.position.epoch < cfg.TRAIN.EPOCHS and not has_ended:
        return
    key = "TRAIN.PATIENCE" if has_ended else "TRAIN.EPOCHS"
    done = f"has ended by {key}" if has_ended else f"has done all {key}"
    raise ValueError(
        f"{path} is of a run that {done}={cfg.TRAIN[key.removeprefix('TRAIN.')]}, so there is "
        f"nothing to do in {checkpoints.folder}; raise {key} to go on, or test it with --evaluate "
        f"--resume {path}"
    )
