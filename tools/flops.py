"""Parameters and multiply-adds of recipes, as papers print them and as they run; no data, no GPU.

    python tools/flops.py [YML ...] [--frames F] [--size WxH] [--json OUT] [KEY VALUE ...]

Without a yml, all recipes of config/. One line each: millions of parameters; billions of multiply-
adds a view, of the layers alone ("GFLOPs" in the papers) and as they run, with the attention; the
views of a test, and those of them that differ, with what a video takes in all. A training step
takes three times a clip's forward pass.
"""

import argparse
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

from config import begins_override, load_cfg
from config.option_numbers import whole_number
from engine.run_log import set_up_console
from engine.user_errors import user_errors_shown
from tools.benchmarking.operations import count_operations, count_views, takes_rgb
from tools.writing.json_report import write_json
from tools.writing.places import check_places

FRAMES = 300  # ten seconds at 30 a second, as most videos of Kinetics have
SIZE = (588, 331)  # width and height of the frames that the release reads
_HEADING = (
    f"{'recipe':42} {'params M':>8} {'papers G':>9} {'runs G':>8} {'views':>9} {'video G':>9}"
)


def main(argv: Sequence[str] | None = None) -> int:
    """Show what the recipes of the command line take; return the exit code."""
    args = _parse(argv)
    set_up_console(is_main=True)
    with user_errors_shown(is_common_shown=True):
        check_places({"--json": args.json}, args.files)
        sys.stdout.write(f"{_HEADING}\n")
        rows = []
        for row in rows_of(args.files or recipes(), args.overrides, args.frames, args.size):
            rows.append(row)
            sys.stdout.write(f"{as_line(row)}\n")
        if args.json:
            write_json(args.json, rows)
    return 0


def recipes() -> list[str]:
    """Return the recipes of this project, relative to it."""
    return [str(path.relative_to(REPOSITORY)) for path in sorted(REPOSITORY.glob("config/*/*.yml"))]


def rows_of(
    files: Sequence[str], overrides: Sequence[str], num_frames: int, size: tuple[int, int]
) -> Iterator[dict[str, Any]]:
    """Yield what each recipe takes, of videos of so many frames of (width, height)."""
    for file in files:
        cfg = load_cfg(file, [*overrides])
        one = count_operations(cfg)
        row: dict[str, Any] = {
            "recipe": file,
            "parameters": one.parameters,
            "madds_published": one.published,
            "madds_view": one.forward,
            "madds_attention": one.attention,
            "madds_training_clip": one.training,
        }
        if takes_rgb(cfg):
            test = count_views(cfg, num_frames, size[::-1])
            row |= {"views": test.num_views, "views_distinct": test.num_distinct}
            row |= {"frames_read": test.num_frames, "madds_video": test.num_distinct * one.forward}
        yield row


def as_line(row: dict[str, Any]) -> str:
    """Show a row; billions are cut off behind the first digit, as the TokShift paper does."""
    name = row["recipe"].removeprefix("config/").removesuffix(".yml")
    line = (
        f"{name:42} {row['parameters'] / 1e6:8.2f} {int(row['madds_published'] / 1e8) / 10:9.1f} "
        f"{row['madds_view'] / 1e9:8.1f}"
    )
    if "views" not in row:
        return line
    views = f"{row['views_distinct']} of {row['views']}"
    return f"{line} {views:>9} {row['madds_video'] / 1e9:9.0f}"


def width_by_height(text: str) -> tuple[int, int]:
    """Read a size as 588x331."""
    match = re.fullmatch(r"([1-9]\d{0,4})x([1-9]\d{0,4})", text)
    if not match:
        raise argparse.ArgumentTypeError(f"takes WIDTHxHEIGHT in pixels, as 588x331, got {text!r}")
    return int(match[1]), int(match[2])


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add(
        "--frames",
        type=whole_number(least=1, most=10**7),
        default=FRAMES,
        metavar="F",
        help="frames of a test video (%(default)s)",
    )
    add(
        "--size",
        type=width_by_height,
        default=SIZE,
        metavar="WxH",
        help="of its frames, pixels ({}x{})".format(*SIZE),
    )
    add("--json", type=Path, metavar="OUT", help="write the exact numbers for machines")
    add("words", nargs="*", metavar="YML or KEY VALUE", help="recipes, then config keys")
    args = parser.parse_intermixed_args(argv)
    ymls = [word for word in args.words if word.endswith((".yml", ".yaml"))]
    args.files = [word for word in ymls if not begins_override(word)]
    args.overrides = [word for word in args.words if word not in args.files]
    return args


if __name__ == "__main__":
    sys.exit(main())
