r"""How much accuracy does a model lose on damaged videos? The test list under nine kinds of damage.

    python tools/robustness.py --checkpoint CKPT [--plot OUT.png] [--json OUT] [--views 1x1] \
        [--kinds blur,noise] [--severities 1,3,5] [KEY VALUE]

Kinds: blur, noise, jpeg, brighter, darker (of the frames), dropped, repeated, higher-rate,
lower-rate (of the time), each at severities of 1 to 5. What is drawn depends on --seed alone. Each
is a test of its own with the views of the test, or --views: with all kinds and three severities 28
of them. With --checkpoint one of ours, --cfg can be left out. Under torchrun the processes share
the videos.
"""

import argparse
import logging
import os
import sys
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

from config.multi_label_checks import check_one_class
from config.option_numbers import MAX_SEED, whole_number
from config.values import counted
from datasets.loaders import build_view_loader, describe_protocol, read_records
from datasets.records import OpenVideo
from engine.canvas import can_draw
from engine.distributed import LaunchOptions, World, launch
from engine.run import Run, placed
from engine.run_log import set_up_console
from engine.scores import Scores
from engine.statistics import wilson_interval
from engine.training import Videos
from engine.user_errors import user_errors_shown
from engine.whole_file import whole_file
from models import LoadedModel, load_model
from tools.predicting.view_option import num_views, view_keys
from tools.spoiling.answers import figures_beside, score_readable
from tools.spoiling.damages import DAMAGES, DamagedVideos
from tools.spoiling.severity_plot import plot_severities
from tools.writing.json_report import write_json
from tools.writing.places import check_places

_log = logging.getLogger("robustness")

SEVERITIES = ("1", "2", "3", "4", "5")
SOME = "1,3,5"
WIDTH = 80  # columns of a terminal

Row = dict[str, Any]


def main(argv: Sequence[str] | None = None) -> None:
    """Print the table; write it as JSON and as a plot where asked."""
    args = parse(argv)
    set_up_console(is_main=os.environ.get("RANK", "0") == "0")
    with user_errors_shown(is_common_shown=os.environ.get("LOCAL_RANK", "0") == "0"):
        launch(run, LaunchOptions(), args)


def run(world: World, args: argparse.Namespace) -> None:
    """Do what the command line asks for, in one of the processes.

    Raises:
        ValueError: The checkpoint, the list or a video cannot be read, or does not fit.
        UnwritableError: A file cannot be written.
    """
    set_up_console(world.is_main)
    if world.is_main:
        check_places({"--json": args.json, "--plot": args.plot}, [args.checkpoint, args.cfg])
    words = [*args.overrides, *(view_keys(args.views) if args.views else [])]
    loaded = load_model(args.checkpoint, args.cfg, words)
    check_one_class(loaded.cfg, "tools/robustness.py")
    if args.views:
        num_views(loaded.cfg, args.views)
    rows = score_damaged(loaded, world, args.kinds, list(map(int, args.severities)), args.seed)
    if not world.is_main:
        return
    protocol = describe_protocol(loaded.cfg)
    sys.stdout.write("\n".join(table(rows, args.kinds, protocol)) + "\n")
    if args.json:
        report = {"checkpoint": args.checkpoint, "protocol": protocol, "seed": args.seed}
        write_json(args.json, {**report, "rows": rows})
    if args.plot and can_draw():
        picture = draw(rows, args.kinds, f"{args.checkpoint}: {protocol}")
        with whole_file(args.plot) as file:
            picture.save(file, format="PNG")


def score_damaged(
    loaded: LoadedModel, world: World, kinds: Sequence[str], severities: Sequence[int], seed: int
) -> list[Row]:
    """Test a model on the videos as they are, and under each damage.

    Args:
        loaded: Loaded model with its experiment.
        world: Rank and device of this process, and the number of processes.
        kinds: Kinds of damage, of `DAMAGES`.
        severities: Severities, 1 to 5.
        seed: Seed of what is drawn.

    Returns:
        On rank 0 a row for each: kind ("" for none), severity, level, the figures of the test in
        percent, and the share of videos whose answer is that without damage. Elsewhere none.

    Raises:
        ValueError: The list or a video cannot be read.
    """
    cfg, records = loaded.cfg, read_records(loaded.cfg, "test")
    model, lengths = placed(loaded.model, cfg, world), {r.line: r.num_frames for r in records}

    def score(open_video: OpenVideo | None) -> Scores | None:
        seen = [record._replace(num_frames=0) for record in records] if open_video else records
        loader = build_view_loader(cfg, seen, "test", world.rank, world.size, open_video)
        return score_readable(Run(cfg, world), model, Videos(records, loader, "test"))

    rows: list[Row] = []
    true_answers = None
    cases = [("", 0), *((kind, severity) for kind in kinds for severity in severities)]
    for kind, severity in cases:
        damaged = DamagedVideos(cfg, lengths, kind, severity, seed) if kind else None
        scores = score(damaged)
        if scores is None:
            continue
        figures, answers = figures_beside(scores, cfg.TEST.AVERAGE_LOGITS, true_answers)
        true_answers = answers if true_answers is None else true_answers
        level = DAMAGES[kind].levels[severity - 1] if kind else None
        num = len(scores.videos)
        rows.append({"kind": kind, "severity": severity, "level": level, **figures, "num": num})
        _log.info("%s: top1 %.2f", f"{kind} {severity}" if kind else "as they are", figures["top1"])
    return rows


def table(rows: Sequence[Row], kinds: Sequence[str], protocol: str) -> list[str]:
    """Return the lines of the table, at most 80 columns wide."""
    clean, top1 = rows[0], _top1(rows)
    hits = round(clean["top1"] * clean["num"] / 100)
    low, high = (100 * share for share in wilson_interval(hits, clean["num"]))
    severities = sorted({row["severity"] for row in rows[1:]})
    head = "".join(f"{severity:8d}" for severity in severities)
    lines = [
        *textwrap.wrap(protocol, WIDTH),
        f"{counted(clean['num'], 'video')} as they are: top-1 {clean['top1']:.2f}, "
        f"95 % interval {low:.2f} to {high:.2f}",
        f"{'top-1, severity':<16}{head}{'mean':>8}{'lost':>8}",
    ]
    for kind in kinds:
        values = [top1[kind, severity] for severity in severities]
        mean = float(np.mean(values))
        shown = "".join(f"{value:8.2f}" for value in [*values, mean, clean["top1"] - mean])
        lines.append(f"{kind:<16}{shown}")
    for kind in kinds:
        damage = DAMAGES[kind]
        levels = ", ".join(f"{damage.levels[severity - 1]:g}" for severity in severities)
        lines += textwrap.wrap(f"{kind}: {damage.meaning.format(levels)}", WIDTH)
    return lines


def draw(rows: Sequence[Row], kinds: Sequence[str], title: str) -> Any:
    """Return the plot of the rows as a picture; matplotlib must be there."""
    top1 = _top1(rows)
    severities = sorted({row["severity"] for row in rows[1:]})
    groups: dict[str, dict[str, list[float]]] = {}
    for kind in kinds:
        name = "damaged frames" if DAMAGES[kind].of_frame else "damaged time"
        groups.setdefault(name, {})[kind] = [top1[kind, severity] for severity in severities]
    return plot_severities(groups, severities, rows[0]["top1"], title)


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--checkpoint", required=True, help="the weights to test")
    add("--cfg", help="yml of the experiment; ours hold their own config")
    add("--kinds", type=_some_of(DAMAGES), default=[*DAMAGES], help="with commas between (all)")
    add(
        "--severities",
        type=_some_of(SEVERITIES),
        default=SOME.split(","),
        help=f"of 1 to 5, with commas between ({SOME})",
    )
    add("--views", default="", metavar="NxC", help="clips x crops: 1x1, 1x3, 10x3 (the config's)")
    add("--seed", type=whole_number(most=MAX_SEED), default=0, help="of what is drawn (0)")
    add("--json", type=Path, metavar="OUT", help="write the figures there too")
    add("--plot", type=Path, metavar="OUT.png", help="draw them; needs matplotlib")
    add("overrides", nargs="*", metavar="KEY VALUE", help="config keys; KEY=VALUE too")
    return parser.parse_intermixed_args(argv)


def _some_of(names: Sequence[str] | dict[str, Any]) -> Callable[[str], list[str]]:
    """Return a reader of some of the names, with commas between, in the order of all."""

    def read(text: str) -> list[str]:
        words = {word.strip() for word in text.split(",")}
        wrong = sorted(words - {*names})
        if wrong:
            raise argparse.ArgumentTypeError(f"{wrong[0]!r} is none of {', '.join(names)}")
        return [name for name in names if name in words]

    return read


def _top1(rows: Sequence[Row]) -> dict[tuple[str, int], float]:
    return {(row["kind"], row["severity"]): row["top1"] for row in rows}


if __name__ == "__main__":
    main()
