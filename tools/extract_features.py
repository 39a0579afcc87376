r"""What a model knows of videos: vectors of their clips and frames, by a checkpoint, into a folder.

    python tools/extract_features.py --checkpoint CKPT --input VIDEO|FOLDER|LIST|GLOB --output DIR
    python tools/extract_features.py --checkpoint CKPT --input VIDEO --output DIR --hop 0.5
    python tools/extract_features.py --checkpoint CKPT --input LIST --output DIR --layer 6 \
        --format safetensors --views 1x1 DATA.ROOT FOLDER

The input is that of tools/predict.py. DIR gets a NAME.npz for each video with its arrays: clips
(N, C), frames (N, S, C), indices and seconds (N, T); and manifest.json, which says what they are.
The clips are those of the config's test, or --views; or, with --hop, windows that slide over the
whole video, as long as a clip of the model, or as --window says. Crops and mirror images of a clip
are averaged.

--layer head (default) is what the classifier sees; --layer K a transformer's class token behind
block K, or a ResNet's mean map behind stage K. S is T; 1 for a TimeSformer, whose class token is
the clip's. The head is not used: it may be missing.

Videos that are done are left out by the next run, which goes on where one was stopped. A folder
holds features of one checkpoint, layer and preprocessing. Under torchrun the processes share the
videos.

Exit codes: 0; 1 an error, or a video that cannot be read: the others are written all the same;
2 a wrong command line.
"""

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from functools import partial
from itertools import takewhile
from pathlib import Path
from typing import Any

from yacs.config import CfgNode

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

from config import begins_override
from config.option_numbers import positive_number
from config.values import counted
from datasets.loaders import num_test_clips
from datasets.protocols import test_image_size
from datasets.records import check_takes_rgb
from engine.checkpoints import describe_preprocessing
from engine.distributed import LaunchOptions, World, decided_by_main, gather_objects, launch
from engine.folder_lock import FILE_NAME, FolderLock
from engine.live_bar import LiveBar
from engine.provenance import describe_run, file_sha256
from engine.run import Run, placed
from engine.run_log import set_up_console
from engine.user_errors import user_errors_shown
from models import load_model
from models.feature_extractor import HEAD, FeatureExtractor
from models.weights.hub_folder import files_of
from models.weights.named_weights import is_named
from tools.features.clip_stream import ClipStream, Windows
from tools.features.extraction import extract
from tools.features.feature_files import ARRAYS, FORMATS, FeatureFiles, check_distinct
from tools.features.manifest import (
    MAKES,
    SHA256,
    DescribedVideo,
    differences,
    is_described,
    read_manifest,
    read_videos,
    write_manifest,
    write_videos,
)
from tools.predicting.find_videos import FoundVideo, find_videos, is_list
from tools.predicting.sliding_windows import clip_span
from tools.predicting.view_option import num_views, view_keys
from tools.writing.places import check_folder

_log = logging.getLogger("extract_features")

NUM_NAMED = 10  # broken videos in the last line


def main(argv: Sequence[str] | None = None) -> None:
    """Read the command line and extract, in as many processes as torchrun started."""
    args = parse(argv)
    set_up_console(is_main=os.environ.get("RANK", "0") == "0")
    try:
        with user_errors_shown(is_common_shown=os.environ.get("LOCAL_RANK", "0") == "0"):
            launch(run, LaunchOptions(), args)
    except KeyboardInterrupt:
        _log.error("stopped by the user; the same command goes on from here")
        sys.exit(130)


def run(world: World, args: argparse.Namespace) -> None:
    """Do what the command line asks for, in one of the processes.

    Raises:
        ValueError: The model, the input or the folder does not fit what is asked for.
        FloatingPointError: Features are not finite.
        UnwritableError: The folder cannot be written into.
    """
    set_up_console(world.is_main)
    videos = find_videos(args.input)
    loaded = load_model(args.checkpoint, args.cfg, _words(args), needs_head=False)
    cfg = loaded.cfg
    _log.info("%s", loaded.report)
    if any(map(is_list, args.input)):  # the files decide what a line means, under DATA.ROOT
        videos = find_videos(args.input, cfg.DATA.ROOT)
    check_distinct([name for name, _ in videos])
    windows = _windows(cfg, args)
    extractor = FeatureExtractor(placed(loaded.model, cfg, world), args.layer)
    manifest = describe(cfg, args, windows, world)
    lock = FolderLock(args.output)
    try:
        todo = decided_by_main(partial(prepare, lock, manifest, videos, args), world)
        stream = ClipStream(
            cfg, [video.record for video in videos], todo[world.rank :: world.size], windows
        )
        gathered = gather_objects(
            write_all(extractor, stream, videos, Run(cfg, world), args), world
        )
        if gathered is not None:
            errors = {name: error for part in gathered for name, error in part.items()}
            finish(args, manifest, errors)
            _say_end(args.output, len(videos), len(todo), [*errors])
    finally:
        lock.release()


def prepare(
    lock: FolderLock,
    manifest: dict[str, Any],
    videos: Sequence[FoundVideo],
    args: argparse.Namespace,
) -> list[int]:
    """Open the folder, as its one owner, and return the places of the videos that are to be read.

    Raises:
        ValueError: It holds something else, or features that are made otherwise.
    """
    folder: Path = args.output
    check_folder("--output", folder, args.input)
    lock.take()
    if is_described(folder):
        theirs = read_manifest(folder)
        faults = differences(theirs, manifest)
        if theirs["format"] != args.format:
            faults.append(f"format {theirs['format']}, not {args.format}")
        if faults:
            raise ValueError(
                f"--output {folder} holds features of {'; of '.join(faults)}: name another folder, "
                "or delete this one"
            )
    elif any(entry.name != FILE_NAME for entry in folder.iterdir()):
        raise ValueError(f"--output {folder} is not empty and holds no features; name another")
    files = FeatureFiles(folder, args.format)
    files.remove_stale()
    known = read_videos(folder)
    for name, record in videos:
        labels = [*record.labels]
        video = DescribedVideo(name, record.path, record.label, files.shown_file(name), labels)
        other = known.setdefault(name, video)
        if (other.path, other.label, other.labels) != (video.path, video.label, video.labels):
            now, before = (one.labels or one.label for one in (video, other))
            raise ValueError(
                f"--output {folder} holds features of another video {name!r}, {other.path!r} of "
                f"label {before}, not {video.path!r} of label {now}; name another"
            )
        known[name] = video
    write_manifest(folder, manifest)
    write_videos(folder, [*known.values()])
    return [place for place, (name, _) in enumerate(videos) if not files.holds(name)]


def write_all(
    extractor: FeatureExtractor,
    stream: ClipStream,
    videos: Sequence[FoundVideo],
    run: Run,
    args: argparse.Namespace,
) -> dict[str, str]:
    """Write the features of a stream's videos; return why others have none, by their names."""
    errors, files = {}, FeatureFiles(args.output, args.format)
    world = run.world
    bar = LiveBar(len(stream.places), "video", "extract", is_shown=world.is_main)
    with bar:
        for place, features, error in extract(extractor, stream, run):
            name = videos[place].name
            if features is None:
                errors[name] = error
                _log.error("left out: %s: %s", name, error)
            else:
                files.write(name, features)
            bar.update(num_failed=features is None)
    return errors


def finish(args: argparse.Namespace, manifest: dict[str, Any], errors: dict[str, str]) -> None:
    """Note which videos are unreadable, and put an archive together."""
    known = read_videos(args.output)
    for name, error in errors.items():
        known[name].error = error
    write_videos(args.output, [*known.values()])
    metadata = {"layer": args.layer, SHA256: str(manifest[MAKES][SHA256])}
    FeatureFiles(args.output, args.format).finish(known, metadata)


def describe(
    cfg: CfgNode, args: argparse.Namespace, windows: Windows | None, world: World
) -> dict[str, Any]:
    """Return the manifest: what the features are. All processes call it."""
    test, size = cfg.TEST, test_image_size(cfg, "test")
    clips: Any = {"number": num_test_clips(cfg, "test"), "even_starts": test.EVEN_STARTS}
    if windows:
        clips = {"window_seconds": windows.length, "hop_seconds": windows.hop}
    digest = ""  # of a name in a library, and where the manifest is not written
    if world.is_main and not is_named(args.checkpoint):
        digest = file_sha256(*files_of(args.checkpoint))
    makes = {
        SHA256: digest or str(args.checkpoint),
        "layer": args.layer,
        "clips": clips,
        "crops": f"{test.NUM_CROPS} {test.CROPS} of {size}{', mirrored too' if test.FLIP else ''}",
        "precision": cfg.TRAIN.AMP,
    }
    return {
        "checkpoint": str(args.checkpoint),
        "model": {"name": cfg.MODEL.NAME, "backbone": cfg.MODEL.BACKBONE},
        "format": args.format,
        "arrays": {"clips": ARRAYS["clips"]} if args.format == "npy" else ARRAYS,
        MAKES: makes,
        "preprocessing": describe_preprocessing(cfg),
        "data_root": str(Path(cfg.DATA.ROOT).absolute()),
        "run": describe_run(cfg, {}, world),
        "config": cfg.dump(),
    }


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line; words after the inputs that are keys begin the overrides."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--checkpoint", required=True, help="weights of any kind that --evaluate takes")
    add("--input", required=True, nargs="+", metavar="VIDEO|FOLDER|LIST|GLOB", help="see above")
    add("--output", required=True, type=Path, metavar="DIR", help="folder of the features")
    add("--cfg", default="", help="yml of the experiment, for a file that does not hold it")
    add("--layer", default=HEAD, help=f"{HEAD} (default), or a number from 1; see above")
    add("--format", choices=FORMATS, default=FORMATS[0], help="npy: clip vectors alone (npz)")
    add("--views", default="", metavar="NxC", help="clips x crops: 1x1, 1x3, 10x3 (the config's)")
    add("--hop", type=positive_number(), metavar="S", help="slide windows, S seconds apart")
    add("--window", type=positive_number(), metavar="S", help="their seconds (those of a clip)")
    add("overrides", nargs="*", metavar="KEY VALUE", help="config keys; KEY=VALUE too")
    args = parser.parse_intermixed_args(argv)
    inputs = list(takewhile(lambda word: not begins_override(word), args.input))
    args.input, args.overrides = inputs, args.input[len(inputs) :] + args.overrides
    if not args.input:
        parser.error("--input names no video")
    return args


def _words(args: argparse.Namespace) -> list[str]:
    return [*args.overrides, *(view_keys(args.views) if args.views else [])]


def _windows(cfg: CfgNode, args: argparse.Namespace) -> Windows | None:
    """Return the windows that are asked for; make sure that they, or the views, can be."""
    check_takes_rgb(cfg)
    if not (args.hop or args.window):
        if args.views:
            num_views(cfg, args.views)
        return None
    if args.window is None:
        clip_span(cfg)
    return Windows(args.hop, args.window)


def _say_end(folder: Path, num_videos: int, num_todo: int, unreadable: Sequence[str]) -> None:
    done = num_todo - len(unreadable)
    _log.info(
        "%s: features of %s, %d of them now",
        *(folder, counted(num_videos - len(unreadable), "video"), done),
    )
    if unreadable:
        more = ", ..." if len(unreadable) > NUM_NAMED else ""
        shown = ", ".join(sorted(unreadable)[:NUM_NAMED])
        _log.error("%d of %d videos are unreadable: %s%s", len(unreadable), num_videos, shown, more)
        sys.exit(1)


if __name__ == "__main__":
    main()
