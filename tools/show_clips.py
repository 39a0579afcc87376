r"""What is the model fed? A sheet of clips after augmentation, or of a test's views, by the config.

    python tools/show_clips.py --cfg config/quickstart.yml --output clips.html
    python tools/show_clips.py --cfg YML --split test --number 2 --output views.png [KEY VALUE ...]

--split train shows the first clips of an epoch (--epoch, from 0) as a run of one process is fed
them: drawn as DATA.BALANCE says, sampled, augmented, their labels mirrored with them, mixed by
Mixup and CutMix. --split val and test show every distinct view of videos that are spread evenly
over the list. The pixels are what the model gets, with the normalisation undone.

--output FILE.html is one file that needs no network, FILE.png a picture. No weights are needed.

Exit codes: 0; 1 an error, or a video that cannot be read: the others are shown.
"""

import argparse
import logging
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from yacs.config import CfgNode

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

from config import load_cfg
from config.class_names import read_class_names
from config.option_numbers import whole_number
from config.values import counted
from datasets.loaders import describe_protocol, num_test_clips, read_records
from datasets.readers import UnreadableVideoError
from datasets.toy import is_toy_missing, make_toy
from engine.run_log import set_up_console
from engine.user_errors import user_errors_shown
from tools.showing.fed_clips import FedClip, training_clips, views_of_test
from tools.showing.sheets import SUFFIXES, write_sheet
from tools.writing.places import check_places

NUMBERS = {"train": 16, "val": 4, "test": 4}  # clips, videos

_log = logging.getLogger("show_clips")


def main(argv: Sequence[str] | None = None) -> None:
    """Write the sheet that the command line asks for."""
    args = build_parser().parse_intermixed_args(argv)
    set_up_console(is_main=True)
    with user_errors_shown(is_common_shown=True):
        if args.output.suffix.lower() not in SUFFIXES:
            raise ValueError(f"--output {args.output}: it must end in {' or '.join(SUFFIXES)}")
        check_places({"--output": args.output}, [args.cfg])
        cfg = load_cfg(args.cfg, args.overrides)
        if cfg.DATA.GENERATE_TOY and is_toy_missing(cfg.DATA.ROOT, cfg.DATA.VAL_LIST):
            make_toy(cfg.DATA.ROOT)
        unreadable = show(cfg, args)
    if unreadable:
        sys.exit(1)


def show(cfg: CfgNode, args: argparse.Namespace) -> int:
    """Write the clips of a split; return how many videos are unreadable.

    Raises:
        ValueError: A list cannot be read, or does not fit.
        UnreadableVideoError: All videos are unreadable.
    """
    clips = list(fed_clips(cfg, args.split, args.number or NUMBERS[args.split], args.epoch))
    unreadable = [clip for clip in clips if not clip.is_readable]
    if len(unreadable) == len(clips):
        raise UnreadableVideoError(f"no clip can be shown; the first: {unreadable[0].what}")
    for clip in unreadable:
        _log.warning("left out: %s", clip.what)
    title = f"{Path(args.cfg).name}: {args.split}"
    write_sheet(args.output, clips, title, facts(cfg, args.split, args.epoch))
    _log.info("%s: %s", args.output, counted(len(clips) - len(unreadable), "clip"))
    return len(unreadable)


def fed_clips(cfg: CfgNode, split: str, number: int, epoch: int) -> Iterator[FedClip]:
    """Yield what a model is fed of a split: so many clips of an epoch, or views of so many videos.

    Raises:
        ValueError: A list cannot be read, or does not fit.
    """
    names = read_class_names(cfg.DATA.CLASS_NAMES, cfg.MODEL.NUM_CLASSES)
    records = read_records(cfg, split)
    if split == "train":
        return training_clips(cfg, records, names, epoch, number)
    return views_of_test(cfg, records, names, split, number)


def facts(cfg: CfgNode, split: str, epoch: int) -> list[str]:
    """Say what is the same for all clips, a line each."""
    data = cfg.DATA
    shown = f"pixels with the normalisation undone: mean {data.PIXEL_MEAN}, std {data.PIXEL_STD}"
    if split == "test":
        return [describe_protocol(cfg), shown]
    if split == "val":
        views = f"{num_test_clips(cfg, 'val')}x{cfg.VAL.NUM_CROPS} views"
        return [f"{views}, {data.SAMPLING}, crops as TEST.CROPS {cfg.TEST.CROPS}", shown]
    changes = ", ".join(f"{key} {value!r}" for key, value in cfg.AUG.items())
    drawn = f"SEED {cfg.SEED}, epoch {epoch}, DATA.BALANCE {data.BALANCE:g}, {data.SAMPLING}"
    return [
        f"{drawn} {data.NUM_FRAMES} frames of {data.IMAGE_SIZE} pixels",
        f"AUG: {changes}",
        shown,
    ]


def build_parser() -> argparse.ArgumentParser:
    """Build the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--cfg", required=True, help="yml of the experiment")
    add("--output", required=True, type=Path, metavar="FILE", help="FILE.html or FILE.png")
    add("--split", choices=tuple(NUMBERS), default="train", help="whose clips (train)")
    add("--number", type=whole_number(least=1), help="clips of train (16), videos of val, test (4)")
    add("--epoch", type=whole_number(), default=0, help="of train, from 0 (0)")
    add("overrides", nargs="*", metavar="KEY VALUE", help="config keys")
    return parser


if __name__ == "__main__":
    main()
