r"""How good are frozen features? A linear classifier and nearest neighbours on them.

    python tools/probe.py --train DIR --val DIR [--l2 1e-3 ...] [--neighbours 20 ...]
    python tools/probe.py --checkpoint FILE [--cfg YML] [--layer K] [--output probe.pth]
        [--device cuda] [KEY VALUE ...]

DIR holds what tools/extract_features.py wrote of a list with labels; a video's feature is the mean
of its clips. With --checkpoint the features are computed once, by the views of the validation, of
DATA.TRAIN_LIST and DATA.VAL_LIST: what the head sees, or what lies behind layer K.

The backbone stays as the file has it; its head is not used. The linear classifier is fitted to its
optimum. Several --l2 cost hardly more than one: the best on the validation list is kept, and
--output writes it as the head of a checkpoint, which main_ddp_shift.py tests. Accuracies come with
the 95 % interval of Wilson.
"""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from yacs.config import CfgNode

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

from config.multi_label_checks import check_one_class
from config.option_numbers import whole_number
from config.values import counted
from datasets.annotations import read_class_names
from datasets.loaders import build_view_loader, read_records
from datasets.view_chunks import classify_views, views_per_forward
from engine.checkpoint_folder import write_checkpoint
from engine.checkpoints import build_description
from engine.distributed import World
from engine.fetching import Fetched
from engine.live_bar import LiveBar
from engine.run import Run, placed, to_device
from engine.run_log import set_up_console
from engine.statistics import wilson_interval
from engine.user_errors import user_errors_shown
from models import VideoModel, build_model
from models.feature_extractor import HEAD, FeatureExtractor
from models.loaded_model import read_experiment
from models.pretrained import load_weights
from tools.features.classifiers import (
    LabelledFeatures,
    count_hits,
    count_neighbour_hits,
    fit_head,
)
from tools.features.feature_set import check_together, read_feature_set
from tools.features.manifest import MAKES
from tools.writing.json_report import write_json
from tools.writing.places import check_places

_log = logging.getLogger("probe")

NEIGHBOURS = (1, 5, 20)  # by default, as far as there are so many training videos

Row = dict[str, Any]


def main(argv: Sequence[str] | None = None) -> None:
    """Probe as the command line says."""
    args = parse(argv)
    set_up_console(is_main=True)
    with user_errors_shown(is_common_shown=True):
        check_places({"--output": args.output, "--json": args.json}, _files(args))
        if args.checkpoint:
            rows, source = probe_checkpoint(args)
        else:
            rows, source = probe_folders(args)
        if args.json:
            write_json(args.json, {**source, "rows": rows})


def probe_folders(args: argparse.Namespace) -> tuple[list[Row], Row]:
    """Probe the features in two folders; return the rows, and what they are of.

    Raises:
        ValueError: A folder cannot be used, or both do not go together.
    """
    train, val = read_feature_set(args.train), read_feature_set(args.val)
    check_together(train, val)
    labels = torch.cat([train.features.labels, val.features.labels])
    num_classes = int(labels.max()) + 1
    rows, _ = probe(train.features, val.features, num_classes, args)
    source = {"train": str(args.train), "val": str(args.val)}
    return rows, {**source, "checkpoint": train.manifest["checkpoint"], **train.manifest[MAKES]}


def probe_checkpoint(args: argparse.Namespace) -> tuple[list[Row], Row]:
    """Probe the features of the lists of a config; write the model with the best head if asked.

    Raises:
        ValueError: A list, a video or the weights cannot be read.
    """
    cfg, _ = read_experiment(args.checkpoint, args.cfg, args.overrides, needs_head=False)
    check_one_class(cfg, "tools/probe.py")
    model = build_model(cfg)
    assert isinstance(model, VideoModel)
    _log.info("%s", load_weights(model, args.checkpoint, drops_head=True))
    world = World(rank=0, size=1, local_rank=0, device=torch.device(args.device))
    extractor = FeatureExtractor(placed(model.eval(), cfg, world), args.layer)
    run = Run(cfg, world)
    train, val = (compute_features(run, extractor, split) for split in ("train", "val"))
    rows, head = probe(train, val, cfg.MODEL.NUM_CLASSES, args)
    if args.output:
        model.get_submodule(model.head_name).load_state_dict(head.state_dict())
        best = max(row["top1"] for row in rows if row["probe"] == "linear")
        write_probe(args.output, model, cfg, best)
        of_several = " of several, so a little too high" if len(args.l2) > 1 else ""
        _log.info("%s: linear probe, validation top1 %.2f%s", args.output, best, of_several)
    return rows, {"checkpoint": args.checkpoint, "layer": args.layer}


@torch.no_grad()
def compute_features(run: Run, extractor: FeatureExtractor, split: str) -> LabelledFeatures:
    """Compute the features of the videos of a list by the views of the validation.

    Raises:
        ValueError: A video is unreadable.
    """
    cfg = run.cfg
    records = read_records(cfg, split)
    loader = build_view_loader(cfg, records, "val", rank=0, world_size=1)

    def look(clips: Tensor) -> Fetched:
        with run.autocast():
            return Fetched(extractor(to_device(clips, cfg, run.world)).mean(1))  # (D, C)

    size = views_per_forward(cfg.TEST.VIEWS_PER_FORWARD, run.world.device)
    values: dict[int, Tensor] = {}
    with LiveBar(len(records), "video", f"features, {split}") as bar:
        for place, seen, error in classify_views(loader, look, size):
            if seen is None:
                raise ValueError(error)
            values[place] = torch.from_numpy(seen).mean(0)  # (C,)
            bar.update()
    stacked = torch.stack([values[place] for place in range(len(records))])
    return LabelledFeatures(stacked, torch.tensor([record.label for record in records]))


def probe(
    train: LabelledFeatures, val: LabelledFeatures, num_classes: int, args: argparse.Namespace
) -> tuple[list[Row], nn.Linear]:
    """Classify the validation by the training videos; say each row as soon as it is there.

    Returns:
        A row for each strength and each number of neighbours: top1 and its interval, percent; and
        the head that is best on the validation.

    Raises:
        ValueError: More neighbours are asked for than there are.
    """
    num_train, num_val = len(train.labels), len(val.labels)
    most = max(args.neighbours or [1])
    if most > num_train:
        raise ValueError(f"--neighbours {most}: there are {num_train} training videos")
    _log.info(
        "%d training and %d validation videos, %d channels, %s",
        *(num_train, num_val, train.values.shape[1], counted(num_classes, "class", "classes")),
    )
    unseen = len({*val.labels.tolist()} - {*train.labels.tolist()})
    if unseen:
        classes = counted(unseen, "class", "classes")
        _log.warning("of the validation, %s without a training video", classes)
    rows, heads = [], []
    for strength in args.l2:
        heads.append(fit_head(train, num_classes, strength))
        on_train = 100 * count_hits(heads[-1], train) / num_train
        hits = count_hits(heads[-1], val)
        rows.append(_row({"probe": "linear", "l2": strength, "on_train": on_train}, hits, num_val))
        _say(f"linear, l2 {strength:g}", rows[-1], f", on the training videos {on_train:.2f}")
    best = max(range(len(rows)), key=lambda place: rows[place]["top1"])
    for k in args.neighbours or [k for k in NEIGHBOURS if k <= num_train]:
        hits = count_neighbour_hits(train, val, k)
        rows.append(_row({"probe": "neighbours", "k": k}, hits, num_val))
        _say(f"{k} nearest", rows[-1])
    return rows, heads[best]


def write_probe(output: Path, model: nn.Module, cfg: CfgNode, top1: float) -> None:
    """Write a model as a checkpoint that can be tested, and fine-tuned from.

    Raises:
        UnwritableError: It cannot be written.
    """
    names = read_class_names(cfg.DATA.CLASS_NAMES, cfg.MODEL.NUM_CLASSES)
    content = {"state_dict": model.cpu().state_dict(), "val_top1": top1}
    write_checkpoint(output, content | build_description(cfg, names))


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--train", type=Path, metavar="DIR", help="features to learn from")
    add("--val", type=Path, metavar="DIR", help="features to be classified")
    add("--checkpoint", "--tune_from", metavar="FILE", help="weights; their head is not used")
    add("--cfg", help="yml of lists, model and views; our checkpoints hold theirs")
    add("--layer", default=HEAD, help=f"{HEAD} (default), or a number from 1")
    add("--output", type=Path, metavar="FILE", help="checkpoint to write, with the best head")
    add("--json", type=Path, metavar="OUT", help="write the figures there too")
    add(
        "--l2", type=_strength, nargs="+", default=[1e-3], help="pulls on the weights; default 1e-3"
    )
    add(
        *("--neighbours", "--k"),
        type=whole_number(least=1),
        nargs="+",
        metavar="K",
        help=f"videos that vote; default {', '.join(map(str, NEIGHBOURS))}",
    )
    add("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    add("overrides", nargs="*", metavar="KEY VALUE", help="config keys; KEY=VALUE too")
    args = parser.parse_intermixed_args(argv)
    _check_ways(parser, args)
    return args


def _check_ways(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    has_folders = args.train is not None or args.val is not None
    if has_folders == bool(args.checkpoint) or (args.train is None) != (args.val is None):
        parser.error("give --train DIR and --val DIR, or --checkpoint FILE")
    needless = args.cfg or args.output or args.overrides or args.layer != HEAD
    if has_folders and needless:
        parser.error("--cfg, --layer, --output and KEY VALUE go with --checkpoint")
    if args.output and args.layer != HEAD:
        parser.error(f"--output is for --layer {HEAD}: that is what a checkpoint's head sees")


def _files(args: argparse.Namespace) -> list[str | Path | None]:
    """Return the files that are read, none of which may be written over."""
    folders = [folder for folder in (args.train, args.val) if folder is not None]
    return [args.cfg, args.checkpoint, *(file for one in folders for file in one.rglob("*"))]


def _row(what: Row, hits: int, total: int) -> Row:
    low, high = (100 * share for share in wilson_interval(hits, total))
    return {**what, "top1": 100 * hits / total, "low": low, "high": high, "num_videos": total}


def _say(name: str, row: Row, more: str = "") -> None:
    _log.info("%-20s top1 %6.2f [%.2f, %.2f]%s", name, row["top1"], row["low"], row["high"], more)


def _strength(text: str) -> float:
    strength = float(text)
    if not 0 <= strength < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not 0 or more")
    return strength


if __name__ == "__main__":
    main()
