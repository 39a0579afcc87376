"""Train a video model with DDP and test it with many views; README.md has the commands."""

import sys

from config.command_line import check_command_line, parse_args

if __name__ == "__main__":  # a wrong word is told at once: the imports below take seconds
    check_command_line(sys.argv[1:])

import argparse
import logging
import os
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from yacs.config import CfgNode

from datasets.loaders import describe_protocol, num_test_clips
from datasets.toy import is_toy_missing, make_toy
from datasets.views import classify_views
from engine.averaging import update_average
from engine.checkpoint_folder import CheckpointFolder
from engine.checkpoints import build_average, build_checkpoint
from engine.distributed import (
    World,
    barrier,
    broadcast_buffers,
    gather_objects,
    launch,
    launch_options,
)
from engine.experiment import load_experiment
from engine.progress import Progress
from engine.results import record_validation, write_results
from engine.run import Run, to_device
from engine.run_log import set_up_console
from engine.scores import Scores, collect_scores
from engine.summary import log_end
from engine.training import Training, Videos, open_videos, set_up_training
from engine.user_errors import user_errors_shown
from models import load_model
from ops.mixing import batch_rng

_log = logging.getLogger("main")


def main(argv: Sequence[str] | None = None) -> None:
    """Read the command line and run in as many processes as it asks for."""
    set_up_console(is_main=os.environ.get("RANK", "0") == "0")
    args = parse_args(sys.argv[1:] if argv is None else list(argv))
    with user_errors_shown(is_common_shown=os.environ.get("LOCAL_RANK", "0") == "0"):
        launch(run, launch_options(args), args, load_experiment(args))


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
    """Train as the config says, a checkpoint after each epoch.

    Returns:
        Number of epochs in the averaged weights.
    """
    run, training = set_up_training(cfg, args, checkpoints.folder, world)
    learner, best = training.learner, training.best
    best_here = best if checkpoints.has_best() else -1.0  # a run may go on in another folder
    for epoch in range(training.start_epoch, cfg.TRAIN.EPOCHS):
        training.loader.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
        train_one_epoch(run, training, epoch)
        learner.end_epoch(epoch + 1)
        top1 = validate(run, learner.evaluated, training.val, epoch)
        is_best, best, best_here = top1 > best_here, max(top1, best), max(top1, best_here)
        run.log.scalars(epoch, {"Accuracy/best_test_top1": best})
        content = build_checkpoint(cfg, learner, epoch, best, training.class_names, world)
        if content:
            checkpoints.save(content, epoch, is_best)
    num_averaged = len(learner.averaged_epochs)
    if learner.swa and num_averaged:
        average = learner.swa.module
        update_average(average, training.loader, run)
        top1 = validate(run, average, training.val, cfg.TRAIN.EPOCHS - 1, kind="swa")
        if world.is_main:
            names = training.class_names
            checkpoints.save_average(build_average(cfg, average, num_averaged, top1, names))
    run.log.close()
    barrier()  # rank 0 has written
    return num_averaged


def train_one_epoch(run: Run, training: Training, epoch: int) -> None:
    """Go once through the training clips and record what was learned."""
    cfg, world, learner, loader = run.cfg, run.world, training.learner, training.loader
    learner.model.train()
    num_epochs, print_freq = cfg.TRAIN.EPOCHS, cfg.TRAIN.PRINT_FREQ
    progress = Progress(epoch, num_epochs, len(loader), world, print_freq, run.log)
    for i, batch in enumerate(progress.timed(loader)):
        rate = training.schedule(epoch + i / len(loader))
        learner.set_rate(rate)
        training.bad_videos.add(batch.errors)
        steps = training.groups.steps_after(i)
        if len(batch.labels):
            clips, labels = to_device(batch.clips, cfg, world), batch.labels.to(world.device)
            if not epoch and not i:
                run.log.clips(batch.clips[:8].numpy())
            mix = training.mixer.draw(clips.shape, batch_rng(cfg.SEED, epoch, i, world.rank))
            clips = mix.apply(clips) if mix else clips
            answers = training.teacher.answers(batch, mix) if training.teacher else None
            target = training.objective(labels, mix, answers)
            with learner.accumulating(is_last=steps):
                with learner.autocast():
                    logits = learner.parallel(clips)  # (B, K); of a pair (2, B, K)
                    loss = target.loss(logits)
                learner.backward(loss, training.groups.share(i))
            names = [training.names[index] for index in batch.indices.tolist()]
            progress.add(loss.detach(), target.hits(logits.detach()), len(labels), names)
        else:  # not one video is readable; the other processes wait all the same
            learner.accumulate_nothing(training.clip_shape, steps)
            progress.skip()
        if steps:
            progress.stepped(learner.step())
        progress.report(rate)
    learner.drop_gradients()  # those of a last group that made no step
    training.bad_videos.collect()
    means = progress.epoch_means()
    rates = {"Loss/train": means["loss"], "LearningRate": training.schedule(epoch)}
    run.log.scalars(epoch, rates)
    run.log.scalars(epoch, {f"Accuracy/train_{name}": means[name] for name in ("top1", "top5")})
    _log.info("epoch %d trained: loss %.4f top1 %.2f top5 %.2f", epoch + 1, *means.values())


def validate(run: Run, model: nn.Module, val: Videos, epoch: int, kind: str = "val") -> float:
    """Score the validation videos and record the figures; return top-1 (on rank 0, else 0).

    The records are of kind ``val``, or ``swa`` for the averaged weights.
    """
    model.eval()
    broadcast_buffers(model)
    scores, _ = evaluate(run, model, val)
    if scores is None:
        return 0.0
    mean_scores = scores.averaged(run.cfg.TEST.AVERAGE_LOGITS)
    loss = scores.loss(run.cfg.LOSS.LABEL_SMOOTHING)
    return record_validation(run.log, epoch, scores, mean_scores, loss, kind)


@torch.inference_mode()
def evaluate(run: Run, model: nn.Module, videos: Videos) -> tuple[Scores | None, list[str]]:
    """Score every video exactly once over all processes.

    Returns:
        On rank 0 the scores of the readable videos in the list's order, None elsewhere; and why the
        others are unreadable, a line each.

    Raises:
        ValueError: A video is unreadable and TEST.SKIPS_UNREADABLE is off.
    """
    cfg, loader, is_val = run.cfg, videos.loader, videos.split == "val"

    def classify(clips: Tensor) -> Tensor:
        return model(to_device(clips, cfg, run.world)).float().cpu()

    start, results = time.perf_counter(), []
    for i, batch in enumerate(loader):
        with run.autocast():
            results += classify_views(batch, classify, cfg.TEST.VIEWS_PER_FORWARD)
        if not is_val and ((i + 1) % cfg.TRAIN.PRINT_FREQ == 0 or i + 1 == len(loader)):
            left = (time.perf_counter() - start) / (i + 1) * (len(loader) - i - 1)
            _log.info("test %d/%d batches, %.0f s left", i + 1, len(loader), left)
    gathered = gather_objects(results, run.world)
    if gathered is None:
        return None, []
    return collect_scores(
        [result for part in gathered for result in part],
        [record.path for record in videos.records],
        [record.label for record in videos.records],
        num_clips=num_test_clips(cfg, videos.split),
        num_crops=cfg.VAL.NUM_CROPS if is_val else cfg.TEST.NUM_CROPS,
        skips_unreadable=cfg.TEST.SKIPS_UNREADABLE,
    )


def test(cfg: CfgNode, path: str, world: World) -> None:
    """Test a checkpoint with all views; write results.json and scores.npz into the run folder."""
    run, videos = Run(cfg, world), open_videos(cfg, "test", world)
    loaded = load_model(path, cfg)
    _log.info("%s", loaded.report)
    scores, unreadable = evaluate(run, loaded.model.to(world.device), videos)
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
    write_results(folder, scores, unreadable, loaded.class_names, source, cfg.TEST.AVERAGE_LOGITS)


if __name__ == "__main__":
    main()
