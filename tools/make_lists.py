"""Turn a data set's own annotation file into our list, leaving out what is not on the disk.

    python tools/make_lists.py kinetics kinetics_train.csv --subset train \
        --root data/k400/frames331_train --prefix k400/frames331_train \
        --write-list data/k400/trainValTest/train.txt --write-classes data/k400/classes.txt
    python tools/make_lists.py ucf101 testlist01.txt --subset test --classes classInd.txt ...
    python tools/make_lists.py hmdb51 testTrainMulti_7030_splits --subset train --split 1 ...
    python tools/make_lists.py ssv1 something-something-v1-train.csv --subset train ...
    python tools/make_lists.py ssv2 something-something-v2-train.json --classes labels.json ...
    python tools/make_lists.py jester jester-v1-train.csv --subset train ...
    python tools/make_lists.py tree data/mine/frames ...

A list line is `path num_frames label` for frames, `path label` for video files (--videos), which
--count counts too, so that no training has to. The videos left out are named in LIST.missing.txt,
those that cannot be read with the reason. Without --classes, labels follow the alphabet, as those
of the released TSM weights for Something-Something v1 and Jester do.
"""

import argparse
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

from datasets.readers import FrameFolder, UnreadableVideoError, VideoFile
from tools.listing.official_annotations import (
    FORMATS,
    OFFICIAL_CLASSES,
    OFFICIAL_COUNTS,
    VIDEO_SUFFIXES,
    Entry,
    check_names,
    label_entries,
    read_class_file,
)

NUM_SHOWN = 10
DISK_THREADS = 16


class Found(NamedTuple):
    """Where a video lies below the root, its frames (0 = not counted), why it is unreadable."""

    path: str
    num_frames: int
    fault: str = ""


def main(argv: Sequence[str] | None = None) -> int:
    """Write the list; return 0 if every annotated video is in it, 1 if some are not, 2 if none."""
    args = build_parser().parse_args(argv)
    try:
        entries = FORMATS[args.format](args.annotation, args.subset, args.split)
        check_names(entries)
        names = sorted({entry.class_name for entry in entries})
        classes = read_class_file(args.classes) if args.classes else names
        labels = label_entries(entries, classes)
        report_counts(args, len(entries), len(classes))
        found = check_videos(entries, args.root, args.videos, args.count)
        num_missing = write_list(args, entries, labels, found)
        if args.write_classes:
            _write(args.write_classes, classes)
    except (ImportError, OSError, ValueError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    return 1 if num_missing else 0


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("format", choices=sorted(FORMATS), help="whose annotation file it is")
    add("annotation", type=Path, help="the file; hmdb51, tree: the folder")
    add("--subset", choices=("train", "val", "test"), default="", help="which part it is")
    add("--split", type=int, choices=(1, 2, 3), default=1, help="of UCF-101 and HMDB-51 (1)")
    add("--root", type=Path, help="folder of the videos or frames; without it nothing is checked")
    add("--videos", action="store_true", help="the root holds video files, not folders of frames")
    add("--count", action="store_true", help="with --videos: count the frames, as a training would")
    add("--prefix", default="", help="put before each path: from DATA.ROOT to --root")
    add("--classes", type=Path, help="class names in the order of the labels: txt, classInd, json")
    add("--write-list", type=Path, required=True, metavar="LIST", help="the list to write")
    add("--write-classes", type=Path, metavar="FILE", help="write the names for DATA.CLASS_NAMES")
    return parser


def report_counts(args: argparse.Namespace, num_videos: int, num_classes: int) -> None:
    """Print the annotated videos and classes beside the official figures, where those are known."""
    official = OFFICIAL_COUNTS.get((args.format, args.split, args.subset))
    official_classes = OFFICIAL_CLASSES.get(args.format)
    if official is None:
        verdict = "no official count to compare with" + (
            "" if args.subset else "; --subset names the part"
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


def check_videos(
    entries: Sequence[Entry], root: Path | None, is_video: bool, counts_videos: bool
) -> list[Found | None]:
    """Look for each entry on the disk, many at once; without a root all are taken as they are.

    Args:
        entries: The videos.
        root: Folder that they are looked for in.
        is_video: They are files, not folders of frames.
        counts_videos: Count the frames of files, too.

    Returns:
        For each entry its place, None where it is not there.

    Raises:
        ValueError: The root is not a folder.
    """
    if root is None:
        return [Found(entry.stems[0], 0) for entry in entries]
    if not root.is_dir():
        raise ValueError(f"--root {str(root)!r} is not a folder")
    find = partial(_find_video, root, counts_videos) if is_video else partial(_find_frames, root)
    with ThreadPoolExecutor(DISK_THREADS) as pool:
        return list(pool.map(find, entries))


def write_list(
    args: argparse.Namespace,
    entries: Sequence[Entry],
    labels: Sequence[int],
    found: Sequence[Found | None],
) -> int:
    """Write the list and, beside it, what is not in it; return the number left out.

    Raises:
        ValueError: None of the videos is there.
    """
    lines = [
        " ".join([*_fields(place, args.prefix), str(label)])
        for place, label in zip(found, labels, strict=True)
        if place and not place.fault
    ]
    missing = [
        f"{place.path}\t{place.fault}" if place else entry.stems[0]
        for entry, place in zip(entries, found, strict=True)
        if not place or place.fault
    ]
    if not lines:
        raise ValueError(
            f"none of {len(entries)} videos is under {args.root}; first: {missing[:3]}"
        )
    _write(args.write_list, lines)
    print_line(f"{args.write_list}: {len(lines)} of {len(entries)} videos")
    if missing:
        report = args.write_list.with_name(f"{args.write_list.name}.missing.txt")
        _write(report, missing)
        print_line(f"left out {len(missing)}, not under {args.root} or unreadable; all in {report}")
        for stem in missing[:NUM_SHOWN]:
            print_line(f"  {stem}")
    if args.root is None:
        print_line("without --root: neither looked for nor counted")
    return len(missing)


def print_line(text: str) -> None:
    """Write a line of the report."""
    sys.stdout.write(text + "\n")


def _find_frames(root: Path, entry: Entry) -> Found | None:
    for stem in entry.stems:
        if (root / stem).is_dir():
            num_frames = len(FrameFolder(root / stem))
            if num_frames:
                return Found(stem, num_frames)
    return None


def _find_video(root: Path, counts: bool, entry: Entry) -> Found | None:
    for stem in entry.stems:
        for suffix in VIDEO_SUFFIXES:
            file = root / f"{stem}{suffix}"
            if file.is_file() and file.stat().st_size:
                return _counted(root, f"{stem}{suffix}") if counts else Found(f"{stem}{suffix}", 0)
    return None


def _counted(root: Path, path: str) -> Found:
    try:
        return Found(path, len(VideoFile(root / path)))
    except UnreadableVideoError as error:
        return Found(path, 0, str(error))


def _fields(place: Found, prefix: str) -> list[str]:
    path = f"{prefix.rstrip('/')}/{place.path}" if prefix else place.path
    return [path, str(place.num_frames)] if place.num_frames else [path]


def _write(path: Path, lines: Sequence[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
