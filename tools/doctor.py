"""Says before a run what would break it or spoil it: one verdict, each finding with its remedy.

    python tools/doctor.py --cfg YML [--checkpoint FILE] [--sample N|all] [--workers N]
        [--processes N] [--json OUT] [--damaged OUT] [--skip-speed] [KEY VALUE ...]

Looks at this Python and machine, the lists line by line, the files, the classes, the weights,
batch and learning rate, the disk, and how fast clips come against what the model takes. Nothing in
the run folder or the data is changed. Exit code 0: ready, 1: something must be mended.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

from config import load_cfg
from config.option_numbers import whole_number
from engine.run_log import set_up_console
from engine.user_errors import user_errors_shown
from tools.diagnosis.data_findings import check_classes, check_files, check_lists
from tools.diagnosis.examination import Examination
from tools.diagnosis.findings import ERROR, Check, Diagnosis, findings_of
from tools.diagnosis.machine_findings import check_devices, check_python, check_shared_memory
from tools.diagnosis.speed_findings import check_speed
from tools.diagnosis.training_findings import check_batch, check_disk, check_teacher, check_weights
from tools.launching.check_environment import num_cores, num_processes
from tools.writing.places import check_places

CHECKS: dict[str, Check[Examination]] = {  # in this order: later ones use what earlier ones read
    "Python": check_python,
    "devices": check_devices,
    "lists": check_lists,
    "classes": check_classes,
    "files": check_files,
    "weights": check_weights,
    "teacher": check_teacher,
    "batch and learning rate": check_batch,
    "disk": check_disk,
    "shared memory": check_shared_memory,
    "speed": check_speed,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Examine what the command line names; return the exit code."""
    args = _parse(argv)
    set_up_console(is_main=True)
    with user_errors_shown(is_common_shown=True):
        cfg = load_cfg(args.cfg, args.overrides)
        lists = (cfg.DATA.TRAIN_LIST, cfg.DATA.VAL_LIST, cfg.DATA.TEST_LIST, cfg.DATA.CLASS_NAMES)
        places = {"--json": args.json, "--damaged": args.damaged}
        check_places(places, [args.cfg, args.checkpoint, *lists], makes_folders=False)
        examination = Examination(
            cfg=cfg,
            num_processes=args.processes or num_processes(),
            checkpoint=args.checkpoint,
            sample=args.sample,
            num_workers=args.workers,
            damaged=args.damaged,
        )
        names = [name for name in CHECKS if not (name == "speed" and args.skip_speed)]
        return examine(examination, names, args.json)


def examine(examination: Examination, names: Sequence[str], json: Path | None) -> int:
    """Run checks by name, show what they find; return the exit code."""
    report = Diagnosis()
    try:
        for name in names:
            report.open(name)
            for finding in findings_of(CHECKS[name], examination):
                report.add(name, finding)
    except KeyboardInterrupt:
        sys.stdout.write("\nstopped by the user\n")
        return 130
    finally:
        if json is not None:
            report.write_json(json)
    sys.stdout.write(f"verdict: {report.verdict}\n")
    return 1 if report.num(ERROR) else 0


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--cfg", required=True, help="yml file of the experiment")
    add("--checkpoint", default="", metavar="FILE", help="what --tune_from or --resume will get")
    add(
        "--sample",
        type=number_or_all,
        default=200,
        metavar="N|all",
        help="files of each list to open",
    )
    add(
        "--workers",
        type=whole_number(most=512),
        default=num_cores(),
        help="processes for the files",
    )
    add(
        "--processes",
        type=whole_number(most=10_000),
        default=0,
        help="of the training; default: as train.sh starts",
    )
    add("--json", type=Path, metavar="OUT", help="write the findings for machines")
    add("--damaged", type=Path, metavar="OUT", help="write the damaged videos, a line each")
    add("--skip-speed", action="store_true", help="do not measure loading and model")
    add("overrides", nargs="*", metavar="KEY VALUE", help="config keys; KEY=VALUE too")
    return parser.parse_intermixed_args(argv)


def number_or_all(text: str) -> int | None:
    """Read a number of files, None for all."""
    number = None if text == "all" else int(text)
    if number is not None and number < 1:
        raise argparse.ArgumentTypeError(f"takes a number from 1 or 'all', got {text!r}")
    return number


if __name__ == "__main__":
    sys.exit(main())
