"""Measures the project on this machine, beside plain baselines that do the same.

    python tools/benchmark.py [SECTION ...] [--cfg YML] [--json OUT] [--device cpu|cuda] [--tiny]
        [--seconds S] [--workers N,N] [--profile] [--vs-timm] [--page MD] [KEY VALUE ...]

    shift     the token shift beside an addition of the same tensor
    model     forward pass and training step beside the plain network
    load      a training clip beside plain reading, and loaders of several processes
    test      the test of a 300-frame video, end to end, beside plain views
    train     training steps of a whole batch: clips a second, memory, share of the peak
    compile   the same, compiled
    ddp       a step of several processes beside one alone
    feed      the share of the time that a training waits for its loaders

and for the first minutes on a GPU (tools/gpu_check.sh runs all):

    roofline  products and copies a second
    parity    logits and gradients in each precision against float32 on the CPU
    waits     for what a training iteration waits
    nccl      a process group of one against none
    quickstart  a training in each precision, with bit-equal resume

Without a section the first eight. Each line has the median and the spread (half of the middle half,
as a share); a ratio that must be reached is told with its goal. Each baseline is written from the
specification, and is seen to give the same result before it is timed. --json appends a line for
each measurement as it comes; --page writes such a file as a table. Videos are drawn under --folder.
"""

import argparse
import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

import torch

from config.option_numbers import positive_number
from engine.run_log import set_up_console
from engine.user_errors import user_errors_shown
from tools.benchmarking.data_sections import measure_load, measure_test
from tools.benchmarking.gpu_sections import measure_parity, measure_roofline, measure_waits
from tools.benchmarking.model_sections import measure_model, measure_shift
from tools.benchmarking.process_sections import (
    measure_ddp,
    measure_feed,
    measure_nccl,
    measure_quickstart,
)
from tools.benchmarking.result_page import write_page
from tools.benchmarking.result_report import Report
from tools.benchmarking.setting import PEAK, Setting
from tools.benchmarking.training_sections import measure_compile, measure_train
from tools.launching.check_environment import num_cores
from tools.writing.places import check_places

SECTIONS: dict[str, Callable[[Setting], None]] = {
    "shift": measure_shift,
    "model": measure_model,
    "load": measure_load,
    "test": measure_test,
    "train": measure_train,
    "compile": measure_compile,
    "ddp": measure_ddp,
    "feed": measure_feed,
}
GPU_SECTIONS: dict[str, Callable[[Setting], None]] = {
    "roofline": measure_roofline,
    "parity": measure_parity,
    "waits": measure_waits,
    "nccl": measure_nccl,
    "quickstart": measure_quickstart,
}
_log = logging.getLogger(__name__)
CONFIG = "config/k400/k400_tokshift_div4_8x32_base_224.yml"


def main(argv: Sequence[str] | None = None) -> int:
    """Measure what the command line asks for; return the exit code."""
    args = _parse(argv)
    set_up_console(is_main=True)
    with user_errors_shown(is_common_shown=True):
        check_places({"--json": args.json, "--page": args.page}, [args.cfg])
        if args.device == "cuda" and not torch.cuda.is_available():
            raise ValueError(
                "--device cuda: this machine has no CUDA GPU; --device cpu measures it"
            )
        args.folder.mkdir(parents=True, exist_ok=True)
        setting = _setting(args)
        if setting.emulates_bf16:
            _log.info("this CPU has no bf16 products: figures are of float32 alone")
        for name in args.sections:
            (SECTIONS | GPU_SECTIONS)[name](setting)
        if args.page:
            write_page(args.page, args.json)
    return 0


def describe(device: torch.device) -> str:
    """Name what computes: the GPU, or the number of cores."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{num_cores()} CPU cores"


def _setting(args: argparse.Namespace) -> Setting:
    device = torch.device(args.device)
    common = {
        "config": Path(args.cfg).stem,
        "device": describe(device),
        "torch": torch.__version__,
        "tiny": args.tiny,
    }
    setting = Setting(
        config=args.cfg,
        overrides=args.overrides,
        device=device,
        seconds=args.seconds,
        is_tiny=args.tiny,
        report=Report(args.json, common, judges=not args.tiny),
        folder=args.folder,
        peak=args.peak_tflops * 1e12,
        profiles=args.profile,
        compares_timm=args.vs_timm,
        workers=args.workers,
    )
    setting.cfg()  # a fault in the config is told before anything is measured
    return setting


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add, positive = parser.add_argument, positive_number()
    add("--cfg", default=CONFIG, help="yml of what is measured (%(default)s)")
    add("--json", type=Path, metavar="OUT", help="append a JSON line for each measurement")
    add("--page", type=Path, metavar="MD", help="at the end, write --json as a page")
    add("--device", choices=("cpu", "cuda"), default=_default_device())
    add("--tiny", action="store_true", help="tiny network and videos: tries the code alone")
    add("--seconds", type=positive, default=10.0, help="for each measurement (%(default)s)")
    add("--workers", type=_numbers, default=[1, num_cores()], metavar="N,N", help="loaders")
    add("--profile", action="store_true", help="with train: a trace, and where the time goes")
    add("--vs-timm", action="store_true", help="with model: beside timm's ViT")
    add("--peak-tflops", type=positive, default=PEAK / 1e12, metavar="X", help="of the card, bf16")
    add("--folder", type=Path, default=Path("runs/benchmark"), help="for drawn videos, traces")
    add("words", nargs="*", metavar="SECTION or KEY VALUE", help="then config keys")
    args = parser.parse_intermixed_args(argv)
    known = [word for word in args.words if word in SECTIONS or word in GPU_SECTIONS]
    args.sections = known or ([*SECTIONS] if not args.page else [])
    args.overrides = [word for word in args.words if word not in known]
    if args.overrides and "." not in args.overrides[0] and not args.overrides[0].isupper():
        names = ", ".join([*SECTIONS, *GPU_SECTIONS])
        parser.error(f"{args.overrides[0]!r} is no section; there are {names}")
    if args.page and not args.json:
        parser.error("--page writes what is in --json FILE; name it")
    return args


def _default_device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def _numbers(text: str) -> list[int]:
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if not numbers or min(numbers) < 1:
        raise argparse.ArgumentTypeError(f"takes numbers from 1 as 8,16, got {text!r}")
    return numbers


if __name__ == "__main__":
    sys.exit(main())
