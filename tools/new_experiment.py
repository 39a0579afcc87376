r"""From a folder of videos to a run: lists, a config and the training, each a file to be edited.

    ./train.sh --videos data/mine/videos
    ./train.sh --videos data/mine/videos --tune_from pretrain/ViT-B_16.npz
    ./train.sh --videos data/mine/videos --tune_from timm:vit_small_patch14_dinov2.lvd142m
    python tools/new_experiment.py --videos data/mine/videos --no-run

FOLDER holds a folder per class, in it video files or folders of frames. The files go to
experiments/NAME, NAME the folder's: train.txt, val.txt, classes.txt and experiment.yml; the run to
runs/NAME. Where experiment.yml is there already, it is taken as it is. What follows is handed on
to train.sh: --resume, --amp, KEY VALUE ...

Without weights the model is the small one of config/fir_small.yml; with --tune_from it has the
size of the weights: of ours, of Vision Transformers and of those that timm has.
"""

import argparse
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import yaml

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

from config.backbones import BACKBONES
from config.console import show_every_name
from tools import make_lists

NUM_STEPS = 1400  # that a small model takes to learn from nothing
BATCH = 16
TUNED_EPOCHS = 15
TUNED_RECIPE = "k400/k400_tokshift_div4_8x32_base_224.yml"
TUNED_SIZE = 224  # pixels; a multiple of every patch that is published


def main(argv: Sequence[str] | None = None) -> int:
    """Write what is not there yet, and start the run; return the exit status."""
    show_every_name()
    args, words = build_parser().parse_known_args(argv)
    folder = args.experiment or Path("experiments") / args.videos.resolve().name
    config = folder / "experiment.yml"
    if config.exists():
        say(f"{config} is there already and is taken as it is; --experiment DIR begins another")
    else:
        try:
            content = base_of(args.tune_from, folder)
        except ValueError as error:
            sys.stderr.write(f"error: {error}\n")
            return 2
        status = write_lists(args, folder)
        if status == 2:
            return status
        write_config(config, args, content)
    start = ["--cfg", str(config)] + (["--tune_from", args.tune_from] if args.tune_from else [])
    if args.no_run:
        say("start it with: " + shlex.join(["./train.sh", *start, *words]))
        return 0
    return os.execv(str(REPOSITORY / "train.sh"), ["train.sh", *start, *words])


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--videos", type=Path, required=True, metavar="FOLDER", help="a folder per class")
    add("--experiment", type=Path, metavar="DIR", help="for the files (experiments/NAME)")
    add("--split", default="0.8", help="share of the training list, see tools/make_lists.py (0.8)")
    add("--group-by", default="", metavar="REGEX", help="keep recordings whole, see make_lists.py")
    add("--tune_from", metavar="FILE", help="weights to start from")
    add("--no-run", action="store_true", help="write the files alone")
    return parser


def write_lists(args: argparse.Namespace, folder: Path) -> int:
    """Write lists and class names; return the exit status of tools/make_lists.py."""
    words = ["tree", str(args.videos), "--count", "--split", args.split, "--output", str(folder)]
    words += ["--group-by", args.group_by] if args.group_by else []
    return make_lists.main(words)


def base_of(weights: str | None, folder: Path) -> dict[str, object]:
    """Return the keys of the config that come from the weights, or from there being none.

    Args:
        weights: Path of the file, whose config, if it has one, is kept in the folder as base.yml;
            or ``timm:NAME``.
        folder: Folder of the experiment.

    Raises:
        ValueError: The file cannot be read, or its kind does not tell its size.
    """
    if not weights:
        return {"_BASE_": "fir_small.yml"}
    tuned: dict[str, object] = {
        "OPTIM": {
            "NAME": "adamw",
            "LR": 1e-4,
            "REFERENCE_LR": 1e-4,
            "REFERENCE_BATCH": BATCH,
            "WEIGHT_DECAY": 0.05,
            "LAYER_DECAY": 0.75,
            "GROUPS": "vit",
            "SCHEDULE": "cosine",
            "WARMUP_EPOCHS": 1.0,
        },
    }
    if weights.endswith(".npz"):
        name = _backbone(*_sizes_of_npz(weights), weights)
        return {"_BASE_": TUNED_RECIPE, "MODEL": {"BACKBONE": name}, **tuned}
    from models.loaded_model import read_experiment  # here: torch takes seconds
    from models.weights.named_weights import is_named

    if is_named(weights):
        return {"_BASE_": TUNED_RECIPE, **_sections_of_named(weights), **tuned}
    cfg, _ = read_experiment(weights)
    cfg.defrost()
    if cfg.MODEL.NAME == "tsm":
        del tuned["OPTIM"]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "base.yml").write_text(cfg.dump(), encoding="utf-8")
    say(f"{folder / 'base.yml'}: the config in {weights}")
    return {"_BASE_": "base.yml", **tuned}


def write_config(config: Path, args: argparse.Namespace, content: dict[str, object]) -> None:
    """Write the yml of an experiment whose lists lie beside it."""
    folder = config.parent
    num_train = len((folder / "train.txt").read_bytes().splitlines())
    num_classes = len((folder / "classes.txt").read_bytes().splitlines())
    epochs = min(max(round(NUM_STEPS * BATCH / num_train), 20), 100)
    data: dict[str, object] = {
        "NAME": "mine",
        "ROOT": str(args.videos),
        "TRAIN_LIST": str(folder / "train.txt"),
        "VAL_LIST": str(folder / "val.txt"),
        "CLASS_NAMES": str(folder / "classes.txt"),
        "GENERATE_TOY": False,
    }
    if not (folder / "base.yml").exists():
        data["SAMPLING"] = "uniform"  # a clip is one action, cut to its length
    if (folder / "test.txt").exists():
        data["TEST_LIST"] = str(folder / "test.txt")
    content["OUTPUT_DIR"] = f"runs/{args.videos.resolve().name}"
    content["DATA"] = _section(content, "DATA") | data
    content["MODEL"] = {**_section(content, "MODEL"), "NUM_CLASSES": num_classes}
    content["TRAIN"] = {
        "EPOCHS": TUNED_EPOCHS if args.tune_from else epochs,
        "CLIPS_PER_GPU": max(min(BATCH // 2, num_train // 2), 1),
        "ACCUMULATION": 1,
        "TUNE_DROPS_HEAD": bool(args.tune_from),  # its classes are others
    }
    content["TEST"] = {"AFTER_TRAINING": True, "NUM_CLIPS": 1}
    opening = (
        f"# Written by tools/new_experiment.py from {args.videos}, to be edited. What is not here "
        "comes from\n# _BASE_; config/defaults.py explains every key. Where left and right are "
        "classes, add AUG: {FLIP: False}.\n"
    )
    text = opening + yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
    config.write_text(text, encoding="utf-8")
    if not args.group_by:
        say("clips of one recording may be in both lists; --group-by REGEX keeps them together")
    say(f"{config}: {num_classes} classes, {num_train} videos to train on; edit it as you like")


def say(text: str) -> None:
    """Write a line for the user."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _section(content: dict[str, object], name: str) -> dict[str, object]:
    section = content.get(name, {})
    assert isinstance(section, dict)
    return section


def _sections_of_named(name: str) -> dict[str, object]:
    """Return MODEL and DATA of a TokShift on weights that timm has, or fetches."""
    from models.pretrained import describe, weights_of
    from models.weights.named_weights import read_named

    content = read_named(name)
    weights_of(content, name)  # names a network that is not here
    said = describe(content, name)
    if said is None:
        raise ValueError(
            f"{name} is no ViT of timm, whose size would be known; write a yml with _BASE_ and "
            "MODEL, and give it by --cfg"
        )
    sides = dict.fromkeys(("DATA.IMAGE_SIZE", "DATA.TEST_SHORT_SIDE"), TUNED_SIZE)
    said.values |= {"MODEL.NAME": "tokshift", **sides}
    sections: dict[str, object] = yaml.safe_load(said.yml())
    return sections


def _sizes_of_npz(path: str) -> tuple[int, int]:
    """Return width and patch of an image ViT."""
    from models.weights.image_vit import read_npz

    kernel = read_npz(path).get("embedding/kernel", np.zeros(0))
    if kernel.ndim != 4:
        raise ValueError(f"{path} holds no 'embedding/kernel'; it is no ViT of the releases")
    return int(np.shape(kernel)[-1]), int(np.shape(kernel)[0])


def _backbone(width: int, patch: int, path: str) -> str:
    for name, sizes in BACKBONES.items():
        if (sizes["HIDDEN_SIZE"], sizes["PATCH_SIZE"]) == (width, patch):
            return name
    raise ValueError(
        f"{path} is a ViT of width {width} and patch {patch}, which has no name here; write a yml "
        "with _BASE_ and MODEL.BACKBONE custom, and give it by --cfg"
    )


if __name__ == "__main__":
    sys.exit(main())
