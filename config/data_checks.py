"""Checks of the keys of data, augmentation and views; `config.checks` calls them."""

from yacs.config import CfgNode

MAX_MAGNITUDE = 30  # of torchvision's RandAugment
DENSE_WINDOW = 64  # frames that tsm_dense and paddle_dense spread a clip over
NUM_CROPS = {"uniform": (1, 3), "multi_centre": (1, 3), "laps": (1, 3)}  # where not 1, 3 or 5


def data_faults(cfg: CfgNode) -> list[str]:
    """Return what cannot be, or does not fit together, each with key, value and what is allowed."""
    faults = _sampling_faults(cfg) + _augmentation_faults(cfg)
    for split in ("VAL", "TEST"):
        faults += _view_faults(cfg, split)
    return faults


def _sampling_faults(cfg: CfgNode) -> list[str]:
    faults, data = [], cfg.DATA
    if data.SAMPLING in ("tsm_dense", "paddle_dense") and data.NUM_FRAMES > DENSE_WINDOW:
        faults.append(
            f"DATA.NUM_FRAMES={data.NUM_FRAMES}; {data.SAMPLING} takes at most {DENSE_WINDOW}, "
            f"of {DENSE_WINDOW}"
        )
    if data.WINDOW == "paddle" and data.SAMPLING not in ("linspace", "paddle_dense"):
        faults.append(
            f"DATA.WINDOW='paddle' is for DATA.SAMPLING linspace and paddle_dense, not "
            f"{data.SAMPLING!r}"
        )
    if data.WORKERS < -1:
        faults.append(
            f"DATA.WORKERS={data.WORKERS}; it must be 0 or more, or -1 for a share of the cores"
        )
    if data.FPS <= 0:
        faults.append(f"DATA.FPS={data.FPS}; it must be above 0")
    for key, values in (("PIXEL_MEAN", data.PIXEL_MEAN), ("PIXEL_STD", data.PIXEL_STD)):
        if len(values) != 3 or (key == "PIXEL_STD" and min(values) <= 0):
            faults.append(f"DATA.{key}={values}; it must be three numbers, a std above 0")
    return faults


def _augmentation_faults(cfg: CfgNode) -> list[str]:
    aug = cfg.AUG
    faults = _short_side_faults(cfg)
    for key in ("BRIGHTNESS", "SATURATION", "GAMMA", "HUE"):
        pair = aug[key]
        if len(pair) != 2 or pair[0] > pair[1]:
            faults.append(f"AUG.{key}={pair}; it must be [low, high], low <= high")
    if aug.CROP == "laps" and aug.RANDAUG_NUM_OPS:
        faults.append(
            f"AUG.RANDAUG_NUM_OPS={aug.RANDAUG_NUM_OPS}; RandAugment is for whole grey levels, and "
            "AUG.CROP laps does not round to them"
        )
    scales = aug.CROP_SCALES
    if not scales or not all(0 < scale <= 1 for scale in scales):
        faults.append(f"AUG.CROP_SCALES={scales}; each must lie above 0 and at most at 1")
    if not 0 <= aug.RANDAUG_MAGNITUDE <= MAX_MAGNITUDE:
        faults.append(
            f"AUG.RANDAUG_MAGNITUDE={aug.RANDAUG_MAGNITUDE}; it must be from 0 to {MAX_MAGNITUDE}"
        )
    clips = cfg.TRAIN.CLIPS_PER_GPU
    if aug.REPEATS > 0 and clips % aug.REPEATS:
        faults.append(
            f"TRAIN.CLIPS_PER_GPU={clips}; it counts clips and must be a multiple of "
            f"AUG.REPEATS={aug.REPEATS}"
        )
    return faults


def _short_side_faults(cfg: CfgNode) -> list[str]:
    sides = cfg.AUG.SHORT_SIDE_RANGE
    if cfg.AUG.CROP not in ("scale_jitter", "laps"):
        if len(sides) == 2 and 1 <= sides[0] < sides[1]:
            return []
        return [f"AUG.SHORT_SIDE_RANGE={sides}; it must be [low, high), 1 <= low < high"]
    if len(sides) == 2 and cfg.DATA.IMAGE_SIZE <= sides[0] <= sides[1]:
        return []
    return [
        f"AUG.SHORT_SIDE_RANGE={sides}; for AUG.CROP {cfg.AUG.CROP} it must be [low, high], "
        f"DATA.IMAGE_SIZE={cfg.DATA.IMAGE_SIZE} <= low <= high"
    ]


def _view_faults(cfg: CfgNode, split: str) -> list[str]:
    """Return what is wrong with the crops of VAL or TEST."""
    faults, crops, num_crops = [], cfg.TEST.CROPS, cfg[split].NUM_CROPS
    key, side, size = "DATA.TEST_SHORT_SIDE", cfg.DATA.TEST_SHORT_SIDE, cfg.DATA.IMAGE_SIZE
    if split == "TEST":
        size = cfg.TEST.IMAGE_SIZE or size
    elif cfg.VAL.SHORT_SIDE:
        key, side = "VAL.SHORT_SIDE", cfg.VAL.SHORT_SIDE
    if num_crops not in NUM_CROPS.get(crops, (1, 3, 5)):
        faults.append(f"{split}.NUM_CROPS={num_crops}; TEST.CROPS {crops} has 1 or 3")
    if crops != "tokshift" and size > side:
        faults.append(
            f"{key}={side}; the crops of TEST.CROPS {crops} must fit into it, and their side is "
            f"{size}"
        )
    if crops in ("uniform", "mmaction") and num_crops == 3 and size != side:
        faults.append(
            f"{key}={side}; the three crops of TEST.CROPS {crops} lie along the longer side, so it "
            f"must be their side, {size}; {split}.NUM_CROPS 1 is the centre of any"
        )
    return faults
