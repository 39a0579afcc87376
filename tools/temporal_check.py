"""Does a model use the order of the frames? Its accuracy on the test list with the order spoilt.

    python tools/temporal_check.py --checkpoint runs/quickstart/best.pth [--json OUT] [KEY VALUE]

The views are those of the test (config/defaults.py, TEST); with --checkpoint one of ours, --cfg can
be left out. The frames are decoded once, whatever the number of orders.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

from config.option_numbers import MAX_SEED, whole_number
from datasets.loaders import describe_protocol
from engine.distributed import World
from engine.run import Run
from engine.run_log import set_up_console
from engine.scores import Scores, table_head, table_row
from engine.training import open_videos
from engine.user_errors import user_errors_shown
from models import LoadedModel, load_model
from tools.spoiling.answers import figures_beside, score_readable
from tools.writing.json_report import write_json
from tools.writing.places import check_places

MEANING = (
    "Accuracy that is lost when the frames are shuffled or reversed came from their order; a model "
    "that looks at each frame by itself loses none; a repeated frame shows what an image is worth."
)

Reorder = Callable[[Tensor], Tensor]


class InEveryOrder(nn.Module):
    """A model over several orders of the same clip, logits side by side.

    Args:
        model: Model from clips (B, T, 3, H, W) to logits (B, K).
        reorders: Functions, R of them, from clips to clips of the same shape.
    """

    def __init__(self, model: nn.Module, reorders: Sequence[Reorder]) -> None:
        super().__init__()
        self.model = model
        self.reorders = reorders

    def forward(self, clips: Tensor) -> Tensor:
        """Return the logits of all orders, (B, R*K)."""
        return torch.cat([self.model(reorder(clips)) for reorder in self.reorders], dim=-1)


def main(argv: Sequence[str] | None = None) -> None:
    """Print the table; write it as JSON too where asked."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0], epilog=MEANING)
    parser.add_argument("--checkpoint", required=True, help="the weights to test")
    parser.add_argument("--cfg", help="yml of the experiment; ours hold their own config")
    parser.add_argument(
        "--seed", type=whole_number(most=MAX_SEED), default=0, help="of the shuffled orders (0)"
    )
    parser.add_argument("--json", type=Path, metavar="OUT", help="write the figures there too")
    parser.add_argument(
        "overrides", nargs="*", metavar="KEY VALUE", help="config keys; KEY=VALUE too"
    )
    args = parser.parse_intermixed_args(argv)
    set_up_console(is_main=True)
    with user_errors_shown(is_common_shown=True):
        check_places({"--json": args.json}, [args.checkpoint, args.cfg])
        loaded = load_model(args.checkpoint, args.cfg, args.overrides)
        rows = check_order(loaded, args.seed)
        protocol = describe_protocol(loaded.cfg)
        show(rows, protocol)
        if args.json:
            report = {"checkpoint": args.checkpoint, "protocol": protocol, "rows": rows}
            write_json(args.json, report)


def check_order(loaded: LoadedModel, seed: int = 0) -> list[dict[str, Any]]:
    """Test a model in each order of the frames, on this process alone.

    Args:
        loaded: Loaded model with its experiment.
        seed: Seed of the shuffled orders.

    Returns:
        A row for each order: its name, the figures of the test in percent, and the share of videos
        whose answer is that of the true order.
    """
    cfg, orders = loaded.cfg, frame_orders(seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    world = World(rank=0, size=1, local_rank=0, device=device)
    in_all = InEveryOrder(loaded.model, list(orders.values())).to(device).eval()
    scores = score_readable(Run(cfg, world), in_all, open_videos(cfg, "test", world))
    assert scores is not None  # there is one process
    parts = np.split(scores.view_logits, len(orders), axis=-1)
    return compare(
        {name: replace(scores, view_logits=part) for name, part in zip(orders, parts, strict=True)},
        cfg.TEST.AVERAGE_LOGITS,
    )


def frame_orders(seed: int) -> dict[str, Reorder]:
    """Return the orders by name, the true one first; each maps clips (B, T, C, H, W) to the same.

    Args:
        seed: Seed of the shuffling, which is drawn anew for each clip.
    """
    rng = np.random.default_rng(seed)

    def shuffled(clips: Tensor) -> Tensor:
        order = torch.from_numpy(rng.random(clips.shape[:2]).argsort(1)).to(clips.device)  # (B, T)
        return clips[torch.arange(len(clips), device=clips.device)[:, None], order]

    def one_frame(clips: Tensor) -> Tensor:
        middle = clips.shape[1] // 2
        return clips[:, middle : middle + 1].expand_as(clips)

    return {
        "as it is": lambda clips: clips,
        "reversed": lambda clips: clips.flip(1),
        "shuffled": shuffled,
        "one frame repeated": one_frame,
    }


def compare(scores: dict[str, Scores], average_logits: bool) -> list[dict[str, Any]]:
    """Return a row of figures for each order; the first is what the answers are compared with."""
    rows, answers = [], None
    for name, of_order in scores.items():
        figures, found = figures_beside(of_order, average_logits, answers)
        answers = found if answers is None else answers
        rows.append({"frames": name, **figures})
    return rows


def show(rows: Sequence[dict[str, Any]], protocol: str) -> None:
    """Print the table and what it means."""
    lines = [protocol, f"{'frames':<21}{table_head(rows[0])}  same answer"]
    lines += [f"{row['frames']:<21}{table_row(row)} {row['same_answer']:12.2f}" for row in rows]
    sys.stdout.write("\n".join([*lines, MEANING]) + "\n")


if __name__ == "__main__":
    main()
