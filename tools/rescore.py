"""Figures of a test under other protocols, or of several models together, from scores.npz alone.

    python tools/rescore.py runs/quickstart/scores.npz [--json OUT]
    python tools/rescore.py A/scores.npz B/scores.npz --weights 1 0.5 [--average probabilities]

Of one file, 1x1 is the first clip's centre crop; 1xC all crops of the first clip; Nx1 the centre
crops of all clips; NxC everything. Each is shown with logits and with probabilities averaged over
the views; where a video may have several classes the probabilities are sigmoids, and there is mAP.
Of several files, each model is averaged over all its views, and then the models are averaged: their
logits, or their probabilities, as the TSM release does with --softmax. The interval is Wilson's at
95 %, the calibration error the expected one in 15 bins.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

from config.console import show_every_name
from engine.mean_scores import MeanScores
from engine.scores import Scores, table_head, table_row
from engine.whole_file import UnwritableError
from tools.rescoring.ensembles import WAYS, ensemble_rows, figures_of
from tools.writing.json_report import write_json
from tools.writing.places import check_places

_RELIABILITY = "  95 % of top1  calibration"


def main(argv: Sequence[str] | None = None) -> int:
    """Print the figures of every protocol, or of every model and all; return the exit status."""
    show_every_name()
    args = _parser().parse_args(argv)
    try:
        check_places({"--json": args.json}, args.scores)
        rows = _rows(args)
        _show(rows)
        if args.json:
            write_json(args.json, rows)
    except (ValueError, UnwritableError) as error:
        sys.stdout.flush()
        sys.stderr.write(f"error: {error}\n")
        return 1
    return 0


def rescore(scores: Scores) -> list[dict[str, Any]]:
    """Return the figures of 1x1, 1xC, Nx1 and NxC views, each averaged in both ways."""
    grids = [(clips, crops) for clips in (1, scores.num_clips) for crops in (1, scores.num_crops)]
    rows = []
    for clips, crops in dict.fromkeys(grids):
        for kind in ("logits", "sigmoids" if scores.is_multi_label else "probabilities"):
            are_logits = kind == "logits"
            averaged = scores.averaged(are_logits, num_clips=clips, num_crops=crops)
            mean = MeanScores(scores.videos, scores.labels, averaged, are_logits)
            rows.append({"views": f"{clips}x{crops}", "averaged": kind, **figures_of(mean)})
    return rows


def _show(rows: Sequence[Mapping[str, Any]]) -> None:
    names = [name for name in ("model", "views", "models", "averaged") if name in rows[0]]
    widths = {name: max(len(name), *(len(row[name]) for row in rows)) for name in names}
    labels = "  ".join(f"{name:<{width}}" for name, width in widths.items())
    is_told = "top1_interval" in rows[0]
    sys.stdout.write(f"{labels}{table_head(rows[0])}{_RELIABILITY if is_told else ''}\n")
    for row in rows:
        labels = "  ".join(f"{row[name]:<{width}}" for name, width in widths.items())
        sys.stdout.write(f"{labels}{table_row(row)}{_reliability(row) if is_told else ''}\n")


def _reliability(row: Mapping[str, Any]) -> str:
    low, high = row["top1_interval"]
    return f"  {f'{low:.2f}-{high:.2f}':>12}  {row['calibration_error']:11.2f}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("scores", nargs="+", help="scores.npz of a test, or one of each model")
    parser.add_argument(
        "--weights", nargs="+", type=float, metavar="W", help="of each model in the mean; all 1"
    )
    parser.add_argument(
        "--average",
        choices=[*WAYS],
        help="of the models, softmax after the mean or before it; default: show both",
    )
    parser.add_argument("--json", type=Path, metavar="OUT", help="write the figures there too")
    return parser


def _rows(args: argparse.Namespace) -> list[dict[str, Any]]:
    files = args.scores
    if len(files) == 1:
        if args.weights or args.average:
            raise ValueError(f"--weights and --average are for several files, there is {files[0]}")
        return rescore(Scores.load(files[0]))
    weights = args.weights or [1.0] * len(files)
    rows = ensemble_rows(files, weights, args.average or "")
    for number, (file, weight) in enumerate(zip(files, weights, strict=True), start=1):
        sys.stdout.write(f"model {number}: {file}, weight {weight:g}\n")
    return rows


if __name__ == "__main__":
    sys.exit(main())
