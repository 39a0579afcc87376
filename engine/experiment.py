"""From a command line to the configs of an experiment: its own and its teacher's."""

import argparse
import logging
import os
from collections.abc import Sequence
from pathlib import Path

from yacs.config import CfgNode

from config import load_cfg
from config.class_names import check_same_names, read_class_names
from config.command_line import overrides_of, print_config
from config.distillation_checks import check_teacher
from config.loading import KEYS, load_with_sources
from config.smoke_run import FLAG
from engine.checkpoint_folder import CheckpointFolder
from engine.distributed import World, decided_by_main
from models.loaded_model import read_experiment


def load_experiment(args: argparse.Namespace) -> CfgNode:
    """Return the config that the command line asks for, of a yml file or of a checkpoint.

    That of a checkpoint says what to read, not where to write: results go beside the checkpoint
    and to no service, and no data are made, unless the command line says so.
    """
    overrides = overrides_of(args)
    if args.cfg:
        return load_cfg(args.cfg, overrides)
    places = _places(args.resume)
    words = [word for pair in places.items() for word in pair]
    return read_experiment(args.resume, overrides=[*words, *overrides])[0]


def print_experiment(args: argparse.Namespace) -> None:
    """Write the final values of the config that the command line asks for, and nothing else."""
    logging.disable(logging.WARNING)
    try:
        if args.cfg:
            cfg, sources = load_with_sources(args.cfg, overrides_of(args))
        else:
            cfg = load_experiment(args)
            sources = dict.fromkeys(KEYS, f"the config in {args.resume}")
            sources |= dict.fromkeys(_places(args.resume), "a test of a checkpoint")
    finally:
        logging.disable(logging.NOTSET)
    print_config(args, cfg, sources)


def _places(checkpoint: str) -> dict[str, str]:
    """Return what a test of a checkpoint sets: where to write, nothing made, nothing sent."""
    nowhere = {"DATA.GENERATE_TOY": "False", "LOG.WANDB": "", "LOG.MLFLOW": ""}
    return {"OUTPUT_DIR": str(Path(checkpoint).parent), **nowhere}


def choose_checkpoint(args: argparse.Namespace, cfg: CfgNode, world: World) -> str | None:
    """Return the checkpoint to go on from, or to test; None for a fresh run.

    Without a file it is the newest whole one of the run folder. With ``auto`` the run is a fresh
    one where there is none yet, so that a scheduler can give one command again and again. Processes
    that their launcher has started again go on likewise, whatever was asked for first. Rank 0 looks
    for all processes.

    A smoke run goes on from nothing, though it may test what is named.

    Raises:
        ValueError: There is no checkpoint, or none can be read; or a smoke run is to go on.
    """
    if cfg.TRAIN.MAX_ITERATIONS and not args.evaluate:
        if args.resume not in (None, "auto"):
            raise ValueError(
                f"--resume {args.resume}: a smoke run ({FLAG}) goes on from no other; leave one out"
            )
        return None
    may_lack = args.resume == "auto" and not args.evaluate
    is_restarted = int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0 and not args.evaluate
    if args.resume not in ("", "auto") and not is_restarted:
        return args.resume
    folder = CheckpointFolder(Path(cfg.OUTPUT_DIR))

    def newest() -> str | None:
        if not folder.candidates() and (may_lack or is_restarted):
            return args.resume if args.resume not in ("", "auto") else None
        return str(folder.newest_whole())

    return decided_by_main(newest, world)


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
        teacher_cfg, content = read_experiment(path, way_out="DISTILL.TEACHER_CFG")
        teacher_names = content.get("class_names", names)
    check_teacher(cfg, teacher_cfg)
    way_out = "a teacher needs the student's classes in the student's order"
    check_same_names(names, teacher_names, f"the teacher of {path_of_cfg or path}", way_out)
    return teacher_cfg
