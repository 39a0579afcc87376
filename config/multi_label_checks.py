"""What does not go with videos of several classes, DATA.MULTI_LABEL."""

from yacs.config import CfgNode

from config.values import shown

_ONE_CLASS = "it goes by the one class of a video"
_SOFTMAX = "a teacher's answer is one softmax over the classes"


def multi_label_faults(cfg: CfgNode) -> list[str]:
    """Return what does not go with DATA.MULTI_LABEL, a line each."""
    if not cfg.DATA.MULTI_LABEL:
        return []
    distill, loss = cfg.DISTILL, cfg.LOSS
    values = (
        ("DATA.BALANCE", cfg.DATA.BALANCE, 0.0, _ONE_CLASS),
        ("LOSS.CLASS_WEIGHTS", loss.CLASS_WEIGHTS, "", _ONE_CLASS),
        ("DISTILL.TEACHER", distill.TEACHER, "", _SOFTMAX),
        ("DISTILL.TEACHER_CFG", distill.TEACHER_CFG, "", _SOFTMAX),
        ("DISTILL.LOGITS", distill.LOGITS, "", _SOFTMAX),
        (
            "TRAIN.CHECKPOINT_LAYOUT",
            cfg.TRAIN.CHECKPOINT_LAYOUT,
            "plain",
            "the released code knows one class a video",
        ),
    )
    return [
        f"{key}={shown(value)} with DATA.MULTI_LABEL=True; {why}: {key} {off!r}, or "
        "DATA.MULTI_LABEL False"
        for key, value, off, why in values
        if value != off
    ]


def check_one_class(cfg: CfgNode, what: str) -> None:
    """Raise ValueError for a config of videos of several classes, which something is not for."""
    if cfg.DATA.MULTI_LABEL:
        raise ValueError(f"DATA.MULTI_LABEL=True; {what} is for videos of one class each")
