"""What does running online cost and give? Time of a frame, and accuracy frame by frame.

    python tools/online_check.py --checkpoint runs/quickstart_online/best.pth
    python tools/online_check.py --cfg YML MODEL.SHIFT.DIRECTION past     # the time alone

The time is that of one frame at batch 1, by the side of the same network without a shift on the
same frame, in turns: the median over the pairs of their ratio. The accuracy is that of the running
answer after the last frame of each video of the test list, as tools/stream.py gives it.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from yacs.config import CfgNode

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

from config import load_cfg
from config.multi_label_checks import check_one_class
from config.option_numbers import whole_number
from datasets.live import Every, LiveFrame
from datasets.loaders import open_frames, read_records
from datasets.protocols import test_image_size
from engine.run_log import set_up_console
from engine.user_errors import user_errors_shown
from models import MODELS, LoadedModel, build_model, load_model
from models.streaming import build_online
from ops.running_mean import RunningMean, WholeMean, WindowMean
from tools.stream import build_pace
from tools.streaming.frame_classifier import FrameClassifier

WARM_UP = 3  # pairs that do not count


def main(argv: Sequence[str] | None = None) -> None:
    """Print the times, and with a checkpoint the accuracy."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--checkpoint", help="the weights; without, random ones, for the time")
    parser.add_argument("--cfg", help="yml of the experiment; ours hold their own config")
    parser.add_argument(
        "--pairs", type=whole_number(least=1), default=50, help="of frames to time (50)"
    )
    parser.add_argument("--every", type=int, metavar="N", help="classify each Nth frame")
    parser.add_argument(
        "overrides", nargs="*", metavar="KEY VALUE", help="config keys; KEY=VALUE too"
    )
    args = parser.parse_intermixed_args(argv)
    if not (args.checkpoint or args.cfg):
        parser.error("name a --checkpoint, or a --cfg for the time alone")
    args.fps = None
    set_up_console(is_main=True)
    with user_errors_shown(is_common_shown=True):
        if not args.checkpoint:
            cfg = load_cfg(args.cfg, args.overrides)
            sys.stdout.write(latency_line(compare_latency(cfg, args.pairs)))
            return
        loaded = load_model(args.checkpoint, args.cfg, args.overrides)
        sys.stdout.write(latency_line(compare_latency(loaded.cfg, args.pairs)))
        pace = build_pace(args, loaded.cfg)
        assert isinstance(pace, Every)
        sys.stdout.write(accuracy_lines(measure_accuracy(loaded, pace), pace))


def compare_latency(cfg: CfgNode, num_pairs: int) -> dict[str, float]:
    """Time one frame of the online model and of the same network without a shift, in turns.

    Args:
        cfg: Config of the experiment; the weights are random, which the time does not depend on.
        num_pairs: Number of timed pairs that count.

    Returns:
        ``online`` and ``image``, medians in milliseconds, and ``ratio``, the median of the pairs'.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    online = build_online(build_model(cfg).to(device))
    image = build_model(without_shift(cfg)).to(device).eval()
    size = test_image_size(cfg, "test")
    frames = torch.randn(1, 3, size, size, device=device)
    state = online.initial_state(frames)
    runs: list[Callable[[], Any]] = [lambda: online(frames, state), lambda: image(frames[:, None])]
    pairs = []
    with torch.inference_mode():
        for i in range(WARM_UP + num_pairs):
            order = (0, 1) if i % 2 else (1, 0)
            times = {which: _milliseconds(runs[which], device) for which in order}
            pairs.append((times[0], times[1]))
    counted = pairs[WARM_UP:]
    return {
        "online": statistics.median(a for a, _ in counted),
        "image": statistics.median(b for _, b in counted),
        "ratio": statistics.median(a / b for a, b in counted),
    }


def without_shift(cfg: CfgNode) -> CfgNode:
    """Return the experiment of the same network on single images."""
    cfg = cfg.clone()
    cfg.defrost()
    cfg.merge_from_list(list(MODELS[cfg.MODEL.NAME].image_keys))
    cfg.freeze()
    return cfg


def measure_accuracy(loaded: LoadedModel, pace: Every) -> dict[str, float]:
    """Return the top-1, in percent, of the last running answer to each test video, by its mean."""
    check_one_class(loaded.cfg, "the accuracy of tools/online_check.py")
    cfg, records = loaded.cfg, read_records(loaded.cfg, "test")
    model = loaded.model.to("cuda" if torch.cuda.is_available() else "cpu")
    means: list[Callable[[], RunningMean]] = [WholeMean, lambda: WindowMean(cfg.DATA.NUM_FRAMES)]
    hits = {str(build()): 0 for build in means}
    for record in records:
        reader = open_frames(cfg, record)
        numbers = range(0, record.num_frames or len(reader), pace.num_frames)
        pictures = reader.read(list(numbers))  # (T, H, W, 3)
        for build in means:
            mean = build()
            hits[str(mean)] += last_answer(model, cfg, mean, pictures) == record.label
    return {name: 100 * count / len(records) for name, count in hits.items()}


def last_answer(model: nn.Module, cfg: CfgNode, mean: RunningMean, pictures: Any) -> int:
    """Return the class that is answered after the last picture of (T, H, W, 3)."""
    classifier = FrameClassifier(model, cfg, mean)
    for number, picture in enumerate(pictures):
        answer = classifier.classify(LiveFrame(number, 0.0, picture))
    return int(answer.scores.argmax())


def latency_line(times: dict[str, float]) -> str:
    """Say how the times compare."""
    return (
        f"online {times['online']:.2f} ms a frame, the image model {times['image']:.2f} ms; "
        f"{times['ratio']:.3f} times as long (median of pairs)\n"
    )


def accuracy_lines(accuracy: dict[str, float], pace: Every) -> str:
    """Say how often the last answer is right."""
    lines = (f"top-1 after the last frame, {name}: {top1:.2f}" for name, top1 in accuracy.items())
    return f"{pace} of each test video\n" + "".join(f"{text}\n" for text in lines)


def _milliseconds(run: Callable[[], Any], device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    run()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return 1000 * (time.perf_counter() - start)


if __name__ == "__main__":
    main()
