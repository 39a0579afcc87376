"""The most that each number of a config may be; `config.checks` has the least and the choices."""

from yacs.config import CfgNode

from config.values import shown

MAX_INT = 2**31 - 1
MAX_FLOAT = 1e6
# Far above what anyone has used, and below what would take the machine down before it is noticed.
AT_MOST: dict[str, float] = {
    "SEED": 2**63 - 1,  # torch's generators take no more
    "DATA.NUM_FRAMES": 10_000,
    "DATA.FPS": 10_000,
    "DATA.IMAGE_SIZE": 8192,
    "DATA.TEST_SHORT_SIDE": 8192,
    "DATA.WORKERS": 512,
    "AUG.SHORT_SIDE_RANGE": 8192,
    "AUG.HUE": 1,
    "AUG.RANDAUG_NUM_OPS": 100,
    "AUG.REPEATS": 1000,
    "MODEL.NUM_CLASSES": 1_000_000,
    "MODEL.VIT.PATCH_SIZE": 8192,
    "MODEL.VIT.HIDDEN_SIZE": 65_536,
    "MODEL.VIT.MLP_DIM": 1_048_576,
    "MODEL.VIT.NUM_HEADS": 65_536,
    "MODEL.VIT.NUM_LAYERS": 1000,
    "MODEL.VIT.NORM_EPS": 1,
    "MODEL.VIT.NUM_REGISTERS": 1000,
    "MODEL.TSM.NEW_LENGTH": 100,
    "MODEL.TSM.LAYERS": 1000,
    "MODEL.TSM.WIDTH": 65_536,
    "OPTIM.LR": 1e38,  # float32 holds no more; whether a rate is sound, the weights tell
    "OPTIM.WARMUP_START": 1,
    "OPTIM.GAMMA": 1000,
    "TRAIN.EPOCHS": 1_000_000,
    "TRAIN.CLIPS_PER_GPU": 1_000_000,
    "VAL.NUM_CLIPS": 10_000,
    "VAL.SHORT_SIDE": 8192,
    "VAL.VIDEOS_PER_GPU": 1_000_000,
    "TEST.NUM_CLIPS": 10_000,
    "TEST.IMAGE_SIZE": 8192,
}
MAY_BE_NEGATIVE = ("DATA.PIXEL_MEAN", "AUG.HUE")


def limit_faults(cfg: CfgNode, prefix: str = "") -> list[str]:
    """Return the numbers that are too large, or have no size at all, each with what is allowed."""
    faults = []
    for name, value in cfg.items():
        key = f"{prefix}{name}"
        if isinstance(value, CfgNode):
            faults += limit_faults(value, f"{key}.")
            continue
        items = value if isinstance(value, list) else [value]
        numbers = [item for item in items if type(item) in (int, float)]
        most = AT_MOST.get(key, MAX_INT if all(type(n) is int for n in numbers) else MAX_FLOAT)
        least = -most if key in MAY_BE_NEGATIVE or not isinstance(value, list) else 0
        if not all(least <= number <= most for number in numbers):
            is_one = type(value) in (int, float) and key not in MAY_BE_NEGATIVE
            allowed = f"at most {most}" if is_one else f"from {least} to {most}"
            faults.append(f"{key}={shown(value)}; it must be {allowed}")
    return faults
