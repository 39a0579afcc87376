"""Hours, memory, cores and disk of a whole recipe, before a GPU is rented.

    python tools/plan.py YML --gpus N [--nodes M] [--clips-per-second X | --results FILE] ...
        [KEY VALUE ...]

    --gpus            GPUs of each node
    --clips-per-second, --views-per-second
                      what one GPU trains and tests, as tools/benchmark.py measures it
    --results         the JSON lines of tools/benchmark.py, which hold both
    --peak-tflops, --share
                      without either: the peak of the card, and the share of it that is reached
    --videos, --test-videos
                      videos of the lists; by default those of Kinetics-400
    --frames, --size, --frame-kb, --frame-ms
                      of a video: its frames, their size, bytes on the disk, and what reading,
                      decoding and augmenting one of them takes on one core
    --link-gb, --network-gb, --gpu-gb, --cores
                      GB a second between the GPUs of a node and out of a node, GB of a GPU, cores
                      of a node

What is given here overrides nothing in the yml: TRAIN.CLIPS_PER_GPU, TRAIN.ACCUMULATION or
TRAIN.GLOBAL_BATCH, TRAIN.AMP and MODEL.CHECKPOINTS_BLOCKS follow as KEY VALUE.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

from config import load_cfg
from config.option_numbers import positive_number, whole_number
from engine.run_log import set_up_console
from engine.user_errors import user_errors_shown
from tools.benchmarking.planning import GB, Cluster
from tools.benchmarking.recipe_plan import DataSet, Host, RecipePlan, Speed, assumed_speed
from tools.benchmarking.result_lines import read_speed
from tools.flops import FRAMES, SIZE, width_by_height
from tools.writing.json_report import write_json
from tools.writing.places import check_places

_COUNT = whole_number(least=1, most=10**12)


def main(argv: Sequence[str] | None = None) -> int:
    """Show the plan of the command line's recipe; return the exit code."""
    args = _parse(argv)
    set_up_console(is_main=True)
    with user_errors_shown(is_common_shown=True):
        check_places({"--json": args.json}, [args.cfg, args.results])
        cfg = load_cfg(args.cfg, args.overrides)
        cluster = Cluster(args.gpus, args.nodes, args.link_gb * GB, args.network_gb * GB)
        data = DataSet(
            num_train=args.videos,
            num_test=args.test_videos,
            num_frames=args.frames,
            size=args.size[::-1],
            bytes_per_frame=args.frame_kb * 1e3,
            seconds_per_frame=args.frame_ms / 1e3,
        )
        host = Host(num_cores=args.cores, gpu_bytes=args.gpu_gb * GB)
        speed = _speed(args, assumed_speed(cfg, args.peak_tflops * 1e12, args.share))
        plan = RecipePlan(cfg, cluster, data, host, speed)
        for name, text in plan.lines():
            sys.stdout.write(f"{name + ':':12} {text}\n")
        if args.json:
            write_json(args.json, plan.numbers())
    return 0


def _speed(args: argparse.Namespace, assumed: Speed) -> Speed:
    """Return what the command line says of a GPU's speed, else what the results hold."""
    measured = read_speed(args.results, Path(args.cfg).stem) if args.results else Speed(0, 0, "")
    given = args.clips_per_second or measured.clips
    if not given:
        return assumed
    views = args.views_per_second or measured.views
    # a forward pass is a third of a training step
    return Speed(given, views or 3 * given, "given" if args.clips_per_second else measured.source)


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add, positive = parser.add_argument, positive_number()
    add("cfg", metavar="YML", help="the recipe")
    add("--gpus", type=whole_number(least=1, most=10**5), required=True, metavar="N")
    add("--nodes", type=whole_number(least=1, most=10**5), default=1, metavar="M")
    add("--clips-per-second", type=positive, default=0.0, metavar="X")
    add("--views-per-second", type=positive, default=0.0, metavar="X")
    add("--results", type=Path, metavar="FILE")
    add("--peak-tflops", type=positive, default=989.0, metavar="X", help="default: H100, bf16")
    add("--share", type=positive_number(most=1.0), default=0.45, metavar="X")
    add("--videos", type=_COUNT, default=240_000, metavar="N")
    add("--test-videos", type=_COUNT, default=19_800, metavar="N")
    add("--frames", type=_COUNT, default=FRAMES, metavar="F")
    add("--size", type=width_by_height, default=SIZE, metavar="WxH")
    add("--frame-kb", type=positive, default=60.0, metavar="X")
    add("--frame-ms", type=positive, default=1.6, metavar="X")
    add("--link-gb", type=positive, default=300.0, metavar="X")
    add("--network-gb", type=positive, default=50.0, metavar="X")
    add("--gpu-gb", type=positive, default=80.0, metavar="X")
    add("--cores", type=_COUNT, default=16, metavar="N", help="for each GPU")
    add("--json", type=Path, metavar="OUT", help="write the numbers for machines")
    add("overrides", nargs="*", metavar="KEY VALUE", help="config keys; KEY=VALUE too")
    return parser.parse_intermixed_args(argv)


if __name__ == "__main__":
    sys.exit(main())
