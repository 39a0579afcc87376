"""Classify a video frame by frame as it comes: a file, a folder that grows, or a camera.

    python tools/stream.py --checkpoint runs/quickstart_online/best.pth --input VIDEO|FOLDER|INDEX

The model must look at the past alone (config/quickstart_online.yml trains one). Each frame costs
one forward of the image model, whatever came before. A line is printed for each frame: its time and
number, how long it took, and the running answer with the probabilities of its classes.

Which frames: --every N of them, or those at --fps R; without either, those of the clips that the
model was trained on (DATA.FRAME_STRIDE). If your camera's rate is not that of the training videos,
give --fps.

The answer: the mean over all frames so far, as the model has it for a clip, of a file; of a camera
or a folder, which may go on for ever, the mean over as many of the last frames as a training clip
has. --window W and --decay A set it; --window 0 is all frames.

A folder's images come in the order of their names, numbers by value, until none has come for
--timeout seconds. An image that is not written to its end is waited for. Of a camera, frames that
come while the model is busy are dropped, and counted, so that the answer does not lag.

Ctrl-C ends it. Exit codes: 0 it ended as it should, by Ctrl-C too; 1 an error, or an image was left
out; 2 a wrong command line.
"""

import argparse
import csv
import os
import statistics
import sys
from collections import deque
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path

import torch
from yacs.config import CfgNode

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

from config.option_numbers import positive_number
from datasets.growing_folder import GrowingFolder
from datasets.live import (
    Every,
    LiveFrame,
    Newest,
    Pace,
    Rate,
    camera_frames,
    video_frames,
)
from datasets.protocols import SAMPLINGS
from datasets.readers import UnreadableVideoError
from datasets.video_suffixes import is_pack_name
from engine.run_log import set_up_console
from engine.user_errors import user_errors_shown
from models import load_model
from ops.metrics import ranked_classes
from ops.running_mean import FadingMean, RunningMean, WholeMean, WindowMean
from tools.streaming.frame_classifier import Answer, FrameClassifier
from tools.writing.places import check_places

Source = Iterable[LiveFrame]

TIMES_KEPT = 10_000  # of the latest frames, for the summary of a stream without end


def main(argv: Sequence[str] | None = None) -> None:
    """Classify what --input names until it ends."""
    args = build_parser().parse_intermixed_args(argv)
    set_up_console(is_main=True)
    with user_errors_shown(is_common_shown=True):
        inputs = [args.input, args.checkpoint, args.cfg]
        check_places({"--csv": args.csv}, inputs, makes_folders=False)
        loaded = load_model(args.checkpoint, args.cfg, args.overrides)
        cfg, names = loaded.cfg, loaded.class_names
        pace, mean = build_pace(args, cfg), build_mean(args, cfg)
        source = open_source(args, pace, cfg.DATA.MAX_FRAME_PIXELS)
        device = "cuda" if torch.cuda.is_available() else "cpu"
        classifier = FrameClassifier(loaded.model.to(device), cfg, mean)
        kept = f"{classifier.num_state_bytes / 1024:.1f} KiB"
        sys.stdout.write(f"{args.input}: {pace}, {mean}; {kept} kept from frame to frame\n")
        try:
            with ExitStack() as stack:
                report = RunningAnswers(names, args.topk, args.csv, stack)
                is_whole = follow(source, classifier, report, args)
        except BrokenPipeError:  # `| head` has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            is_whole = True
    sys.exit(not is_whole)


def build_parser() -> argparse.ArgumentParser:
    """Build the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add, one_of = parser.add_argument, parser.add_mutually_exclusive_group
    add("--checkpoint", required=True, help="the weights; ours hold all that is needed")
    add("--cfg", help="yml of the experiment, for weights without one")
    add("--input", required=True, help="a video file, a folder of images, or a camera's index")
    pace, forgetting = one_of(), one_of()
    pace.add_argument("--every", type=int, metavar="N", help="classify each Nth frame")
    pace.add_argument(
        "--fps", type=positive_number(), metavar="R", help="classify R frames a second"
    )
    forgetting.add_argument("--window", type=int, metavar="W", help="mean of the last W; 0: of all")
    forgetting.add_argument("--decay", type=float, metavar="A", help="fading mean, A from 0 to 1")
    add("--topk", type=_at_least_one, default=3, help="classes a line (3)")
    add("--csv", type=Path, metavar="OUT", help="write the lines there too")
    add("--max-frames", type=_at_least_one, metavar="N", help="end after N classified frames")
    add("--timeout", type=float, default=10.0, help="of a folder, seconds, or inf (10)")
    add("overrides", nargs="*", metavar="KEY VALUE", help="config keys; KEY=VALUE too")
    return parser


def build_pace(args: argparse.Namespace, cfg: CfgNode) -> Pace:
    """Build what says which frames to classify.

    Raises:
        ValueError: Nothing says so: the model was trained on frames spread over whole videos.
    """
    if args.fps is not None:
        return Rate(args.fps)
    if args.every is not None:
        return Every(args.every)
    stride = SAMPLINGS[cfg.DATA.SAMPLING].stride(cfg)
    if stride:
        return Every(stride)
    raise ValueError(
        f"DATA.SAMPLING={cfg.DATA.SAMPLING!r} spread {cfg.DATA.NUM_FRAMES} frames over each "
        "training video, so the model has no pace of its own; give --every N or --fps R"
    )


def build_mean(args: argparse.Namespace, cfg: CfgNode) -> RunningMean:
    """Build the mean that the answer is; see the module's docstring."""
    if args.decay is not None:
        return FadingMean(args.decay)
    window = args.window
    if window is None:
        window = 0 if Path(args.input).is_file() else cfg.DATA.NUM_FRAMES
    return WindowMean(window) if window else WholeMean()


def open_source(args: argparse.Namespace, pace: Pace, max_pixels: int) -> Source:
    """Return the frames of what --input names.

    Raises:
        ValueError: It is none of the three, a pack of frames, or a folder with --fps.
    """
    path = Path(args.input)
    if path.is_dir():
        if isinstance(pace, Rate):
            raise ValueError("--fps is for videos and cameras; images have no times: --every N")
        return GrowingFolder(path, pace, args.timeout, max_pixels=max_pixels)
    if is_pack_name(path) and path.exists():
        raise ValueError(
            f"--input {path}: a pack of frames is whole; unpack it, or tools/predict.py"
        )
    if path.exists():
        return video_frames(path, pace, max_pixels)
    if args.input.isdecimal():
        return Newest(camera_frames(int(args.input), pace))
    raise ValueError(f"--input {args.input}: no such file or folder, and no index of a camera")


class RunningAnswers:
    """Shows the answer after each frame, and how it went in the end.

    Args:
        names: Names of the classes.
        topk: Number of classes in a line.
        path: Path of a CSV file with a row for each frame, written at once; None for none.
        stack: Exit stack that closes the file.

    Raises:
        ValueError: The file cannot be written.
    """

    def __init__(self, names: list[str], topk: int, path: Path | None, stack: ExitStack) -> None:
        self.names = names
        self.topk = min(topk, len(names))
        self.count = 0
        self._times: deque[float] = deque(maxlen=TIMES_KEPT)
        self._file = None
        if path is not None:
            try:
                self._file = stack.enter_context(path.open("w", newline="", encoding="utf-8"))
            except OSError as error:
                raise ValueError(f"cannot write --csv {path}: {error.strerror}") from error
            columns = [
                f"{what}_{k + 1}" for k in range(self.topk) for what in ("label", "class", "score")
            ]
            csv.writer(self._file).writerow(["frame", "seconds", "ms", "file", *columns])

    def add(self, answer: Answer) -> None:
        """Show an answer."""
        self.count += 1
        self._times.append(answer.milliseconds)
        frame, scores = answer.frame, answer.scores
        labels = ranked_classes(scores, self.topk).tolist()
        best = [(label, self.names[label], float(scores[label])) for label in labels]
        shown = "  ".join(f"{name} {score:.3f}" for _, name, score in best)
        where = f"{frame.seconds:9.3f} s  frame {frame.number:6d}  {answer.milliseconds:7.1f} ms"
        sys.stdout.write(f"{where}  {shown}{f'  ({frame.name})' if frame.name else ''}\n")
        sys.stdout.flush()
        if self._file is not None:
            figures = [frame.number, f"{frame.seconds:.6f}", f"{answer.milliseconds:.3f}"]
            values = [value for triple in best for value in triple]
            csv.writer(self._file).writerow([*figures, frame.name, *values])
            self._file.flush()

    def end(self, how: str, source: Source) -> None:
        """Show how it went."""
        text = f"{how} after {self.count} classified frames"
        if self._times:
            slow = sorted(self._times)[int(0.95 * (len(self._times) - 1))]
            median = statistics.median(self._times)
            text += f"; {median:.1f} ms a frame in the median, 95 % within {slow:.1f} ms"
        if isinstance(source, Newest) and source.num_dropped:
            text += (
                f"\n{source.num_dropped} frames dropped, which came faster than the model takes "
                "them; ask for fewer by --every or --fps"
            )
        if isinstance(source, GrowingFolder) and source.left_out:
            text += "".join(f"\nleft out: {reason}" for reason in source.left_out)
        sys.stdout.write(f"{text}\n")


def follow(
    source: Source, classifier: FrameClassifier, report: RunningAnswers, args: argparse.Namespace
) -> bool:
    """Classify and show every frame of a source; return whether no image was left out.

    Raises:
        UnreadableVideoError: The source broke off, or gave nothing.
    """
    how = "broke off"
    try:
        for frame in source:
            report.add(classifier.classify(frame))
            if report.count == args.max_frames:
                break
        how = "ended"
    except KeyboardInterrupt:
        how = "stopped"
    finally:
        report.end(how, source)
    left_out = source.left_out if isinstance(source, GrowingFolder) else []
    if not report.count and how == "ended":
        reason = "; all were left out" if left_out else ""
        raise UnreadableVideoError(f"{args.input}: no frame came{reason}")
    return not left_out


def _at_least_one(word: str) -> int:
    number = int(word)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{word} is below 1")
    return number


if __name__ == "__main__":
    main()
