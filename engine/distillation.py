"""From the config to what teaches: a frozen model, its answers in a file, or one that learns."""

from collections.abc import Callable, Sequence
from functools import partial

from torch import Tensor, nn
from yacs.config import CfgNode

from datasets.annotations import VideoRecord
from engine.compiling import compile_blocks
from engine.distributed import World
from engine.learner import autocast
from engine.mutual import MutualPair
from engine.run import placed
from engine.scores import Scores
from engine.teachers import CachedTeacher, FrozenTeacher, Teacher, cached_logits
from models import build_model, load_model


def build_teacher(
    cfg: CfgNode,
    teacher_cfg: CfgNode | None,
    student: nn.Module,
    videos: Sequence[VideoRecord],
    mirrored_labels: Sequence[int | None],
    prepare: Callable[[Tensor], Tensor],
    world: World,
) -> tuple[nn.Module, Teacher | None, str]:
    """Build what DISTILL asks for.

    Args:
        cfg: Config of the student.
        teacher_cfg: Config of the teacher; None: no model teaches.
        student: Model of the student, on the CPU.
        videos: Records of the training list.
        mirrored_labels: Class of each class's mirror image.
        prepare: Function from uint8 clips to the teacher's input, on the device.
        world: Rank and device of this process, and the number of processes.

    Returns:
        The model to train, the student or a pair; the teacher to ask, if any; and a report.

    Raises:
        ValueError: The teacher's file does not fit its config, the list or the classes.
    """
    if cfg.DISTILL.LOGITS:
        return student, *_cached_teacher(cfg, videos, mirrored_labels, world)
    if teacher_cfg is None:
        return student, None, ""
    if cfg.DISTILL.LOSS == "dml":
        pair, report = _pair(cfg, teacher_cfg, student)
        return pair, None, report
    return student, *_frozen_teacher(cfg, teacher_cfg, prepare, world)


def _frozen_teacher(
    cfg: CfgNode, teacher_cfg: CfgNode, prepare: Callable[[Tensor], Tensor], world: World
) -> tuple[FrozenTeacher, str]:
    model, report = _trained_model(cfg, teacher_cfg)
    if cfg.TRAIN.COMPILE:
        compile_blocks(model)
    sees_student_clip = cfg.DISTILL.SEES == "student_clip"
    teacher = FrozenTeacher(
        placed(model, teacher_cfg, world),
        prepare,
        cfg.DISTILL.TEMPERATURE,
        partial(autocast, cfg.TRAIN.AMP, world.device),
        sees_student_clip=sees_student_clip,
    )
    what = _describe(cfg, teacher_cfg, model)
    seen = "the student's clip" if sees_student_clip else "its own validation view"
    return teacher, f"{report}\ntaught by {what}, frozen, which sees {seen}: {_describe_kd(cfg)}"


def _cached_teacher(
    cfg: CfgNode,
    videos: Sequence[VideoRecord],
    mirrored_labels: Sequence[int | None],
    world: World,
) -> tuple[CachedTeacher, str]:
    path, temperature = cfg.DISTILL.LOGITS, cfg.DISTILL.TEMPERATURE
    scores = Scores.load(path)
    logits = cached_logits(
        scores,
        path,
        [video.path for video in videos],
        [video.label for video in videos],
        cfg.MODEL.NUM_CLASSES,
    )
    report = (
        f"taught by the logits in {path}, mean of {scores.view_logits.shape[1]} views of each of "
        f"{len(videos)} videos: {_describe_kd(cfg)}"
    )
    return CachedTeacher(logits, temperature, world.device, mirrored_labels), report


def _pair(cfg: CfgNode, teacher_cfg: CfgNode, student: nn.Module) -> tuple[MutualPair, str]:
    if cfg.DISTILL.TEACHER:
        teacher, report = _trained_model(cfg, teacher_cfg)
    else:
        teacher, report = build_model(teacher_cfg), "teacher: fresh weights"
    what = _describe(cfg, teacher_cfg, teacher)
    weight = f"mutual loss of weight {cfg.DISTILL.WEIGHT:g}"
    return MutualPair(student, teacher), f"{report}\nlearns with {what}, which learns too: {weight}"


def _describe(cfg: CfgNode, teacher_cfg: CfgNode, model: nn.Module) -> str:
    source = cfg.DISTILL.TEACHER or cfg.DISTILL.TEACHER_CFG
    num_parameters = sum(parameter.numel() for parameter in model.parameters())
    data = teacher_cfg.DATA
    return (
        f"{teacher_cfg.MODEL.NAME} {teacher_cfg.MODEL.BACKBONE} of {source} "
        f"({num_parameters} parameters, {data.NUM_FRAMES} frames of {data.IMAGE_SIZE} pixels)"
    )


def _trained_model(cfg: CfgNode, teacher_cfg: CfgNode) -> tuple[nn.Module, str]:
    loaded = load_model(cfg.DISTILL.TEACHER, teacher_cfg)
    return loaded.model, f"teacher: {loaded.report}"


def _describe_kd(cfg: CfgNode) -> str:
    return f"weight {cfg.DISTILL.WEIGHT:g}, temperature {cfg.DISTILL.TEMPERATURE:g}"
