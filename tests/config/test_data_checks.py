import pytest
from yacs.config import CfgNode

from config import load_cfg_text


def load(*overrides: object) -> CfgNode:
    return load_cfg_text("", "exp.yml", [str(word) for word in overrides])


UNIFORM = ("TEST.CROPS", "uniform")
LAPS = ("AUG.CROP", "laps", "AUG.SHORT_SIDE_RANGE", "[224, 360]")


@pytest.mark.parametrize(
    ("overrides", "text"),
    [
        (
            ("DATA.WINDOW", "paddle"),
            "DATA.WINDOW='paddle' is for DATA.SAMPLING linspace and paddle_dense, not 'dense'",
        ),
        (("DATA.FPS", 0.0), "DATA.FPS=0.0; it must be above 0"),
        (
            ("DATA.SAMPLING", "paddle_dense", "DATA.NUM_FRAMES", 65),
            "DATA.NUM_FRAMES=65; paddle_dense takes at most 64, of 64",
        ),
        (
            ("AUG.CROP", "scale_jitter", "AUG.SHORT_SIDE_RANGE", "[200, 320]"),
            "AUG.SHORT_SIDE_RANGE=[200, 320]; for AUG.CROP scale_jitter it must be [low, high], "
            "DATA.IMAGE_SIZE=224 <= low <= high",
        ),
        (
            ("AUG.SHORT_SIDE_RANGE", "[224, 224]"),
            "AUG.SHORT_SIDE_RANGE=[224, 224]; it must be [low, high), 1 <= low < high",
        ),
        (
            (*LAPS, "AUG.RANDAUG_NUM_OPS", 2),
            "AUG.RANDAUG_NUM_OPS=2; RandAugment is for whole grey levels, and AUG.CROP laps does "
            "not round to them",
        ),
        (
            (*LAPS[:3], "[200, 320]"),
            "AUG.SHORT_SIDE_RANGE=[200, 320]; for AUG.CROP laps it must be [low, high], "
            "DATA.IMAGE_SIZE=224 <= low <= high",
        ),
        (("AUG.RANDAUG_MAGNITUDE", 31), "AUG.RANDAUG_MAGNITUDE=31; it must be from 0 to 30"),
        (("AUG.ERASING_PROB", 1.5), "AUG.ERASING_PROB=1.5; it must be from 0 to 1"),
        (
            ("AUG.REPEATS", 2, "TRAIN.CLIPS_PER_GPU", 21),
            "TRAIN.CLIPS_PER_GPU=21; it counts clips and must be a multiple of AUG.REPEATS=2",
        ),
        ((*UNIFORM, "VAL.NUM_CROPS", 5), "VAL.NUM_CROPS=5; TEST.CROPS uniform has 1 or 3"),
        (
            ("TEST.CROPS", "multi_centre", "TEST.NUM_CROPS", 5),
            "TEST.NUM_CROPS=5; TEST.CROPS multi_centre has 1 or 3",
        ),
        (
            (*UNIFORM, "DATA.TEST_SHORT_SIDE", 256),
            "DATA.TEST_SHORT_SIDE=256; the three crops of TEST.CROPS uniform lie along the longer "
            "side, so it must be their side, 224; TEST.NUM_CROPS 1 is the centre of any",
        ),
        (
            (*UNIFORM, "VAL.SHORT_SIDE", 256),
            "VAL.SHORT_SIDE=256; the three crops of TEST.CROPS uniform lie along the longer side, "
            "so it must be their side, 224; VAL.NUM_CROPS 1 is the centre of any",
        ),
        (
            ("TEST.CROPS", "multi_centre", "VAL.SHORT_SIDE", 200),
            "VAL.SHORT_SIDE=200; the crops of TEST.CROPS multi_centre must fit into it, and their "
            "side is 224",
        ),
    ],
)
def test_what_does_not_fit_together_is_refused(overrides: tuple[object, ...], text: str) -> None:
    with pytest.raises(ValueError, match=r"the command line") as caught:
        load(*overrides)
    assert text in str(caught.value)


@pytest.mark.parametrize(
    "overrides",
    [
        ("AUG.CROP", "scale_jitter", "AUG.SHORT_SIDE_RANGE", "[224, 224]"),
        (*UNIFORM, "VAL.SHORT_SIDE", 256, "VAL.NUM_CROPS", 1),  # as PP-TimeSformer validates
        ("TEST.CROPS", "multi_centre", "DATA.TEST_SHORT_SIDE", 256),
        ("AUG.REPEATS", 3, "TRAIN.CLIPS_PER_GPU", 21),
        ("DATA.SAMPLING", "linspace", "DATA.WINDOW", "paddle", "DATA.NUM_FRAMES", 96),
        ("AUG.ERASING_PROB", 1.0, "AUG.RANDAUG_MAGNITUDE", 30),
    ],
)
def test_what_fits_together_is_taken(overrides: tuple[object, ...]) -> None:
    load(*overrides)
