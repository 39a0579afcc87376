"""From the config to what teaches: a frozen model, its answers in a file, or one that learns too."""

import logging
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from yacs.config import CfgNode

from models import build_model
from models.pretrained import load_weights
from ops.learner import Learner
from ops.mutual import MutualPair
from ops.scores import Scores
from ops.teachers import CachedTeacher, FrozenTeacher, cached_logits

_log = logging.getLogger(__name__)


def build_frozen_teacher(
    cfg: CfgNode, teacher_cfg: CfgNode, prepare: Callable[[Tensor], Tensor], learner: Learner
) -> FrozenTeacher:
    """Build the teacher that DISTILL.TEACHER holds and say what it is.

    Args:
        cfg: Of the student.
        teacher_cfg: Of the teacher.
        prepare: From uint8 clips to the teacher's input, on the device.
        learner: Of the student, on the device, in the precision of both.

    Raises:
        ValueError: The weights are not those of the teacher's config.
    """
    distill = cfg.DISTILL
    model = _trained_model(cfg, teacher_cfg).to(learner.device)
    sees_student_clip = distill.SEES == "student_clip"
    _log.info(
        "taught by %s, frozen, which sees %s: %s",
        describe_teacher(cfg, teacher_cfg, model),
        "the student's clip" if sees_student_clip else "its own view",
        _describe_kd(cfg),
    )
    return FrozenTeacher(
        model, prepare, distill.TEMPERATURE, learner.autocast, sees_student_clip=sees_student_clip
    )


def build_cached_teacher(
    cfg: CfgNode,
    videos: Sequence[str],
    labels: Sequence[int],
    mirrored_labels: Sequence[int | None],
    device: torch.device,
) -> CachedTeacher:
    """Build the teacher whose answers DISTILL.LOGITS holds and say what they are.

    Args:
        cfg: Of the student.
        videos: Paths as in the training list.
        labels: Of the videos.
        mirrored_labels: For each class that of its mirror image.
        device: Of the process.

    Raises:
        ValueError: The file is none of scores, or does not fit the list.
    """
    distill = cfg.DISTILL
    scores = Scores.load(distill.LOGITS)
    logits = cached_logits(scores, distill.LOGITS, videos, labels, cfg.MODEL.NUM_CLASSES)
    _log.info(
        "taught by the logits in %s, mean of %d views of each of %d videos: %s",
        *(distill.LOGITS, scores.view_logits.shape[1], len(videos), _describe_kd(cfg)),
    )
    return CachedTeacher(logits, distill.TEMPERATURE, device, mirrored_labels)


def build_pair(cfg: CfgNode, student: nn.Module, teacher_cfg: CfgNode) -> MutualPair:
    """Put a student and a teacher that learns too together, on the CPU, and say so.

    Raises:
        ValueError: The weights of DISTILL.TEACHER are not those of the teacher's config.
    """
    fresh = not cfg.DISTILL.TEACHER
    teacher = build_model(teacher_cfg) if fresh else _trained_model(cfg, teacher_cfg)
    _log.info(
        "learns with %s, from %s weights: mutual loss of weight %g",
        describe_teacher(cfg, teacher_cfg, teacher),
        "fresh" if fresh else "trained",
        cfg.DISTILL.WEIGHT,
    )
    return MutualPair(student, teacher)


def describe_teacher(cfg: CfgNode, teacher_cfg: CfgNode, model: nn.Module) -> str:
    """Name a teacher, where it comes from and how large it is."""
    source = cfg.DISTILL.TEACHER or cfg.DISTILL.TEACHER_CFG
    num_parameters = sum(parameter.numel() for parameter in model.parameters())
    data = teacher_cfg.DATA
    return (
        f"{teacher_cfg.MODEL.NAME} {teacher_cfg.MODEL.BACKBONE} of {source} "
        f"({num_parameters} parameters, {data.NUM_FRAMES} frames of {data.IMAGE_SIZE} pixels)"
    )


def check_class_names(ours: Sequence[str], theirs: Sequence[str], source: str) -> None:
    """Reject a teacher whose classes have other names; names that are mere numbers are unknown.

    Args:
        ours: Of the student, by label.
        theirs: Of the teacher, by label.
        source: Of the teacher.

    Raises:
        ValueError: Names the first class that differs.
    """
    numbers = [str(label) for label in range(len(ours))]
    if numbers in (list(ours), list(theirs)):
        return
    for label, (our, their) in enumerate(zip(ours, theirs, strict=True)):
        if our != their:
            raise ValueError(
                f"the teacher of {source} calls class {label} {their!r}, DATA.CLASS_NAMES calls it "
                f"{our!r}; a teacher needs the student's classes in the student's order"
            )


def _trained_model(cfg: CfgNode, teacher_cfg: CfgNode) -> nn.Module:
    model = build_model(teacher_cfg)
    _log.info("teacher: %s", load_weights(model, cfg.DISTILL.TEACHER, head_may_differ=False))
    return model


def _describe_kd(cfg: CfgNode) -> str:
    return f"weight {cfg.DISTILL.WEIGHT:g}, temperature {cfg.DISTILL.TEMPERATURE:g}"
