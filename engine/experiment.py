"""From a command line to the configs of an experiment: its own and its teacher's."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from yacs.config import CfgNode

from config import load_cfg
from config.class_names import read_class_names
from config.command_line import overrides_of
from config.distillation_checks import check_class_names, check_teacher
from engine.checkpoint_folder import CheckpointFolder
from models.loaded_model import read_experiment


def load_experiment(args: argparse.Namespace) -> CfgNode:
    """Return the config that the command line asks for; fill in a bare --resume."""
    overrides = overrides_of(args)
    cfg = (
        load_cfg(args.cfg, overrides)
        if args.cfg
        else read_experiment(args.resume, overrides=overrides)[0]
    )
    if args.resume == "":
        args.resume = str(CheckpointFolder(Path(cfg.OUTPUT_DIR)).newest())
    return cfg


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
    check_class_names(names, teacher_names, path_of_cfg or path)
    return teacher_cfg
