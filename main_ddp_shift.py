"""Train a video model with DDP and test it with many views; README.md has the commands."""

import argparse
import logging
import os
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from yacs.config import CfgNode

from config import load_cfg, load_cfg_text
from config.command_line import parse_args
from config.distillation_checks import check_class_names, check_teacher
from datasets.annotations import VideoRecord, read_class_names
from datasets.decode.pyav_frames import MissingDecoderError, UnreadableVideoError
from datasets.loaders import (
    Clips,
    Views,
    build_train_loader,
    build_view_loader,
    describe_protocol,
    num_test_clips,
    read_records,
)
from datasets.toy import is_toy_missing, make_toy
from datasets.views import classify_views
from engine.accumulation import build_accumulation
from engine.averaging import update_statistics
from engine.bad_videos import BadVideos, TooManyBadVideosError
from engine.checkpoint_folder import CheckpointFolder
from engine.checkpoints import build_average, build_checkpoint, resume
from engine.distillation import build_teacher
from engine.distributed import (
    LaunchOptions,
    World,
    barrier,
    broadcast_buffers,
    gather_objects,
    launch,
)
from engine.learner import Learner, autocast, build_learner
from engine.objective import build_mixer, build_objective
from engine.progress import Progress
from engine.results import record_validation, write_results
from engine.run_log import NullRunLog, RunLog, open_runlog, set_up_console
from engine.schedule import build_schedule
from engine.scores import Scores, collect_scores
from engine.summary import log_end, log_start
from engine.teachers import Teacher
from models import build_model
from models.pretrained import load_weights
from models.weights.checkpoint_file import read_described
from ops.mixing import batch_rng
from ops.pixels import normalize

_log = logging.getLogger("main")


def main(argv: Sequence[str] | None = None) -> None:
    """Read the command line and run in as many processes as it asks for."""
    set_up_console(is_main=os.environ.get("RANK", "0") == "0")
    args = parse_args(sys.argv[1:] if argv is None else list(argv))
    options = LaunchOptions(
        spawn=args.multiprocessing_distributed,
        world_size=args.world_size,
        rank=args.rank,
        url=args.dist_url,
        backend=args.dist_backend,
        gpu=args.gpu,
    )
    with user_errors_shown(is_common_shown=os.environ.get("LOCAL_RANK", "0") == "0"):
        launch(run, options, args, load_experiment(args))


def run(world: World, args: argparse.Namespace, cfg: CfgNode) -> None:
    """Do what the command line asks for, in one of the processes."""
    set_up_console(world.is_main)
    if cfg.DETERMINISTIC:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = not cfg.DETERMINISTIC
    with user_errors_shown(is_common_shown=world.local_rank == 0):
        if cfg.DATA.GENERATE_TOY:
            if world.local_rank == 0 and is_toy_missing(cfg.DATA.ROOT, cfg.DATA.VAL_LIST):
                make_toy(cfg.DATA.ROOT)
            barrier()
        if args.evaluate:
            test(cfg, args.resume, world)
            return
        layout, keep_every = cfg.TRAIN.CHECKPOINT_LAYOUT, cfg.TRAIN.KEEP_EVERY
        checkpoints = CheckpointFolder(Path(cfg.OUTPUT_DIR), layout, keep_every)
        num_averaged = train(cfg, args, checkpoints, world)
        if cfg.TEST.AFTER_TRAINING:
            test(cfg, str(checkpoints.average if num_averaged else checkpoints.best()), world)
        if num_averaged:
            _log.info("mean of the weights of %d epochs: %s", num_averaged, checkpoints.average)
        if world.is_main:
            log_end(checkpoints.best())


def train(
    cfg: CfgNode, args: argparse.Namespace, checkpoints: CheckpointFolder, world: World
) -> int:
    """Train as the config says, a checkpoint after each epoch; count those in the mean."""
    records, val_records = read_records(cfg, "train"), read_records(cfg, "val")
    if cfg.TEST.AFTER_TRAINING:
        read_records(cfg, "test")  # a fault in it would show only when the training is done
    names = read_class_names(cfg.DATA.CLASS_NAMES, cfg.MODEL.NUM_CLASSES)
    teacher_cfg = load_teacher_cfg(cfg, names)
    loader = build_train_loader(cfg, records, world.rank, world.size, teacher_cfg)
    val_loader = build_view_loader(cfg, val_records, "val", world.rank, world.size)
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
    runlog = open_runlog(checkpoints.folder, world.is_main, is_fresh=args.resume is None)
    runlog.text("config", cfg.dump())
    for text in filter(None, (report, taught)):
        _log.info("%s", text)
    learner = build_learner(cfg, trained.to(world.device), world)
    torch.manual_seed(cfg.SEED + world.rank)  # dropout differs between processes
    start_epoch, best = args.start_epoch, -1.0
    if args.resume is not None:
        start_epoch, best = resume(learner, args.resume, world)
    best_here = best if checkpoints.has_best() else -1.0  # a run may go on in another folder
    log_start(cfg, world, model, groups.size, len(records), len(val_records))
    videos = [record.path for record in records]
    bad_videos = BadVideos(checkpoints.folder, videos, cfg.TRAIN.MAX_BAD_SHARE, world)
    for epoch in range(start_epoch, cfg.TRAIN.EPOCHS):
        loader.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
        train_one_epoch(learner, loader, bad_videos, epoch, cfg, world, runlog, teacher)
        learner.end_epoch(epoch + 1)
        top1 = validate(learner.evaluated, val_loader, val_records, epoch, cfg, world, runlog)
        is_best, best, best_here = top1 > best_here, max(top1, best), max(top1, best_here)
        runlog.scalars(epoch, {"Accuracy/best_test_top1": best})
        content = build_checkpoint(cfg, learner, epoch, best, names, world)
        if content:
            checkpoints.save(content, epoch, is_best)
    num_averaged = len(learner.averaged_epochs)
    if learner.swa and num_averaged:
        average, last = learner.swa.module, cfg.TRAIN.EPOCHS - 1
        update_average(average, loader, cfg, world)
        top1 = validate(average, val_loader, val_records, last, cfg, world, runlog, kind="swa")
        if world.is_main:
            checkpoints.save_average(build_average(cfg, average, num_averaged, top1, names))
    runlog.close()
    barrier()  # rank 0 has written
    return num_averaged


def train_one_epoch(
    learner: Learner,
    loader: DataLoader[Clips],
    bad_videos: BadVideos,
    epoch: int,
    cfg: CfgNode,
    world: World,
    runlog: RunLog | NullRunLog,
    teacher: Teacher | None = None,
) -> None:
    """Go once through the training clips and record what was learned."""
    learner.model.train()
    records = loader.dataset.records  # type: ignore[attr-defined]
    groups = build_accumulation(cfg, len(loader), world.size)
    schedule, mixer, objective = build_schedule(cfg), build_mixer(cfg), build_objective(cfg)
    clip_shape = (cfg.DATA.NUM_FRAMES, 3, cfg.DATA.IMAGE_SIZE, cfg.DATA.IMAGE_SIZE)
    progress = Progress(epoch, cfg.TRAIN.EPOCHS, len(loader), world, cfg.TRAIN.PRINT_FREQ, runlog)
    for i, batch in enumerate(progress.timed(loader)):
        rate = schedule(epoch + i / len(loader))
        learner.set_rate(rate)
        bad_videos.add(batch.errors)
        steps = groups.steps_after(i)
        if len(batch.labels):
            clips, labels = to_device(batch.clips, cfg, world), batch.labels.to(world.device)
            if not epoch and not i:
                runlog.clips(batch.clips[:8].numpy())
            mix = mixer.draw(clips.shape, batch_rng(cfg.SEED, epoch, i, world.rank))
            clips = mix.apply(clips) if mix else clips
            answers = teacher.answers(batch, mix) if teacher else None
            target = objective(labels, mix, answers)
            value, logits = learner.accumulate(clips, target.loss, groups.share(i), steps)
            names = [records[index].path for index in batch.indices.tolist()]
            progress.add(value, target.hits(logits), len(labels), names)
        else:  # not one video is readable; the other processes wait all the same
            learner.accumulate_nothing(clip_shape, steps)
            progress.skip()
        if steps:
            progress.stepped(learner.step())
        progress.report(rate)
    learner.drop_gradients()  # those of a last group that made no step
    bad_videos.collect()
    means = progress.epoch_means()
    runlog.scalars(epoch, {"Loss/train": means["loss"], "LearningRate": schedule(epoch)})
    runlog.scalars(epoch, {f"Accuracy/train_{name}": means[name] for name in ("top1", "top5")})
    _log.info("epoch %d trained: loss %.4f top1 %.2f top5 %.2f", epoch + 1, *means.values())


def update_average(
    average: nn.Module, loader: DataLoader[Clips], cfg: CfgNode, world: World
) -> None:
    """Give averaged weights batch norm statistics of their own, by a pass over training clips."""
    loader.sampler.set_epoch(cfg.TRAIN.EPOCHS)  # type: ignore[attr-defined]
    clips = (to_device(batch.clips, cfg, world) for batch in loader)
    with autocast(cfg.TRAIN.AMP, world.device):
        update_statistics(average, clips, world)


def validate(
    model: nn.Module,
    loader: DataLoader[Views],
    records: list[VideoRecord],
    epoch: int,
    cfg: CfgNode,
    world: World,
    runlog: RunLog | NullRunLog,
    kind: str = "val",
) -> float:
    """Score the validation videos and record the figures; return top-1 (on rank 0, else 0).

    The records are of kind ``val``, or ``swa`` for the averaged weights.
    """
    model.eval()
    broadcast_buffers(model)
    with autocast(cfg.TRAIN.AMP, world.device):
        scores, _ = evaluate(model, loader, records, cfg, world, "val")
    if scores is None:
        return 0.0
    mean_scores = scores.averaged(cfg.TEST.AVERAGE_LOGITS)
    loss = scores.loss(cfg.LOSS.LABEL_SMOOTHING)
    return record_validation(runlog, epoch, scores, mean_scores, loss, kind)


@torch.inference_mode()
def evaluate(
    model: nn.Module,
    loader: DataLoader[Views],
    records: list[VideoRecord],
    cfg: CfgNode,
    world: World,
    split: str,
) -> tuple[Scores | None, list[str]]:
    """Score every video exactly once over all processes.

    Returns:
        On rank 0 the scores of the readable videos in the list's order, None elsewhere; and why the
        others are unreadable, a line each.

    Raises:
        ValueError: A video is unreadable and TEST.SKIPS_UNREADABLE is off.
    """

    def classify(clips: Tensor) -> Tensor:
        return model(to_device(clips, cfg, world)).float().cpu()

    start, results = time.perf_counter(), []
    for i, batch in enumerate(loader):
        results += classify_views(batch, classify, cfg.TEST.VIEWS_PER_FORWARD)
        if split == "test" and ((i + 1) % cfg.TRAIN.PRINT_FREQ == 0 or i + 1 == len(loader)):
            left = (time.perf_counter() - start) / (i + 1) * (len(loader) - i - 1)
            _log.info("test %d/%d batches, %.0f s left", i + 1, len(loader), left)
    gathered = gather_objects(results, world)
    if gathered is None:
        return None, []
    return collect_scores(
        [result for part in gathered for result in part],
        [record.path for record in records],
        [record.label for record in records],
        num_clips=num_test_clips(cfg, split),
        num_crops=cfg.VAL.NUM_CROPS if split == "val" else cfg.TEST.NUM_CROPS,
        skips_unreadable=cfg.TEST.SKIPS_UNREADABLE,
    )


def test(cfg: CfgNode, path: str, world: World) -> None:
    """Test a checkpoint with all views; write results.json and scores.npz into the run folder."""
    records, names = (
        read_records(cfg, "test"),
        read_class_names(cfg.DATA.CLASS_NAMES, cfg.MODEL.NUM_CLASSES),
    )
    model = build_model(cfg)
    _log.info("%s", load_weights(model, path, head_may_differ=False))
    model.to(world.device).eval()
    loader = build_view_loader(cfg, records, "test", world.rank, world.size)
    with autocast(cfg.TRAIN.AMP, world.device):
        scores, unreadable = evaluate(model, loader, records, cfg, world, "test")
    if scores is None:
        return
    folder = Path(cfg.OUTPUT_DIR)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "test_config.yml").write_text(cfg.dump(), encoding="utf-8")
    source = {
        "protocol": describe_protocol(cfg),
        "checkpoint": path,
        "list": cfg.DATA.TEST_LIST or cfg.DATA.VAL_LIST,
    }
    write_results(folder, scores, unreadable, names, source, cfg.TEST.AVERAGE_LOGITS)


def load_experiment(args: argparse.Namespace) -> CfgNode:
    """Return the config that the command line asks for; fill in a bare --resume."""
    flags = {
        "OUTPUT_DIR": args.output,
        "SEED": args.seed,
        "DATA.WORKERS": args.workers,
        "TRAIN.PRINT_FREQ": args.print_freq,
        "TRAIN.AMP": "auto" if args.amp else None,
    }
    overrides = [str(word) for pair in flags.items() if pair[1] is not None for word in pair]
    overrides += args.overrides
    if args.cfg:
        cfg = load_cfg(args.cfg, overrides)
    else:
        cfg = saved_cfg(read_described(args.resume), args.resume, "--cfg", overrides)
    if args.resume == "":
        args.resume = str(CheckpointFolder(Path(cfg.OUTPUT_DIR)).newest())
    return cfg


def saved_cfg(
    content: dict[str, Any], path: str, way_out: str, overrides: Sequence[str] = ()
) -> CfgNode:
    """Return the config that the content of a checkpoint holds, or name the way out."""
    if not content.get("config"):
        raise ValueError(f"{path} does not hold its config; name one with {way_out}")
    return load_cfg_text(content["config"], f"the config in {path}", overrides)


def load_teacher_cfg(cfg: CfgNode, names: Sequence[str]) -> CfgNode | None:
    """Return the config of the teacher, if there is one and it can teach classes of these names."""
    path, path_of_cfg = cfg.DISTILL.TEACHER, cfg.DISTILL.TEACHER_CFG
    if not (path or path_of_cfg):
        return None
    if path_of_cfg:
        teacher_cfg = load_cfg(path_of_cfg)
        num_classes = teacher_cfg.MODEL.NUM_CLASSES
        teacher_names = read_class_names(teacher_cfg.DATA.CLASS_NAMES, num_classes)
    else:
        content = read_described(path)
        teacher_cfg = saved_cfg(content, path, "DISTILL.TEACHER_CFG")
        teacher_names = content.get("class_names", names)
    check_teacher(cfg, teacher_cfg)
    check_class_names(names, teacher_names, path_of_cfg or path)
    return teacher_cfg


def to_device(clips: Tensor, cfg: CfgNode, world: World) -> Tensor:
    """Move uint8 clips to the device and normalise them there."""
    clips = clips.to(world.device, non_blocking=True)
    return normalize(clips, cfg.DATA.PIXEL_MEAN, cfg.DATA.PIXEL_STD)


@contextmanager
def user_errors_shown(is_common_shown: bool) -> Iterator[None]:
    """End the program on a user's error with its text alone; other errors keep their traceback.

    Args:
        is_common_shown: Show the errors that every process meets, too.
    """
    try:
        yield
    except MissingDecoderError as error:
        if is_common_shown:
            _log.error("error: %s", _last_line(error).removeprefix("MissingDecoderError: "))
        sys.exit(1)
    except (UnreadableVideoError, TooManyBadVideosError, FloatingPointError) as error:
        _log.error("error: %s", _last_line(error))
        sys.exit(1)
    except ValueError as error:
        raised_in = Path(traceback.extract_tb(error.__traceback__)[-1].filename)
        if Path(__file__).parent not in raised_in.parents or "site-packages" in raised_in.parts:
            raise
        if is_common_shown:
            _log.error("error: %s", error)
        sys.exit(1)


def _last_line(error: Exception) -> str:
    last_line = str(error).splitlines()[-1]  # before it, a loader process's traceback
    return last_line.removeprefix(f"{UnreadableVideoError.__module__}.")


if __name__ == "__main__":
    main()
