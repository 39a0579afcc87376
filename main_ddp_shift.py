"""Train a video model with DDP and test it with many views; README.md has the commands."""

import sys

from config.command_line import check_command_line, parse_args
from engine.stop_signals import stop_signals

if __name__ == "__main__":  # a wrong word is told at once: the imports below take seconds
    stop_signals.install()
    check_command_line(sys.argv[1:])

import argparse
import logging
import os
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from yacs.config import CfgNode

from datasets.annotations import label_array, list_digest
from datasets.loaders import describe_protocol, num_test_clips
from datasets.toy import is_toy_missing, make_toy
from datasets.view_chunks import classify_views, views_per_forward
from engine.averaging import update_average
from engine.checkpoint_folder import CheckpointFolder, build_checkpoint_folder
from engine.checkpoints import OwnState, build_average, build_checkpoint
from engine.compiling import compile_blocks, run_filled
from engine.departure import FaultExit, leave
from engine.distributed import (
    World,
    barrier,
    broadcast_buffers,
    decided_by_main,
    gather_objects,
    launch,
    launch_options,
)
from engine.experiment import choose_checkpoint, load_experiment, print_experiment
from engine.fetching import Fetched
from engine.live_bar import LiveBar
from engine.position import Position
from engine.progress import Progress
from engine.provenance import describe_run, file_sha256
from engine.remarks import figure_remarks
from engine.results import record_best, record_epoch, record_validation, write_results
from engine.run import Run, on_device, placed, to_device
from engine.run_folder import RunFolder, held_folder
from engine.run_log import set_up_console
from engine.scores import Scores, collect_scores
from engine.summary import log_end, write_config
from engine.trackers import check_trackers, open_trackers
from engine.training import Training, Videos, check_lists, open_videos, set_up_training
from engine.user_errors import user_errors_shown
from models import load_model
from models.freezing import start_training
from models.weights.hub_folder import files_of
from ops.mixing import batch_rng

_log = logging.getLogger("main")


def main(argv: Sequence[str] | None = None) -> None:
    """Read the command line and run in as many processes as it asks for."""
    set_up_console(is_main=os.environ.get("RANK", "0") == "0")
    args = parse_args(sys.argv[1:] if argv is None else list(argv))
    with user_errors_shown(is_common_shown=os.environ.get("LOCAL_RANK", "0") == "0"):
        if args.print_config:
            if os.environ.get("RANK", "0") == "0":
                print_experiment(args)
            return
        cfg = load_experiment(args)
        launch(run, launch_options(args, cfg.TRAIN.TIMEOUT_MINUTES), args, cfg)


def run(world: World, args: argparse.Namespace, cfg: CfgNode) -> None:
    """Do what the command line asks for, in one of the processes."""
    set_up_console(world.is_main)
    if cfg.DETERMINISTIC:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
    # Never both: the TokShift release asks for determinism with --seed, then switches benchmark on,
    # which undoes it.
    torch.backends.cudnn.benchmark = not cfg.DETERMINISTIC
    # All bits of a float32 product by default: TF32 keeps 10 of the fraction.
    torch.set_float32_matmul_precision("high" if cfg.TRAIN.TF32 else "highest")
    torch.backends.cudnn.allow_tf32 = cfg.TRAIN.TF32
    with (
        stop_signals.installed(),
        user_errors_shown(world.local_rank == 0, way_out=lambda: stop_signals.way_out),
        held_folder(Path(cfg.OUTPUT_DIR), world) as folder,
    ):
        if cfg.DATA.GENERATE_TOY:
            if world.local_rank == 0 and is_toy_missing(cfg.DATA.ROOT, cfg.DATA.VAL_LIST):
                make_toy(cfg.DATA.ROOT)
            barrier()
        decided_by_main(lambda: check_trackers(cfg), world)
        args.resume = choose_checkpoint(args, cfg, world)
        if args.evaluate:
            videos = open_videos(cfg, "test", world)
            check_lists(cfg, {"test": videos.records}, world)
            test(cfg, args.resume, videos, world)
            return
        if args.resume:
            stop_signals.way_out = f"nothing new was saved; --resume {args.resume} goes on"
        checkpoints = build_checkpoint_folder(cfg)
        num_averaged = train(cfg, args, folder, checkpoints, world)
        if cfg.TEST.AFTER_TRAINING:
            path = str(checkpoints.average)
            if not num_averaged:  # told: a network file system shows others a new name late
                path = decided_by_main(lambda: str(checkpoints.best()), world)
            test(cfg, path, open_videos(cfg, "test", world), world)
        if num_averaged:
            _log.info("mean of the weights of %d epochs: %s", num_averaged, checkpoints.average)
        if world.is_main:
            log_end(checkpoints.best())


def train(
    cfg: CfgNode,
    args: argparse.Namespace,
    folder: RunFolder,
    checkpoints: CheckpointFolder,
    world: World,
) -> int:
    """Train as the config says: a checkpoint after each epoch, and within it where one is due.

    Returns:
        Number of epochs whose weights are in the average.
    """
    run, training = set_up_training(cfg, args, folder, checkpoints, world)
    learner, start = training.learner, training.start
    to_finish = [checkpoints.wait, run.log.flush, folder.release]
    stop_signals.tidy += to_finish
    if start.awaits_validation:
        keep_best(run, training, checkpoints, start.position.epoch)
    for epoch in range(start.position.epoch, cfg.TRAIN.EPOCHS):
        if reason := training.patience.decided_end(world):
            _log.info("%s", reason)
            break
        # A signal now waits for the end of a step: a checkpoint holds no gradients, so those that
        # were added up would be lost.
        stop_signals.hold()
        place = train_one_epoch(run, training, checkpoints, epoch)
        # Before the checkpoint, which is to hold the mean with this epoch's weights in it.
        learner.end_epoch(epoch + 1)
        save(run, training, checkpoints, place)  # first: what follows must not cost the epoch
        stop_signals.release()
        keep_best(run, training, checkpoints, epoch + 1)
    num_averaged = len(learner.averaged_epochs)
    if learner.swa and num_averaged:
        average = learner.swa.module
        # No batch has gone through the mean's own batch norms: their statistics fit no weights yet.
        update_average(average, training.loader, run)
        top1 = validate(run, average, training, cfg.TRAIN.EPOCHS, kind="swa")
        if world.is_main:
            names = training.listed.class_names
            checkpoints.save_average(build_average(cfg, average, num_averaged, top1, names))
    checkpoints.wait()
    for finish in to_finish:
        stop_signals.tidy.remove(finish)
    run.log.close()
    barrier()  # rank 0 has written
    return num_averaged


def train_one_epoch(
    run: Run, training: Training, checkpoints: CheckpointFolder, epoch: int
) -> Position:
    """Go through the training clips that an epoch still has and record what was learned.

    Returns:
        The place after the epoch.
    """
    cfg, world, learner = run.cfg, run.world, training.learner
    # Not plain train(): that would move the statistics of norms which are frozen.
    start_training(learner.model)
    part = training.part(epoch, world)
    groups = training.groups.of_rest(part.num_batches)
    meters = training.start.meters if part.start.offset else ()
    freq, num_epochs = cfg.TRAIN.PRINT_FREQ, cfg.TRAIN.EPOCHS
    progress = Progress(part, num_epochs, world, freq, run.log, meters, training.pace)
    for i, batch in enumerate(progress.timed(training.loader)):
        # By the place in the epoch, not by a counter of steps: a run that goes on, on another
        # number of processes too, gets the rate that the unbroken one had there.
        rate = training.schedule(part.epochs_done(i))
        learner.set_rate(rate)
        # Left out and told. A random video in its place, as in other projects, would change what an
        # epoch is without a word.
        training.bad_videos.add(batch.errors)
        steps = groups.steps_after(i)
        if len(batch.labels):
            there = on_device(batch, world)
            clips, labels = to_device(there.clips, cfg, world), there.labels
            if not epoch and not part.number(i):
                shown = batch.clips.numpy()[:8], batch.labels.tolist()[:8]
                run.log.clips(*shown, training.listed.class_names)
            # Of seed, epoch, batch and rank alone: a run that goes on mixes as the unbroken one.
            rng = batch_rng(cfg.SEED, epoch, part.number(i), world.rank)
            mix = training.mixer.draw(clips.shape, rng)
            mix = mix.on(world.device) if mix else None
            clips = mix.apply(clips) if mix else clips
            answers = training.teacher.answers(there, mix) if training.teacher else None
            target = training.objective(labels, mix, answers)
            # The recipes make a step of 10 batches: DDP would send the gradients after each of
            # them, and their sum alone is needed.
            with learner.accumulating(is_last=steps):
                with learner.autocast():
                    logits = learner.logits(clips)  # (B, K); of a pair (2, B, K)
                    loss = target.loss(logits)
                # Outside autocast. The share of a batch in a smaller last group is still 1/10 in
                # the release, and so by default here: TRAIN.LAST_GROUP.
                learner.backward(loss, groups.share(i))
        else:  # not one video is readable; the other processes wait all the same
            learner.accumulate_nothing(training.clip_shape, steps)
        if steps:
            progress.stepped(learner.step())
        if len(batch.labels):  # now: a GPU has its work, whatever the figures take
            names = [training.names[index] for index in batch.indices.tolist()]
            hits = target.hits(logits.detach())
            progress.add(loss.detach(), hits, len(names), names)
        else:
            progress.skip()
        # Not after the last batch: `train` saves there, once the epoch has ended.
        is_due = training.save_points.is_due(steps) and i + 1 < part.num_batches
        progress.report(rate, is_forced=is_due)
        if is_due:
            save(run, training, checkpoints, part.after(i), progress)
    learner.drop_gradients()  # those of a last group that made no step
    training.bad_videos.collect()
    means, rate = progress.epoch_means(), training.schedule(epoch)
    record_epoch(run.log, epoch + 1, means, rate, cfg.MODEL.NUM_CLASSES)
    return part.end()


def save(
    run: Run,
    training: Training,
    checkpoints: CheckpointFolder,
    place: Position,
    progress: Progress | None = None,
) -> None:
    """Write the checkpoint of a place between two steps; end here if a signal asks to stop."""
    meters = progress.state() if progress else ()
    own = OwnState(meters, training.bad_videos.state())
    # A run taken up from another folder has no best.json here; its checkpoint knows the best.
    best = max(training.start.best, checkpoints.record().top1)
    content = build_checkpoint(
        *(run.cfg, training.learner, place, best, training.listed, run.world, own),
        top1s=training.patience.top1s,
    )
    if content:
        run.log.flush()  # first: a run that goes on from the checkpoint counts on its records
        checkpoints.save(content)
    training.save_points.saved()
    stop_signals.way_out = (
        f"{checkpoints.folder} is saved; --resume auto goes on with the next clip"
    )
    if training.save_points.must_stop():
        checkpoints.wait()
        barrier()  # the first process to leave may take the others along
        stop_signals.leave()


def keep_best(run: Run, training: Training, checkpoints: CheckpointFolder, num_epochs: int) -> None:
    """Validate after so many epochs; the newest checkpoint becomes the best if it leads."""
    top1 = validate(run, training.learner.evaluated, training, num_epochs)
    if run.world.is_main:
        best = max(training.start.best, checkpoints.record().top1, top1)
        record_best(run.log, num_epochs, best, checkpoints.metric)
        run.log.flush()
        training.patience.add(num_epochs, top1)
        checkpoints.keep_best(top1, num_epochs, list_digest(training.val.records))


def validate(
    run: Run, model: nn.Module, training: Training, num_epochs: int, kind: str = "val"
) -> float:
    """Score the validation videos and record the figures; return top-1 (on rank 0, else 0).

    The records are of kind ``val``, or ``swa`` for the averaged weights.
    """
    model.eval()
    # The last batch moved the norms of each process by its own clips: all are to score with rank
    # 0's, which the checkpoint holds.
    broadcast_buffers(model)
    scores, unreadable = evaluate(run, model, training.val)
    if scores is None:
        return 0.0
    mean_scores = scores.averaged(run.cfg.TEST.AVERAGE_LOGITS)
    # Over single views and smoothed, as the release logs its validation, so that curves compare.
    loss, names = scores.loss(run.cfg.LOSS.LABEL_SMOOTHING), training.listed.class_names
    return record_validation(
        *(run.log, num_epochs, scores, mean_scores, loss, kind, names), unreadable=unreadable
    )


@torch.inference_mode()
def evaluate(run: Run, model: nn.Module, videos: Videos) -> tuple[Scores | None, list[str]]:
    """Score every video exactly once over all processes.

    Returns:
        On rank 0 the scores of the readable videos in the list's order, None elsewhere; and why the
        others are unreadable, a line each.

    Raises:
        ValueError: Not one video is readable, or the processes read different lists.
        FloatingPointError: A logit is not finite.
    """
    cfg, loader, is_val = run.cfg, videos.loader, videos.split == "val"
    paths = [record.path for record in videos.records]

    fills = cfg.TRAIN.COMPILE or run.world.device.type == "cuda"  # else a size is like another
    per_forward = views_per_forward(cfg.TEST.VIEWS_PER_FORWARD, run.world.device)

    def classify(clips: Tensor) -> Fetched:
        logits = run_filled(model, to_device(clips, cfg, run.world), per_forward if fills else 0)
        # float32 before any average: bf16 would leave 8 bits, and views that tie.
        return Fetched(logits.float())

    results, bar = [], LiveBar(len(paths), "video", videos.split, is_shown=run.world.is_main)
    with bar, run.autocast():
        for result in classify_views(loader, classify, per_forward):
            results.append(result)
            bar.update(run.world.size)  # the others are about as far
    named = [(paths[place], place, logits, error) for place, logits, error in results]
    # Logits by video, not accuracies by process: a mean of means would weigh uneven shares alike.
    gathered = gather_objects(named, run.world)
    if gathered is None:
        return None, []
    return collect_scores(
        [result for part in gathered for result in part],
        paths,
        label_array(videos.records, cfg.MODEL.NUM_CLASSES if cfg.DATA.MULTI_LABEL else 0),
        num_clips=num_test_clips(cfg, videos.split),
        num_crops=cfg.VAL.NUM_CROPS if is_val else cfg.TEST.NUM_CROPS,
    )


def test(cfg: CfgNode, path: str, videos: Videos, world: World) -> None:
    """Test a checkpoint with all views; write results.json and scores.npz into the run folder.

    Raises:
        ValueError: Videos are unreadable and TEST.SKIPS_UNREADABLE is off; the scores of the others
            are written all the same.
    """
    run = Run(cfg, world)
    loaded = load_model(path, cfg)
    _log.info("%s", loaded.report)
    digest = (
        file_sha256(*files_of(path)) if world.is_main else ""
    )  # now: a training may replace the file
    described = describe_run(cfg, {"test": videos.records}, world)
    if cfg.TRAIN.COMPILE:
        compile_blocks(loaded.model)
    scores, unreadable = evaluate(run, placed(loaded.model, cfg, world), videos)
    if scores is None:
        return
    folder = Path(cfg.OUTPUT_DIR)
    write_config(folder / "test_config.yml", cfg)
    source = {
        "protocol": describe_protocol(cfg),
        "checkpoint": path,
        "checkpoint_sha256": digest,
        "list": cfg.DATA.TEST_LIST or cfg.DATA.VAL_LIST,
        "remarks": figure_remarks(cfg, videos.records, path, loaded.report.caveat),
        "run": described,
    }
    with open_trackers(cfg, folder) as trackers:
        write_results(
            *(folder, scores, unreadable, loaded.class_names, source, cfg.TEST.AVERAGE_LOGITS),
            num_epochs=loaded.num_epochs,
            trackers=trackers,
        )
    if unreadable and not cfg.TEST.SKIPS_UNREADABLE:
        raise ValueError(
            f"{len(unreadable)} of {len(videos.records)} videos are unreadable, and the figures "
            "are of the others; mend them, or set TEST.SKIPS_UNREADABLE True to have it so"
        )


if __name__ == "__main__":
    try:
        main()
    except FaultExit:  # at once: the end of the interpreter waits for each loader's worker
        leave(status=1)
