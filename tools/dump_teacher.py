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

from yacs.config import CfgNode

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

from config.command_line import parse_args
from datasets.loaders import build_view_loader, describe_protocol, read_records
from engine.distributed import LaunchOptions, World, launch
from engine.learner import autocast
from engine.run_log import set_up_console
from main_ddp_shift import evaluate, load_experiment, user_errors_shown
from models import build_model
from models.pretrained import load_weights

_log = logging.getLogger("dump_teacher")


def main(argv: Sequence[str] | None = None) -> None:
    """Write the file, and say how good the teacher is on the list."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--checkpoint", required=True, help="the teacher's weights")
    parser.add_argument("--cfg", help="yml of the teacher; our checkpoints hold their own config")
    parser.add_argument("--list", help="the student's training list, for DATA.TRAIN_LIST")
    parser.add_argument("--output", required=True, type=Path, metavar="FILE", help="scores.npz")
    parser.add_argument("overrides", nargs="*", metavar="KEY VALUE", help="the teacher's keys")
    args = parser.parse_intermixed_args(argv)
    is_first_here = os.environ.get("LOCAL_RANK", "0") == "0"
    set_up_console(is_main=os.environ.get("RANK", "0") == "0")
    with user_errors_shown(is_common_shown=is_first_here):
        words = ["--evaluate", "--resume", args.checkpoint, *args.overrides]
        words += ["--cfg", args.cfg] if args.cfg else []
        words += ["DATA.TRAIN_LIST", args.list] if args.list else []
        cfg = load_experiment(parse_args(words))
        launch(dump, LaunchOptions(), cfg, args.checkpoint, args.output)


def dump(world: World, cfg: CfgNode, checkpoint: str, output: Path) -> None:
    """Score every video of DATA.TRAIN_LIST once, over all processes, and write the file on rank 0.

    Args:
        world: Where this process stands.
        cfg: Of the teacher; its test protocol gives the views.
        checkpoint: File of the weights.
        output: File to write.

    Raises:
        ValueError: The list, a video or the checkpoint cannot be read or does not fit.
    """
    set_up_console(world.is_main)
    records = read_records(cfg, "train")
    model = build_model(cfg)
    _log.info("%s", load_weights(model, checkpoint, head_may_differ=False))
    model.to(world.device).eval()
    loader = build_view_loader(cfg, records, "test", world.rank, world.size)
    with autocast(cfg.TRAIN.AMP, world.device):
        scores, unreadable = evaluate(model, loader, records, cfg, world, "test")
    if scores is None:
        return
    output.parent.mkdir(parents=True, exist_ok=True)
    scores.save(output, scores.averaged())
    for line in unreadable:
        _log.warning("left out: %s", line)
    figures = scores.figures(scores.averaged())
    _log.info("views: %s", describe_protocol(cfg))
    _log.info(
        "%s: logits of %d of %d videos, %d views each; on them the teacher has top1 %.2f top5 %.2f",
        *(output, len(scores.videos), len(records), scores.view_logits.shape[1]),
        *(figures["top1"], figures["top5"]),
    )


if __name__ == "__main__":
    main()
