"""What a run, or several side by side, gave: one page of HTML that needs no network.

    python tools/report.py runs/quickstart [--output OUT.html]
    python tools/report.py runs/a runs/b runs/c

Curves, confusion, a table of the classes that sorts, the mistakes that the model is surest of with
frames of their videos, protocol, config, versions and lists. Of several runs, what differs in
protocol, data, config and code comes first. A run may be one that still trains. The page is written
into the (first) run folder, as run_report.html or, of several, run_comparison.html.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

from config.console import show_every_name
from config.option_numbers import whole_number
from engine.whole_file import UnwritableError, whole_file
from tools.reporting.mistakes import MOST, check_root
from tools.reporting.page import report_page
from tools.reporting.run_records import open_records
from tools.writing.places import check_places

PAGES = ("run_report.html", "run_comparison.html")  # of one run, and of several


def main(argv: Sequence[str] | None = None) -> int:
    """Write the page; return the exit status."""
    show_every_name()
    args = _parser().parse_args(argv)
    try:
        runs = [open_records(name) for name in args.runs]
        output = args.output or runs[0].folder / PAGES[len(runs) > 1]
        files = [file for run in runs for file in run.folder.iterdir() if file.name not in PAGES]
        check_places({"--output": output}, files)
        check_root(args.data_root)
        page = report_page(runs, args.mistakes, args.data_root)
        with whole_file(output) as file:
            file.write(page.encode())
    except (ValueError, UnwritableError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    sys.stdout.write(f"{output}: {len(page.encode()) / 1e6:.2f} MB\n")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", metavar="RUN", help="run folders")
    parser.add_argument("--output", type=Path, metavar="OUT", help="where the page goes")
    parser.add_argument(
        "--mistakes",
        type=whole_number(most=MOST),
        default=12,
        metavar="N",
        help=f"number of mistakes of each run, with frames; at most {MOST}, 0 for none",
    )
    parser.add_argument("--data-root", metavar="DIR", help="where the videos are, for DATA.ROOT")
    return parser


if __name__ == "__main__":
    sys.exit(main())
