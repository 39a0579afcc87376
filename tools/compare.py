"""Is one model better than another? Two tests, on the same videos.

    python tools/compare.py runs/a runs/b [--common] [--json OUT]

A and B are run folders, or a results.json or scores.npz of each. What differs between them in
protocol, data, config and code is printed before any number. Then come both accuracies with
Wilson's intervals at 95 %, McNemar's exact test on the videos, which needs both scores.npz, and
the classes that win and lose most. Lists of other videos are an error; with --common the videos
that both have are compared.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

from config.console import show_every_name
from engine.whole_file import UnwritableError
from tools.reporting.comparison import Comparison, compare_scores
from tools.reporting.record_differences import Difference, record_differences
from tools.reporting.run_records import RunRecords, open_records
from tools.writing.json_report import write_json
from tools.writing.places import check_places

_MOST_CLASSES = 20
_WIDTH = 80


def main(argv: Sequence[str] | None = None) -> int:
    """Print what differs, then the figures; return the exit status."""
    show_every_name()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs=2, metavar="RUN", help="run folder, results.json, scores.npz")
    parser.add_argument("--common", action="store_true", help="compare the videos that both have")
    parser.add_argument("--json", type=Path, metavar="OUT", help="write what is found there too")
    args = parser.parse_args(argv)
    try:
        first, second = runs = [open_records(name) for name in args.runs]
        check_places({"--json": args.json}, _files(runs))
        for letter, run in zip("AB", runs, strict=True):
            sys.stdout.write(f"{letter}: {run.name}\n")
        differences = record_differences(runs)
        _print_differences(differences)
        found = compare_scores(first, second, only_common=args.common)
        sys.stdout.write(f"\n{_in_words(found)}")
        if args.json:
            content = {"differences": [vars(one) for one in differences], **found.as_dict()}
            write_json(args.json, content)
    except (ValueError, UnwritableError) as error:
        sys.stdout.flush()
        sys.stderr.write(f"error: {error}\n")
        return 1
    return 0


def _files(runs: Sequence[RunRecords]) -> list[Path | str]:
    beside = ("results.json", "scores.npz", "log.jsonl", "config.yml", "test_config.yml")
    files = [run.folder / name for run in runs for name in beside]
    return [*files, *(run.name for run in runs)]


def _print_differences(differences: Sequence[Difference]) -> None:
    if not differences:
        sys.stdout.write("nothing differs of what is recorded, but the checkpoint\n")
    topic = ""
    for one in differences:
        if one.topic != topic:
            topic = one.topic
            sys.stdout.write(f"differs in {topic}\n")
        line = f"  {one.name}: {' -> '.join(one.values)}"
        if len(line) > _WIDTH:
            rows = (
                f"    {letter}: {value}" for letter, value in zip("AB", one.values, strict=True)
            )
            line = "\n".join([f"  {one.name}", *rows])
        sys.stdout.write(f"{line}\n")


def _in_words(found: Comparison) -> str:
    """Say the figures, a line each."""
    lines = [
        f"{letter}: top-1 {a.top1:.2f} ({a.low:.2f} to {a.high:.2f}) of {a.num_videos} videos"
        for letter, a in zip("AB", found.accuracies, strict=True)
    ]
    paired = found.paired
    if paired is None:
        return "\n".join([*lines, found.why_unpaired, ""])
    lines += [
        f"on the same {paired.num_videos} videos: {paired.both} right in both, {paired.only_first} "
        f"in A alone,\n  {paired.only_second} in B alone, {paired.neither} in neither",
        f"McNemar's exact test, two-sided: p = {paired.p_value:.3g}",
    ]
    if paired.classes:
        width = min(max(len(row.name) for row in paired.classes[:_MOST_CLASSES]), 40)
        lines.append(f"{'class':<{width}}  videos  A alone  B alone   B - A")
    lines += [
        f"{row.name[:width]:<{width}}  {row.num_videos:6d}  {row.only_first:7d}  "
        f"{row.only_second:7d}  {row.difference:+6.1f}"
        for row in paired.classes[:_MOST_CLASSES]
    ]
    if len(paired.classes) > _MOST_CLASSES:
        lines.append(f"... and {len(paired.classes) - _MOST_CLASSES} classes that differ less")
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    sys.exit(main())
