"""What a student and its teacher must have in common, and the teacher's own config."""

from yacs.config import CfgNode


def distill_faults(cfg: CfgNode) -> list[str]:
    """Return what does not fit together among the keys of DISTILL, a line each."""
    distill, faults = cfg.DISTILL, []
    if distill.TEMPERATURE <= 0:
        faults.append(f"DISTILL.TEMPERATURE={distill.TEMPERATURE}; it must be above 0")
    if distill.LOSS == "dml":
        return faults + _mutual_faults(cfg)
    if not 0 <= distill.WEIGHT <= 1:
        faults.append(f"DISTILL.WEIGHT={distill.WEIGHT}; under kd it must be from 0 to 1")
    if distill.TEACHER and distill.LOGITS:
        faults.append(
            f"DISTILL.TEACHER={distill.TEACHER!r}, DISTILL.LOGITS={distill.LOGITS!r}; "
            "the logits stand in place of the teacher: set one of them"
        )
    if distill.TEACHER_CFG and not distill.TEACHER:
        faults.append(
            f"DISTILL.TEACHER_CFG={distill.TEACHER_CFG!r} without DISTILL.TEACHER; a frozen "
            "teacher needs its checkpoint, only one of DISTILL.LOSS dml may start afresh"
        )
    return faults


def check_teacher(cfg: CfgNode, teacher_cfg: CfgNode) -> None:
    """Reject a teacher that cannot teach this student.

    Args:
        cfg: Config of the student.
        teacher_cfg: Config of the teacher.

    Raises:
        ValueError: The two do not fit; lists every fault found with key, both values and what is
            allowed.
    """
    distill, ours, theirs = cfg.DISTILL, cfg.DATA, teacher_cfg.DATA
    faults = []
    if teacher_cfg.MODEL.NUM_CLASSES != cfg.MODEL.NUM_CLASSES:
        faults.append(
            f"MODEL.NUM_CLASSES={cfg.MODEL.NUM_CLASSES}, the teacher has "
            f"{teacher_cfg.MODEL.NUM_CLASSES}; they must be equal"
        )
    if theirs.MULTI_LABEL:
        faults.append(
            "DATA.MULTI_LABEL=False, the teacher has True; both must be for videos of one class"
        )
    shared = ["NUM_FRAMES", "IMAGE_SIZE"] if distill.SEES == "student_clip" else []
    way_out = "equal where it sees the student's clip; DISTILL.SEES own_clip or DISTILL.LOGITS"
    if distill.LOSS == "dml":
        shared += ["PIXEL_MEAN", "PIXEL_STD"]
        way_out = "equal under DISTILL.LOSS dml, where both see one clip; kd"
    faults += [
        f"DATA.{key}={ours[key]}, the teacher has {theirs[key]}; they must be {way_out} lets them "
        "differ"
        for key in shared
        if ours[key] != theirs[key]
    ]
    if faults:
        source = distill.TEACHER_CFG or distill.TEACHER
        raise ValueError(f"the teacher of {source} does not fit:\n  " + "\n  ".join(faults))


def _mutual_faults(cfg: CfgNode) -> list[str]:
    distill, faults = cfg.DISTILL, []
    if distill.WEIGHT < 0:
        faults.append(f"DISTILL.WEIGHT={distill.WEIGHT}; it must be 0 or more")
    if not (distill.TEACHER or distill.TEACHER_CFG):
        faults.append(
            "DISTILL.LOSS='dml' needs DISTILL.TEACHER, or DISTILL.TEACHER_CFG for fresh weights"
        )
    if distill.LOGITS:
        faults.append(
            f"DISTILL.LOGITS={distill.LOGITS!r}; under DISTILL.LOSS dml the teacher learns too"
        )
    if distill.SEES != "student_clip":
        faults.append(
            f"DISTILL.SEES={distill.SEES!r}; under DISTILL.LOSS dml both see the student's clip"
        )
    if cfg.TRAIN.CHECKPOINT_LAYOUT != "plain":
        faults.append(
            f"TRAIN.CHECKPOINT_LAYOUT={cfg.TRAIN.CHECKPOINT_LAYOUT!r}; the two models of "
            "DISTILL.LOSS dml need 'plain'"
        )
    return faults
