"""Flags of other code bases, and what stands in their place here."""

import difflib
from collections.abc import Iterable

KEYS = {
    "--arch": "MODEL.NAME",
    "--backbone": "MODEL.BACKBONE",
    "--batch": "TRAIN.CLIPS_PER_GPU",
    "--batch-size": "TRAIN.CLIPS_PER_GPU",
    "--bs": "TRAIN.CLIPS_PER_GPU",
    "-b": "TRAIN.CLIPS_PER_GPU",
    "--accumulation": "TRAIN.ACCUMULATION",
    "--clip-grad": "OPTIM.CLIP_GRAD_NORM",
    "--classes": "MODEL.NUM_CLASSES",
    "--num-classes": "MODEL.NUM_CLASSES",
    "--data": "DATA.ROOT",
    "--data-path": "DATA.ROOT",
    "--root": "DATA.ROOT",
    "--drop-path": "MODEL.DROP_PATH",
    "--epoch": "TRAIN.EPOCHS",
    "--epochs": "TRAIN.EPOCHS",
    "--num-epochs": "TRAIN.EPOCHS",
    "--img-size": "DATA.IMAGE_SIZE",
    "--image-size": "DATA.IMAGE_SIZE",
    "--input-size": "DATA.IMAGE_SIZE",
    "--learning-rate": "OPTIM.LR",
    "--lr": "OPTIM.LR",
    "--min-lr": "OPTIM.MIN_LR",
    "--model": "MODEL.NAME",
    "--momentum": "OPTIM.MOMENTUM",
    "--name": "DATA.NAME",
    "--num-frames": "DATA.NUM_FRAMES",
    "--frames": "DATA.NUM_FRAMES",
    "--num-segments": "DATA.NUM_FRAMES",
    "--opt": "OPTIM.NAME",
    "--optimizer": "OPTIM.NAME",
    "--smoothing": "LOSS.LABEL_SMOOTHING",
    "--test-list": "DATA.TEST_LIST",
    "--train-list": "DATA.TRAIN_LIST",
    "--val-list": "DATA.VAL_LIST",
    "--warmup-epochs": "OPTIM.WARMUP_EPOCHS",
    "--wd": "OPTIM.WEIGHT_DECAY",
    "--weight-decay": "OPTIM.WEIGHT_DECAY",
}
FLAGS = {
    "--batch-size-per-gpu": "TRAIN.CLIPS_PER_GPU VALUE",
    "--cfg-options": "the keys alone, KEY VALUE or KEY=VALUE",
    "--checkpoint": "--resume FILE to go on, --tune_from FILE to start from weights",
    "--config": "--cfg FILE",
    "--config-file": "--cfg FILE",
    "--device": "--gpu NUMBER; without a GPU the CPU is taken",
    "--eval": "--evaluate",
    "--fast-dev-run": "--max-iterations NUMBER",
    "--finetune": "--tune_from FILE",
    "--fp16": "--amp, or TRAIN.AMP fp16",
    "--gpus": "PROCESSES=NUMBER before ./train.sh",
    "--load-from": "--tune_from FILE",
    "--num-gpus": "PROCESSES=NUMBER before ./train.sh",
    "--num-workers": "--workers NUMBER",
    "--opts": "the keys alone, KEY VALUE or KEY=VALUE",
    "--output-dir": "--output DIR",
    "--out": "--output DIR",
    "--pretrain": "--tune_from FILE",
    "--pretrained": "--tune_from FILE",
    "--resume-from": "--resume FILE",
    "--save-dir": "--output DIR",
    "--test": "--evaluate",
    "--weights": "--tune_from FILE",
    "--work-dir": "--output DIR",
}


def flag_hint(word: str, follower: str, keys: Iterable[str]) -> str:
    """Return what to write in place of a flag that does not exist here.

    Args:
        word: Flag as written, with ``=VALUE`` or without.
        follower: Word after it, which may be its value.
        keys: Keys of the config.
    """
    flag, _, value = word.partition("=")
    value = value or (follower if follower and not follower.startswith("--") else "VALUE")
    name = flag.lower().replace("_", "-")
    if name in FLAGS:
        return f"there is no {flag}; write {FLAGS[name]}"
    key = KEYS.get(name) or (_key_named(name, keys) if flag.startswith("--") else "")
    if key:
        return f"there is no {flag}; write the key and its value: {key} {value}"
    return f"unrecognized arguments: {flag}; --help has the flags, config/defaults.py the keys"


def _key_named(name: str, keys: Iterable[str]) -> str:
    """Return the key that a flag is spelled like, `--cutmix-alpha`; "" if there is none."""
    word = name.strip("-").replace("-", "_").replace(".", "_").upper()
    endings = {key.rpartition(".")[2]: key for key in keys}
    endings |= {key.replace(".", "_"): key for key in keys}
    nearest = difflib.get_close_matches(word, endings, 1, 0.75)
    return endings[nearest[0]] if nearest else ""
