r"""A teacher's logits on a student's training list, once and for all epochs: DISTILL.LOGITS.

    python tools/dump_teacher.py --checkpoint runs/teacher/best.pth --list data/mine/train.txt \
      --output runs/teacher/train_scores.npz [KEY VALUE]

The views are those of the teacher's test (config/defaults.py, TEST), of frames under DATA.ROOT;
with --checkpoint one of ours, --cfg can be left out. Under torchrun the processes share the videos.
"""

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

from config.values import counted
from datasets.loaders import build_view_loader, describe_protocol, read_records
from engine.distributed import LaunchOptions, World, launch
from engine.run import Run
from engine.run_log import set_up_console
from engine.scores import in_words
from engine.training import Videos
from engine.user_errors import user_errors_shown
from main_ddp_shift import evaluate
from models import load_model
from tools.writing.places import check_places

_log = logging.getLogger("dump_teacher")


def main(argv: Sequence[str] | None = None) -> None:
    """Write the file, and say how good the teacher is on the list."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--checkpoint", required=True, help="the teacher's weights")
    parser.add_argument("--cfg", help="yml of the teacher; our checkpoints hold their own config")
    parser.add_argument("--list", help="the student's training list, for DATA.TRAIN_LIST")
    parser.add_argument("--output", required=True, type=Path, metavar="FILE", help="scores.npz")
    parser.add_argument(
        "overrides", nargs="*", metavar="KEY VALUE", help="the teacher's keys; KEY=VALUE too"
    )
    args = parser.parse_intermixed_args(argv)
    is_first_here = os.environ.get("LOCAL_RANK", "0") == "0"
    set_up_console(is_main=os.environ.get("RANK", "0") == "0")
    with user_errors_shown(is_common_shown=is_first_here):
        launch(dump, LaunchOptions(), args)


def dump(world: World, args: argparse.Namespace) -> None:
    """Score every video of DATA.TRAIN_LIST once, over all processes, and write the file on rank 0.

    The views are those of the teacher's test protocol.

    Args:
        world: Rank and device of this process, and the number of processes.
        args: Parsed command line.

    Raises:
        ValueError: The list, a video or the checkpoint cannot be read or does not fit; or
            the file cannot be written.
    """
    set_up_console(world.is_main)
    if world.is_main:
        check_places({"--output": args.output}, [args.checkpoint, args.cfg, args.list])
    the_list = ["DATA.TRAIN_LIST", args.list] if args.list else []
    loaded = load_model(args.checkpoint, args.cfg, [*args.overrides, *the_list])
    _log.info("%s", loaded.report)
    cfg, output = loaded.cfg, args.output
    records = read_records(cfg, "train")
    loader = build_view_loader(cfg, records, "test", world.rank, world.size)
    videos = Videos(records, loader, "test")
    scores, unreadable = evaluate(Run(cfg, world), loaded.model.to(world.device), videos)
    if scores is None:
        return
    scores.save(output, scores.averaged())
    for line in unreadable:
        _log.warning("left out: %s", line)
    figures = scores.figures(scores.averaged())
    _log.info("views: %s", describe_protocol(cfg))
    _log.info(
        "%s: logits of %d of %d videos, %s each; on them the teacher has %s",
        *(output, len(scores.videos), len(records), counted(scores.view_logits.shape[1], "view")),
        in_words(scores.shown_figures(figures)),
    )


if __name__ == "__main__":
    main()
