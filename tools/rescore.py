"""Figures of a test under other protocols, from its scores.npz and without the model.

    python tools/rescore.py runs/quickstart/scores.npz [--json OUT]

1x1 is the first clip's centre crop; 1xC all crops of the first clip; Nx1 the centre crops of all
clips; NxC everything. Each is shown with logits and with probabilities averaged over the views.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

from config.console import show_every_name
from engine.scores import Scores
from tools.writing.places import check_places


def main(argv: Sequence[str] | None = None) -> int:
    """Print the figures of every protocol; return the exit status."""
    show_every_name()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("scores", help="scores.npz of a test")
    parser.add_argument("--json", type=Path, metavar="OUT", help="write the figures there too")
    args = parser.parse_args(argv)
    try:
        check_places({"--json": args.json}, [args.scores])
        rows = rescore(Scores.load(args.scores))
    except ValueError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    sys.stdout.write("views   averaged         top1    top5  mean class\n")
    for row in rows:
        sys.stdout.write(
            f"{row['views']:<7} {row['averaged']:<14}{row['top1']:7.2f} {row['top5']:7.2f} "
            f"{row['mean_class_accuracy']:11.2f}\n"
        )
    if args.json:
        args.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
    return 0


def rescore(scores: Scores) -> list[dict[str, Any]]:
    """Return the figures of 1x1, 1xC, Nx1 and NxC views, each averaged in both ways."""
    grids = [(clips, crops) for clips in (1, scores.num_clips) for crops in (1, scores.num_crops)]
    rows = []
    for clips, crops in dict.fromkeys(grids):
        for kind in ("logits", "probabilities"):
            averaged = scores.averaged(kind == "logits", num_clips=clips, num_crops=crops)
            figures = scores.figures(averaged)
            del figures["per_class_accuracy"]
            rows.append({"views": f"{clips}x{crops}", "averaged": kind, **figures})
    return rows


if __name__ == "__main__":
    sys.exit(main())
