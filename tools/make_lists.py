r"""Turn a folder per class, or a data set's own annotation file, into lists of what is on the disk.

    python tools/make_lists.py tree data/mine/videos --split 0.8
    python tools/make_lists.py tree data/mine/videos --split 0.7,0.15,0.15 --group-by 'cam\d+'
    python tools/make_lists.py tree data/mine/train --write-list train.txt --write-classes names.txt
    python tools/make_lists.py tree data/mine/val --write-list val.txt --classes names.txt
    python tools/make_lists.py split data/mine/all.txt --split 0.8
    python tools/make_lists.py kinetics kinetics_train.csv --subset train \
        --root data/k400/frames331_train --prefix k400/frames331_train \
        --write-list data/k400/trainValTest/train.txt --write-classes data/k400/classes.txt
    python tools/make_lists.py ucf101 testlist01.txt --subset test --classes classInd.txt ...
    python tools/make_lists.py hmdb51 testTrainMulti_7030_splits --subset train --split 1 ...
    python tools/make_lists.py ssv1 something-something-v1-train.csv --subset train ...
    python tools/make_lists.py ssv2 something-something-v2-train.json --classes labels.json ...
    python tools/make_lists.py jester jester-v1-train.csv --subset train ...

A list line is `path num_frames label` for frames, `path label` for video files, which --count
counts too, so that no training has to. The videos left out are named in LIST.missing.txt, those
that cannot be read with the reason. Without --classes, labels follow the alphabet, as those of the
released TSM weights for Something-Something v1 and Jester do; class folders whose names are all
numbers follow these.

--split divides by class into train.txt, val.txt and, of three shares, test.txt, in --output; a tree
gets classes.txt beside them. --group-by keeps the videos of a recording in one list: the groups of
a regular expression, or all that it matches in the path, name the recording.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

from config.console import show_every_name
from config.values import shown
from datasets.list_lines import written_path
from tools.listing.class_tree import check_parts, read_class_tree
from tools.listing.list_files import ListFiles, Row, read_rows
from tools.listing.official_annotations import (
    FORMATS,
    OFFICIAL_CLASSES,
    OFFICIAL_COUNTS,
    Entry,
    check_names,
    label_entries,
    own_classes,
    read_class_file,
)
from tools.listing.videos_on_disk import Found, find_videos_of

LABELS = REPOSITORY / "model_zoo/labels"
NUM_SHOWN = 10


def main(argv: Sequence[str] | None = None) -> int:
    """Write the lists; return 0 if every video is in one, 1 if some are not, 2 if none."""
    show_every_name()
    args = parse(argv)
    try:
        if args.format == "split":
            rows, classes, num_missing = *read_rows(args.annotation, args.classes, args.root), 0
        else:
            rows, classes, num_missing = _list_videos(args)
        files = ListFiles(args.output, print_line, args.overwrite)
        if args.write_list:
            files.write(args.write_list, rows)
        if args.folds:
            files.write_folds(rows, classes, args.folds, args.group_by, args.seed)
        elif args.divides:
            files.write_parts(rows, classes, args.split, args.group_by, args.seed)
        if args.write_classes:
            files.write_classes(args.write_classes, classes)
    except (ImportError, OSError, ValueError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    return 1 if num_missing else 0


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line and fill in what it leaves open."""
    parser = build_parser()
    args = parser.parse_args(argv)
    official = args.format in ("ucf101", "hmdb51")
    args.number = int(args.split) if official and args.split in ("1", "2", "3") else 1
    if official and args.split not in ("", "1", "2", "3"):
        parser.error(f"--split {args.split}; the splits of {args.format} are 1, 2 and 3")
    args.divides = bool(args.split) and not official
    if args.divides and args.folds:
        parser.error("--split and --folds divide each in its own way; give one of them")
    if args.group_by and not (args.divides or args.folds):
        parser.error("--group-by is for --split and --folds")
    if args.format == "split" and not (args.divides or args.folds):
        parser.error("split takes --split SHARE or --folds K")
    if not (args.write_list or args.divides or args.folds):
        parser.error("give --write-list LIST, or --split SHARE")
    if args.format == "tree" and args.root is None:
        args.root = args.annotation
    args.output = args.output or (args.write_list or args.annotation).parent
    if args.format == "tree" and not args.write_classes and (args.divides or args.folds):
        args.write_classes = args.output / "classes.txt"
    return args


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add(
        "format",
        choices=sorted([*FORMATS, "tree", "split"]),
        help="whose annotation file it is; tree: a folder per class; split: a list of ours",
    )
    add("annotation", type=Path, help="the file; hmdb51, tree: the folder")
    add("--subset", choices=("train", "val", "test"), default="", help="which part it is")
    add(
        "--split",
        default="",
        help="share of the training list, 0.8, or shares of train, val, test: 0.7,0.15,0.15; of "
        "ucf101 and hmdb51: the official split, 1, 2 or 3 (1)",
    )
    add("--folds", type=_num_folds, metavar="K", help="K pairs of lists, each video validated once")
    add("--group-by", default="", metavar="REGEX", help="what names a recording in a path")
    add("--seed", type=int, default=0, help="of --split and --folds (0)")
    add("--output", type=Path, metavar="DIR", help="of --split; default: beside the input")
    add("--overwrite", action="store_true", help="of --split: other lists there are replaced")
    add(
        "--root",
        type=Path,
        help="folder of the videos or frames (tree: the folder); without it nothing is checked",
    )
    add("--videos", action="store_true", help="files alone; default: folders of frames, or files")
    add("--count", action="store_true", help="count the frames of files, as a training would")
    add("--prefix", default="", help="put before each path: from DATA.ROOT to --root")
    add("--classes", type=Path, help="class names in the order of the labels: txt, classInd, json")
    add("--write-list", type=Path, metavar="LIST", help="the list to write")
    add("--write-classes", type=Path, metavar="FILE", help="write the names for DATA.CLASS_NAMES")
    return parser


def report_counts(args: argparse.Namespace, num_videos: int, num_classes: int) -> None:
    """Print the annotated videos and classes beside the official figures, where those are known."""
    official = OFFICIAL_COUNTS.get((args.format, args.number, args.subset))
    official_classes = OFFICIAL_CLASSES.get(args.format)
    if official is None:
        has_parts = any(name == args.format for name, *_ in OFFICIAL_COUNTS)
        verdict = "no official count to compare with" + (
            "; --subset names the part" if has_parts and not args.subset else ""
        )
    else:
        verdict = f"official {official}, " + ("equal" if num_videos == official else "DIFFERENT")
    print_line(f"{args.annotation}: {num_videos} videos ({verdict})")
    if official_classes:
        is_equal = num_classes == official_classes
        verdict = f"official {official_classes}, {'equal' if is_equal else 'DIFFERENT'}"
        print_line(f"{num_classes} classes ({verdict})")
    else:
        print_line(f"{num_classes} classes")


def print_line(text: str) -> None:
    """Write a line of the report; a name that is not UTF-8 shows the bytes."""
    sys.stdout.write(text.encode(errors="surrogateescape").decode(errors="backslashreplace") + "\n")


def _list_videos(args: argparse.Namespace) -> tuple[list[Row], list[str], int]:
    """Return the rows of the list, the class names, and the number of videos left out."""
    entries, own = _read_tree(args) if args.format == "tree" else _read_annotation(args)
    names = sorted({entry.class_name for entry in entries})
    classes = read_class_file(args.classes, names) if args.classes else own
    labels = label_entries(entries, classes)
    report_counts(args, len(entries), len(classes))
    absent = sorted({*classes} - {*names})
    if absent:
        print_line(f"no video of {len(absent)} of the classes: {shown(absent[:5])}")
    found = find_videos_of(entries, args.root, args.videos, args.count)
    rows = [
        Row(written_path(_prefixed(place.path, args.prefix)), place.num_frames, label)
        for place, label in zip(found, labels, strict=True)
        if place and not place.fault
    ]
    return rows, classes, _report_missing(args, entries, found, len(rows))


def _read_annotation(args: argparse.Namespace) -> tuple[list[Entry], list[str]]:
    entries = FORMATS[args.format](args.annotation, args.subset, args.number)
    check_names(entries)
    return entries, [] if args.classes else own_classes(args.format, entries, LABELS)


def _read_tree(args: argparse.Namespace) -> tuple[list[Entry], list[str]]:
    tree = read_class_tree(args.annotation)
    if not args.classes:
        check_parts(args.annotation, tree.classes)
    if tree.ignored:
        print_line(f"ignored: {tree.describe_ignored()}")
    if tree.note:
        print_line(tree.note)
    entries = [
        Entry(tuple(dict.fromkeys([video.path, video.stem])), video.class_name)
        for video in tree.videos
    ]
    return entries, tree.classes


def _report_missing(
    args: argparse.Namespace,
    entries: Sequence[Entry],
    found: Sequence[Found | None],
    num_listed: int,
) -> int:
    """Name the videos that are left out, in a file beside the list; return their number.

    Raises:
        ValueError: None of the videos is there.
    """
    missing = [
        f"{place.path}\t{place.fault}" if place else entry.stems[0]
        for entry, place in zip(entries, found, strict=True)
        if not place or place.fault
    ]
    if not num_listed:
        raise ValueError(
            f"none of {len(entries)} videos is under {args.root}; first: {missing[:3]}"
        )
    whole = args.write_list or args.output / "all.txt"
    print_line(f"{whole if args.write_list else 'lists'}: {num_listed} of {len(entries)} videos")
    report = whole.with_name(f"{whole.name}.missing.txt")
    if missing:
        ListFiles(args.output, print_line, overwrites=True).write_lines(report, missing)
        print_line(f"left out {len(missing)}, not under {args.root} or unreadable; all in {report}")
        for line in missing[:NUM_SHOWN]:
            print_line("  " + line.partition("\t")[0].replace("\n", "\\n"))
    else:
        report.unlink(missing_ok=True)  # of an earlier time
    if args.root is None:
        print_line("without --root: neither looked for nor counted")
    return len(missing)


def _prefixed(path: str, prefix: str) -> str:
    return f"{prefix.rstrip('/')}/{path}" if prefix else path


def _num_folds(word: str) -> int:
    if not (word.isascii() and word.isdecimal() and 2 <= int(word[:4]) <= 1000):
        raise argparse.ArgumentTypeError(f"{word} is no number from 2 to 1000")
    return int(word)


if __name__ == "__main__":
    sys.exit(main())
