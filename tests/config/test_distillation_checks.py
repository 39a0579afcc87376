import logging

import pytest
from yacs.config import CfgNode

from config import load_cfg_text
from config.distillation_checks import check_teacher


def load(*words: object) -> CfgNode:
    return load_cfg_text("", "exp.yml", [str(word) for word in words])


KD = ("DISTILL.TEACHER", "t.pth")
DML = ("DISTILL.LOSS", "dml", "DISTILL.TEACHER_CFG", "t.yml")


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("DISTILL.TEMPERATURE", 0.0), r"DISTILL.TEMPERATURE=0.0; it must be above 0"),
        ((*KD, "DISTILL.WEIGHT", 1.5), r"DISTILL.WEIGHT=1.5; under kd it must be from 0 to 1"),
        ((*KD, "DISTILL.WEIGHT", -0.1), r"DISTILL.WEIGHT=-0.1; under kd it must be from 0 to 1"),
        ((*KD, "DISTILL.LOGITS", "s.npz"), r"'t.pth', DISTILL.LOGITS='s.npz'; .* set one of them"),
        (("DISTILL.TEACHER_CFG", "t.yml"), r"TEACHER_CFG='t.yml' without DISTILL.TEACHER; a froz"),
        (("DISTILL.LOSS", "dml"), r"'dml' needs DISTILL.TEACHER, or DISTILL.TEACHER_CFG for fresh"),
        ((*DML, "DISTILL.WEIGHT", -1.0), r"DISTILL.WEIGHT=-1.0; it must be 0 or more"),
        ((*DML, "DISTILL.LOGITS", "s.npz"), r"LOGITS='s.npz'; under DISTILL.LOSS dml the teacher"),
        ((*DML, "DISTILL.SEES", "own_clip"), r"SEES='own_clip'; under DISTILL.LOSS dml both see"),
        ((*DML, "TRAIN.CHECKPOINT_LAYOUT", "released"), r"LAYOUT='released'; the two .* 'plain'"),
    ],
)
def test_keys_that_do_not_go_together_are_named(words: tuple[object, ...], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        load(*words)


@pytest.mark.parametrize(
    "words",
    [
        (),
        KD,
        (*KD, "DISTILL.TEACHER_CFG", "t.yml", "DISTILL.SEES", "own_clip", "DISTILL.WEIGHT", 1.0),
        ("DISTILL.LOGITS", "s.npz", "DISTILL.WEIGHT", 0.0),
        (*DML, "DISTILL.WEIGHT", 5.0),
        (*DML, *KD),
    ],
)
def test_keys_that_go_together_are_let_in(words: tuple[object, ...]) -> None:
    load(*words)


# The two configs


@pytest.mark.parametrize(
    ("ours", "teacher", "text"),
    [
        (
            KD,
            ("DATA.NUM_FRAMES", 16),
            r"NUM_FRAMES=8, the teacher has 16; they must be equal where",
        ),
        (KD, ("DATA.IMAGE_SIZE", 256), r"DATA.IMAGE_SIZE=224, the teacher has 256; .* own_clip or"),
        (KD, ("MODEL.NUM_CLASSES", 5), r"MODEL.NUM_CLASSES=400, the teacher has 5; they must be e"),
        (
            (*KD, "DISTILL.SEES", "own_clip"),
            ("MODEL.NUM_CLASSES", 5),
            r"MODEL.NUM_CLASSES=400, the teacher has 5; they must be equal$",
        ),
        (
            DML,
            ("DATA.NUM_FRAMES", 16),
            r"NUM_FRAMES=8, .* equal under DISTILL.LOSS dml, where both",
        ),
        (DML, ("DATA.PIXEL_STD", [1.0] * 3), r"DATA.PIXEL_STD=\[0.5, 0.5, 0.5\], the teacher has"),
    ],
)
def test_teacher_that_does_not_fit_is_an_error(
    ours: tuple[object, ...], teacher: tuple[object, ...], text: str
) -> None:
    with pytest.raises(ValueError, match=text) as caught:
        check_teacher(load(*ours), load(*teacher))
    source = "t.yml" if "dml" in ours else "t.pth"
    assert str(caught.value).startswith(f"the teacher of {source} does not fit:\n  ")


def test_teacher_with_its_own_view_may_differ_in_all_but_the_classes(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.ERROR)
    size = ("DATA.IMAGE_SIZE", 256, "DATA.TEST_SHORT_SIDE", 256, "AUG.SHORT_SIDE_RANGE", [256, 300])
    teacher = load(*size, "DATA.NUM_FRAMES", 16, "DATA.PIXEL_MEAN", [0.4] * 3)
    check_teacher(load(*KD, "DISTILL.SEES", "own_clip"), teacher)
    check_teacher(load(*KD), load("DATA.PIXEL_MEAN", [0.4] * 3))  # its own normalisation
