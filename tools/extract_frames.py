r"""Turn videos into JPEG frames: `<out>/<class>/<video>/img_00001.jpg`.

This is the Kinetics layout of the TokShift release (short side 331). SOURCE is a tree with a folder
per class, or any folder with `--list`, a file of `relative/path.ext label` lines:

    python tools/extract_frames.py videos/train k400/frames331_train \
        --write-list k400/trainValTest/train.txt --prefix k400/frames331_train

With `--pack` the frames of a video are one file, `<out>/<class>/<video>.zip`: JPEGs stored in a zip
archive.

A video is written to `.<video>.partial` and renamed when complete, so the same command goes on
where a run was stopped. Failed videos are reported in `<out>/failed.txt` and not in the list.
"""

import argparse
import errno
import io
import logging
import math
import os
import sys
import zipfile
from collections.abc import Callable, Iterable, Sequence, Set
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from PIL import Image

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

from config.console import show_every_name
from datasets.decode.images import MAX_FRAME_PIXELS
from datasets.decode.pyav_frames import decode_frames, reading_errors, require_av
from datasets.frame_files import open_frame_files
from datasets.list_lines import written_path
from engine.live_bar import LiveBar
from engine.whole_file import whole_file
from tools.extracting.frame_writers import open_folder, open_pack, remove_frames
from tools.extracting.process_pool import run_jobs
from tools.extracting.video_jobs import VideoJob, plan_jobs, read_classes
from tools.writing.places import check_places

FRAME_NAME = "img_{:05d}.jpg"  # 1-based

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class FrameOptions:
    """How frames are written; short side in pixels (0 keeps the size), JPEG quality 1 to 100.

    A video whose frames have more than max_pixels fails.
    """

    short_side: int = 331
    quality: int = 95
    max_pixels: int = MAX_FRAME_PIXELS
    keep_partial: bool = False
    overwrite: bool = False
    packs: bool = False


@dataclass(frozen=True)
class VideoResult:
    """What became of one video.

    Attributes:
        job: Video that was extracted.
        num_frames: Number of frames in its folder, or decoded before it failed.
        is_skipped: Whether it was finished before this run.
        failure: Type and message of the exception, if it failed.
        is_listed: Whether its frames are in the folder and belong in the list.
    """

    job: VideoJob
    num_frames: int
    is_skipped: bool = False
    failure: tuple[str, str] | None = None
    is_listed: bool = True


def main(argv: Sequence[str] | None = None) -> int:
    """Extract every video; 0 if all went well, 1 if some failed, 2 for bad usage, 130 if stopped.

    Args:
        argv: Words of the command line without the program name; None reads `sys.argv`.
    """
    show_every_name()
    args = build_parser().parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    options = FrameOptions(
        args.short_side,
        args.quality,
        max_pixels=args.max_pixels,
        keep_partial=args.keep_partial,
        overwrite=args.overwrite,
        packs=args.pack,
    )
    try:
        require_av()
        places = {"--write-list": args.write_list, "--write-classes": args.write_classes}
        check_places(places, [args.list, args.classes])
        jobs = plan_jobs(args.source, args.out, args.list, args.classes, args.pack)
    except (ImportError, OSError, ValueError) as error:
        logger.error("%s", error)
        return 2
    try:
        results = extract_all(jobs, args.out, options, args.workers)
        is_any_good = any(result.is_listed for result in results)
        is_kept = args.write_list is not None and args.write_list.exists() and not is_any_good
        if args.write_list is not None and not is_kept:
            write_list(args.write_list, results, args.out, args.prefix)
        if args.write_classes is not None and is_any_good:
            names = class_names(args, jobs)
            _write_text(args.write_classes, "".join(f"{name}\n" for name in names))
    except KeyboardInterrupt:
        logger.error("stopped by the user; the same command goes on from here")
        return 130
    except (BrokenProcessPool, OSError) as error:
        logger.error("stopped: %s; the same command goes on from here", error)
        return 1
    log_summary(results)
    if is_kept:
        logger.error("no video succeeded: %s is left as it was", args.write_list)
    return 1 if any(result.failure for result in results) else 0


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        description="Turn videos into folders of JPEG frames, <out>/<class>/<video>/img_00001.jpg.",
        epilog="Exit code: 0 all well, 1 some videos failed (see OUT/failed.txt), 2 bad usage.",
    )
    add = parser.add_argument
    add("source", type=Path, help="folder of class folders of videos; with --list, any folder")
    add("out", type=Path, help="folder for the frames; made if missing")
    add("--list", type=Path, help="file of 'relative/path.ext label' lines: the videos of SOURCE")
    add("--write-list", type=Path, help="write 'path num_frames label' of every good video here")
    add(
        "--classes",
        type=Path,
        help="file with a class name per line, label = line number from 0; without it labels are "
        "the alphabetical order of the class folders, and with --list folders are named by label",
    )
    add("--write-classes", type=Path, help="write the class names, for DATA.CLASS_NAMES, here")
    add("--short-side", type=_int_between(0, 8192), default=331, help="px, 0 keeps the size (331)")
    add("--quality", type=_int_between(1, 100), default=95, help="JPEG quality, 1 to 100 (95)")
    add(
        "--workers",
        type=_int_between(0, 1024),
        default=os.cpu_count() or 1,
        help="processes; 0 works in this one (default: the number of CPUs)",
    )
    add(
        "--max-pixels",
        type=_int_between(1, 2**31),
        default=MAX_FRAME_PIXELS,
        help=f"of a frame, width x height; a video of larger ones fails ({MAX_FRAME_PIXELS}: 8K)",
    )
    add("--prefix", default="", help="put before each path of --write-list: k400/frames331_train")
    add("--pack", action="store_true", help="one file a video, <video>.zip, instead of a folder")
    add("--overwrite", action="store_true", help="extract finished videos again")
    add(
        "--keep-partial",
        action="store_true",
        help="keep and list what a video gave before it failed or ended early; it is still "
        "reported in failed.txt, and tried again by the next run",
    )
    return parser


def class_names(args: argparse.Namespace, jobs: Sequence[VideoJob]) -> list[str]:
    """Return the names of the classes by label, as far as the jobs have any."""
    if args.classes is not None:
        return read_classes(args.classes)
    names = {job.label: job.folder.parent.name.strip() for job in jobs}
    return [names.get(label, str(label)) for label in range(max(names) + 1)]


def extract_all(
    jobs: Sequence[VideoJob], out: Path, options: FrameOptions, num_workers: int
) -> list[VideoResult]:
    """Extract all videos and return what became of them, in the order of `jobs`.

    `<out>/failed.txt` is written also when the run is stopped.

    Raises:
        BrokenProcessPool: No worker process can be started.
        OSError: The disk is full.
    """
    out.mkdir(parents=True, exist_ok=True)
    results: dict[VideoJob, VideoResult] = {}
    extract = partial(extract_video, options=options)
    try:
        with (
            closing(run_jobs(extract, jobs, num_workers, when_dead=fail_dead_video)) as stream,
            LiveBar(len(jobs), "video", "extract") as bar,
        ):
            for result in stream:
                results[result.job] = result
                if result.failure:
                    reason = ": ".join(result.failure)
                    logger.warning("failed: %s: %s", _one_line(result.job.source), reason)
                bar.update(num_failed=bool(result.failure))
    finally:
        write_failures(out / "failed.txt", [results[job] for job in jobs if job in results])
    return [results[job] for job in jobs]


def extract_video(job: VideoJob, options: FrameOptions) -> VideoResult:
    """Write the frames of one video and return what became of it.

    Raises:
        OSError: The disk is full; no other video could be written either.
    """
    if job.fault:
        return VideoResult(job, 0, failure=("ValueError", job.fault), is_listed=False)
    try:
        num_finished = 0 if options.overwrite else count_finished_frames(job, options.short_side)
        if num_finished:
            return VideoResult(job, num_finished, is_skipped=True)
        _remove_old(job)
        place = job.partial_folder.parent if options.packs else job.partial_folder
        place.mkdir(parents=True, exist_ok=True)
        images = decode_frames(job.source, options.max_pixels)
        num_frames = write_frames(images, job.partial_folder, options)
        job.partial_folder.rename(job.folder)
    except reading_errors() as error:  # one video must not stop the other 240 000
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        failure = (type(error).__name__, " ".join(str(error).split()))
        return _settle_failed(job, failure, options.keep_partial)
    return VideoResult(job, num_frames)


def fail_dead_video(job: VideoJob) -> VideoResult:
    """Clean up after a video that twice ended the process that worked on it."""
    failure = ("BrokenProcessPool", "the worker process died with this video, twice")
    return _settle_failed(job, failure, keep_partial=False)


def count_finished_frames(job: VideoJob, short_side: int) -> int:
    """Return the number of frames in the finished folder or pack of a video; 0 if there is none.

    Raises:
        ValueError: It is not what this run would write: a gap, another size, or damaged.
    """
    if job.failed_marker.exists() or not job.folder.exists():
        return 0
    with open_frame_files(job.folder) as files:
        names = {*files.names()}
        return _checked_count(job, short_side, names, files.open) if names else 0


def _checked_count(
    job: VideoJob, short_side: int, names: Set[str], open_file: Callable[[str], BinaryIO]
) -> int:
    num_frames = sum(name.startswith("img_") for name in names)
    expected = {FRAME_NAME.format(number) for number in range(1, num_frames + 1)}
    if not expected or not expected <= names:
        raise ValueError(
            f"{str(job.folder)!r} has {len(names)} files, not frames numbered from 1 without a "
            f"gap; delete it or use --overwrite"
        )
    with open_file(FRAME_NAME.format(1)) as file, Image.open(file, formats=["JPEG"]) as image:
        found = min(image.size)
    if short_side not in (0, found):
        raise ValueError(
            f"{str(job.folder)!r} has frames of short side {found}, this run makes {short_side}; "
            f"use --overwrite or another OUT"
        )
    return num_frames


def write_frames(images: Iterable[Image.Image], folder: Path, options: FrameOptions) -> int:
    """Write images as numbered JPEGs, all of the size that the first one asks for.

    A stream may change its frame size on the way, and a clip needs frames of equal size.

    Returns:
        The number of images.
    """
    num_frames = 0
    size = None
    open_target = open_pack if options.packs else open_folder
    with open_target(folder) as write:
        for num_frames, image in enumerate(images, start=1):
            size = size or frame_size(*image.size, options.short_side)
            if image.size != size:
                image = image.resize(size, Image.Resampling.BICUBIC)
            jpeg = io.BytesIO()
            image.save(jpeg, format="JPEG", quality=options.quality)
            write(FRAME_NAME.format(num_frames), jpeg.getvalue())
    return num_frames


def frame_size(width: int, height: int, short_side: int) -> tuple[int, int]:
    """Return (width, height) with this short side, rounded as the release does; 0 keeps both.

    `datasets.augment.short_side.resized_size` is the same, but brings torch: seconds a process.
    """
    if short_side == 0:
        return width, height
    if width > height:
        return math.floor(1.0 * width / height * short_side), short_side
    return short_side, math.floor(1.0 * height / width * short_side)


def write_list(path: Path, results: Iterable[VideoResult], out: Path, prefix: str = "") -> None:
    """Write a `path num_frames label` line for each video whose frames are there.

    Args:
        path: Path of the list file; its folder is made.
        results: Videos, in the order of the lines.
        out: Folder that the paths are relative to.
        prefix: Text put before each path, with a slash between.
    """
    start = f"{prefix.rstrip('/')}/" if prefix else ""
    lines = [
        f"{written_path(start + result.job.folder.relative_to(out).as_posix())} "
        f"{result.num_frames} {result.job.label}\n"
        for result in results
        if result.is_listed
    ]
    _write_text(path, "".join(lines))


def write_failures(path: Path, results: Iterable[VideoResult]) -> None:
    """Write source, exception type, message and frames decoded of each failed video, by tabs.

    If none failed, no file is left.
    """
    lines = [
        f"{_one_line(result.job.source)}\t{result.failure[0]}\t{result.failure[1]}\t{result.num_frames}\n"
        for result in results
        if result.failure is not None
    ]
    if lines:
        _write_text(path, "".join(lines))
    else:
        path.unlink(missing_ok=True)


def log_summary(results: Sequence[VideoResult]) -> None:
    """Log how many videos were extracted, skipped, failed, and how many frames there are."""
    frames = [result.num_frames for result in results if result.is_listed]
    num_failed = sum(result.failure is not None for result in results)
    num_skipped = sum(result.is_skipped for result in results)
    logger.info(
        "%d videos found: %d extracted, %d skipped as already done, %d failed",
        len(results),
        len(results) - num_skipped - num_failed,
        num_skipped,
        num_failed,
    )
    average = sum(frames) / max(len(frames), 1)
    logger.info("%d frames, %.1f per video in %d listed videos", sum(frames), average, len(frames))


def _one_line(path: Path) -> str:
    return str(path).replace("\n", "\\n").replace("\r", "\\r").replace("\t", "\\t")


def _remove_old(job: VideoJob) -> None:
    for folder in (job.partial_folder, job.folder):
        remove_frames(folder)
    job.failed_marker.unlink(missing_ok=True)


def _settle_failed(job: VideoJob, failure: tuple[str, str], keep_partial: bool) -> VideoResult:
    """Remove what there is of a failed video, or put it in its place and mark it as failed."""
    num_frames = _count_partial(job.partial_folder)
    is_kept = keep_partial and num_frames > 0
    if is_kept:
        job.failed_marker.touch()
        job.partial_folder.rename(job.folder)
    else:
        remove_frames(job.partial_folder)
    return VideoResult(job, num_frames, failure=failure, is_listed=is_kept)


def _count_partial(path: Path) -> int:
    """Count the frames that were written before a video failed; 0 in a pack without its end."""
    if path.is_dir():
        return sum(1 for _ in path.iterdir())
    if not zipfile.is_zipfile(path):
        return 0
    with zipfile.ZipFile(path) as archive:
        return len(archive.namelist())


def _int_between(low: int, high: int) -> Any:
    def parse(text: str) -> int:
        number = int(text)
        if not low <= number <= high:
            raise argparse.ArgumentTypeError(f"need an integer from {low} to {high}; got {text}")
        return number

    parse.__name__ = f"int from {low} to {high}"  # argparse names it for text that is no number
    return parse


def _write_text(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as file:
        file.write(text.encode(errors="surrogateescape"))  # a file name need not be UTF-8


if __name__ == "__main__":
    sys.exit(main())
