r"""What is in these videos? The best classes of each, by a checkpoint or an exported model.

    python tools/predict.py --checkpoint runs/quickstart/best.pth --input VIDEO|FOLDER|LIST|GLOB
    python tools/predict.py --checkpoint model_zoo/FILE.pth --cfg config/k400/RECIPE.yml \
        --class-names model_zoo/labels/kinetics400.txt --input VIDEO --views 1x3
    python tools/predict.py --checkpoint CKPT --input VIDEO --timeline OUT --overlay OUT.mp4

The input: a video file; a folder of frames; a folder that holds either, at any depth; a list file
as for training (.txt, .lst, .list, .csv; labels may be missing, relative paths start from
DATA.ROOT); a glob; or several of these. A checkpoint of ours and an exported file (.onnx, .pt2)
describe themselves; other checkpoints take --cfg, and --class-names.

The views are those of the config's test, or --views. The score is the softmax, taken once, of the
mean of the views' logits, or the mean of their softmaxes, as TEST.AVERAGE_LOGITS says; under
DATA.MULTI_LABEL it is each class's sigmoid. --threshold names every class with such a score.
Under torchrun the processes share the videos.

--timeline and --overlay slide a window over one video, as long as a clip of the model. --timeline
writes OUT.csv, a line for each window, and OUT.png (needs matplotlib); --json has a line for each
window then. --overlay writes the video with the three best classes of the window whose middle is
nearest: H.264, without sound.

Exit codes: 0; 1 an error, or a video that cannot be read: the others are classified all the same;
2 a wrong command line.
"""

import argparse
import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from itertools import takewhile
from pathlib import Path
from typing import Any, TextIO

from torch.utils.data import DataLoader

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

from config import begins_override
from config.option_numbers import positive_number, whole_number
from datasets.loaders import build_view_loader, describe_protocol
from datasets.views import Views
from engine.distributed import LaunchOptions, World, gather_objects, launch
from engine.live_bar import LiveBar
from engine.run_log import set_up_console
from engine.user_errors import user_errors_shown
from tools.predicting.find_videos import NO_LABEL, FoundVideo, find_videos, is_list
from tools.predicting.overlay import check_overlay, write_overlay
from tools.predicting.predictions import TOPK, Predictions
from tools.predicting.timeline import build_timeline, table_and_picture
from tools.predicting.video_classifier import (
    ClassifierOptions,
    Result,
    VideoClassifier,
    open_classifier,
)
from tools.writing.places import check_not_read, check_places

OVERLAID = 3  # classes on the video


def main(argv: Sequence[str] | None = None) -> None:
    """Read the command line and classify, in as many processes as torchrun started."""
    args = parse(argv)
    set_up_console(is_main=os.environ.get("RANK", "0") == "0")
    with user_errors_shown(is_common_shown=os.environ.get("LOCAL_RANK", "0") == "0"):
        launch(run, LaunchOptions(), args)


def run(world: World, args: argparse.Namespace) -> None:
    """Do what the command line asks for, in one of the processes.

    Raises:
        ValueError: The model or the input does not fit what is asked for.
        UnreadableVideoError: The video of --timeline or --overlay cannot be read.
    """
    set_up_console(world.is_main)
    videos = find_videos(args.input)
    if world.is_main:
        _check_places(args)
    # one video needs no loader process; what the user says comes later and wins
    overrides = ["DATA.WORKERS", "0", *args.overrides] if len(videos) == 1 else args.overrides
    options = ClassifierOptions(
        cfg=args.cfg,
        class_names=args.class_names,
        views=args.views,
        overrides=overrides,
        device=world.device,
    )
    classifier, source = open_classifier(args.checkpoint, options)
    if any(map(is_list, args.input)):  # the files decide what a line means, under DATA.ROOT
        videos = find_videos(args.input, classifier.cfg.DATA.ROOT)
    _check_labels(videos, classifier)
    if world.is_main:
        root = Path(classifier.cfg.DATA.ROOT)
        check_not_read(_places(args), (root / video.record.path for video in videos))
        sys.stderr.write(f"{source}\nviews: {describe_protocol(classifier.cfg)}\n")
    if args.timeline or args.overlay:
        if world.is_main:
            predict_over_time(videos, classifier, args)
        return
    num_unreadable = 0
    with ExitStack() as stack:
        file = stack.enter_context(_open(args.json)) if args.json and world.is_main else None
        report = Predictions(classifier, videos, args.topk, file, args.threshold)
        bar = stack.enter_context(
            LiveBar(len(videos), "video", "predict", say=_to_stderr, is_shown=world.is_main)
        )
        for results in classify(classifier, videos, world):
            with bar.aside():
                for result in results:
                    report.add(result)
            bar.update(len(results))
        num_unreadable = report.end()
    if num_unreadable:
        sys.exit(1)


def classify(
    classifier: VideoClassifier, videos: Sequence[FoundVideo], world: World
) -> Iterator[list[Result]]:
    """Yield results, see `VideoClassifier.results`, in the order of the videos; on rank 0 alone.

    Each process takes every world.size-th video. After each batch rank 0 gets what all have: those
    are consecutive videos.
    """
    records = [video.record for video in videos]
    loader: DataLoader[Views] = build_view_loader(
        classifier.cfg, records, "test", world.rank, world.size
    )
    per_round = classifier.cfg.VAL.VIDEOS_PER_GPU * world.size
    batches = iter(loader)
    for _ in range(0, len(records), per_round):
        gathered = gather_objects(classifier.results(next(batches, [])), world)
        if gathered is not None:
            yield sorted((result for part in gathered for result in part), key=lambda r: r[0])


def predict_over_time(
    videos: Sequence[FoundVideo], classifier: VideoClassifier, args: argparse.Namespace
) -> None:
    """Slide a window over one video, for --timeline and --overlay.

    Raises:
        ValueError: There are several videos, or the model has no window of its own.
        UnreadableVideoError: The video cannot be read to its end.
    """
    if len(videos) != 1:
        raise ValueError(f"--timeline and --overlay take one video, --input means {len(videos)}")
    name, record = videos[0]
    timeline = build_timeline(classifier, record, args.window, args.hop)
    sys.stdout.write(f"{name}: {timeline}\n")
    if args.timeline:
        for path in timeline.write(args.timeline, classifier, args.topk or TOPK, title=name):
            sys.stdout.write(f"wrote {path}\n")
    if args.json:
        of_video: dict[str, Any] = {"file": name, "path": record.path}
        if record.label != NO_LABEL:
            names = [classifier.class_names[label] for label in record.classes]
            of_video |= {"label": record.label, "label_name": names[0]}
            if classifier.cfg.DATA.MULTI_LABEL:
                of_video |= {"labels": list(record.classes), "label_names": names}
        with _open(args.json) as file:
            for window in timeline.windows(classifier, args.topk or TOPK):
                file.write(json.dumps(of_video | window, ensure_ascii=False) + "\n")
        sys.stdout.write(f"wrote {args.json}\n")
    if args.overlay:
        write_overlay(args.overlay, classifier, record, timeline, OVERLAID)
        sys.stdout.write(f"wrote {args.overlay}\n")


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line; words after the inputs that are keys begin the overrides."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add(
        "--checkpoint", required=True, help="weights of any kind that --evaluate takes, .onnx, .pt2"
    )
    add("--input", required=True, nargs="+", metavar="VIDEO|FOLDER|LIST|GLOB", help="see above")
    add("--cfg", default="", help="yml of the experiment, for a file that does not hold it")
    add("--class-names", default="", metavar="FILE", help="a name a line; ours hold them")
    add("--topk", type=whole_number(least=1), help=f"classes to name ({TOPK})")
    add("--threshold", type=_share, metavar="T", help="name every class with a score of T or more")
    add("--views", default="", metavar="NxC", help="clips x crops: 1x1, 1x3, 10x3 (the config's)")
    add(
        "--json",
        type=Path,
        metavar="OUT",
        help="write a JSON line for each video, or for each window",
    )
    add("--timeline", type=Path, metavar="OUT", help="write OUT.csv and OUT.png over the time")
    add("--overlay", type=Path, metavar="OUT.mp4", help="write the video with the answers on it")
    add("--hop", type=positive_number(), metavar="S", help="seconds between windows (half of one)")
    add("--window", type=positive_number(), metavar="S", help="its seconds, if not those of a clip")
    add("overrides", nargs="*", metavar="KEY VALUE", help="config keys; KEY=VALUE too")
    args = parser.parse_intermixed_args(argv)
    inputs = list(takewhile(lambda word: not begins_override(word), args.input))
    args.input, args.overrides = inputs, args.input[len(inputs) :] + args.overrides
    if not args.input:
        parser.error("--input names no video")
    over_time = args.timeline or args.overlay
    if (args.hop or args.window) and not over_time:
        parser.error("--hop and --window are for --timeline and --overlay")
    if args.threshold is not None and over_time:
        parser.error("--threshold is not for --timeline and --overlay, which have every score")
    return args


def _check_labels(videos: Sequence[FoundVideo], classifier: VideoClassifier) -> None:
    num_classes = classifier.cfg.MODEL.NUM_CLASSES
    for name, record in videos:
        if record.labels and not classifier.cfg.DATA.MULTI_LABEL:
            raise ValueError(
                f"line {record.line} of the list: {name!r} has several labels, "
                f"{','.join(map(str, record.labels))}; the model was trained with "
                "DATA.MULTI_LABEL False, on one class a video"
            )
        if max(record.classes) >= num_classes:
            raise ValueError(
                f"line {record.line} of the list: label {max(record.classes)} of {name!r} is not "
                f"in 0..{num_classes - 1} (MODEL.NUM_CLASSES)"
            )


def _places(args: argparse.Namespace) -> dict[str, Path | None]:
    """Return the files to write by their options."""
    table, picture = table_and_picture(args.timeline) if args.timeline else (None, None)
    return {
        "--json": args.json,
        "--overlay": args.overlay,
        "--timeline": table,
        "--timeline, its plot": picture,
    }


def _check_places(args: argparse.Namespace) -> None:
    if args.overlay:
        check_overlay(args.overlay)
    check_places(_places(args), [*args.input, args.checkpoint, args.cfg, args.class_names])


def _share(word: str) -> float:
    share = float(word)
    if not 0 <= share <= 1:
        raise argparse.ArgumentTypeError(f"{word} is not from 0 to 1")
    return share


def _to_stderr(line: str) -> None:
    sys.stderr.write(f"{line}\n")


def _open(path: Path) -> TextIO:
    try:
        return path.open("w", encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise ValueError(f"cannot write --json {path}: {error.strerror}") from error


if __name__ == "__main__":
    main()
