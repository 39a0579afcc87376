"""The command line of the main script: the release's flags with their meanings, and ours."""

import argparse
import logging
import sys
from collections.abc import Mapping
from typing import Any

from yacs.config import CfgNode

from config.checks import COMMAND_LINE
from config.final_values import final_values
from config.flag_hints import flag_hint
from config.key_help import shown_keys
from config.loading import KEYS, begins_override, keys_set_by, load_with_sources
from config.option_numbers import MAX_SEED, whole_number
from config.overrides import override_pairs
from config.shell_paths import expanded
from config.smoke_run import FLAG
from config.weight_index import fetch_hint


def parse_args(argv: list[str]) -> argparse.Namespace:
    """Read the command line: the release's flags, a few of ours, then keys with their values."""
    # train.sh has the launcher read the same words first: usage must not name the launcher
    parser = argparse.ArgumentParser(prog="main_ddp_shift.py", description=__doc__)
    add = parser.add_argument
    add("--cfg", "--cfg_file", help="yml file of the experiment, ours or a released flat one")
    add("--tune_from", metavar="FILE", help="start a new run from these weights; or timm:NAME")
    add(
        "--resume",
        metavar="FILE",
        help="go on from, or test, a checkpoint; bare: the run's newest; auto: the same, or a "
        "fresh run where there is none",
    )
    add("-e", "--evaluate", "--eval", action="store_true", help="test --resume FILE with all views")
    add("--output", metavar="DIR", help="run folder, instead of OUTPUT_DIR")
    add("--seed", type=whole_number(most=MAX_SEED), help="instead of SEED")
    add(
        "--start-epoch",
        type=whole_number(),
        default=0,
        help="first epoch of a run without --resume",
    )
    add(
        "-j",
        "--workers",
        type=whole_number(least=-1),
        help="loader processes, instead of DATA.WORKERS; -1: a share of the cores",
    )
    add(
        "-p",
        "--print-freq",
        type=whole_number(),
        help="iterations a log line, instead of TRAIN.PRINT_FREQ",
    )
    add("--amp", action="store_true", help="mixed precision, bf16 where the device has it")
    add(
        FLAG,
        type=whole_number(least=1),
        metavar="N",
        help="smoke run of the whole path: N batches of one epoch, of validation and test, into "
        "OUTPUT_DIR_smoke; see TRAIN.MAX_ITERATIONS",
    )
    add("--gpu", type=whole_number(), help="the one GPU to use")
    add("--multiprocessing-distributed", action="store_true", help="a process for each GPU here")
    add(
        "--world-size",
        type=whole_number(least=-1),
        default=-1,
        help="hosts with the flag above, else processes",
    )
    add("--rank", type=whole_number(least=-1), default=-1, help="of this host or process")
    add("--dist-url", default="", help="tcp://HOST:PORT of rank 0; default: a free port here")
    add("--dist-backend", choices=("nccl", "gloo"), default="", help="default: what suits")
    add(
        "--print-config",
        action="store_true",
        help="write the final values as a yml, each with where it was set, and end",
    )
    add(
        "--keys",
        action=_ShowKeys,
        metavar="PATTERN",
        help="explain the config keys that have this in their name ('*': all), and end",
    )
    add("overrides", nargs="*", metavar="KEY VALUE", help="config keys; KEY=VALUE too")
    words = _with_bare_resume(argv)
    args, unknown = parser.parse_known_intermixed_args(words)
    if unknown:
        parser.error(_about_unknown(unknown, words))
    for name in ("cfg", "tune_from", "resume", "output"):
        _expand(parser, args, name)
    if args.evaluate and args.resume is None:
        parser.error("--evaluate tests the checkpoint that --resume names")
    if not args.cfg and not (args.evaluate and args.resume not in (None, "", "auto")):
        parser.error("--cfg names the experiment; only a test of our own checkpoint can do without")
    if args.tune_from and args.resume not in (None, "auto"):
        parser.error("--tune_from starts a new run and --resume goes on with one; give one of them")
    return args


def overrides_of(args: argparse.Namespace) -> list[str]:
    """Return what a parsed command line sets, KEY VALUE or KEY=VALUE words, flags first."""
    words = [word for key, (_, value) in _set_by_flags(args).items() for word in (key, str(value))]
    return words + args.overrides


def print_config(args: argparse.Namespace, cfg: CfgNode, sources: Mapping[str, str]) -> None:
    """Write the final values of an experiment; each names the file or the flag that set it.

    Args:
        args: Parsed command line.
        cfg: Config that the command line asks for.
        sources: Place where each key was set, if not the command line.
    """
    flags = {key: flag for key, (flag, _) in _set_by_flags(args).items()}
    names = [name for name, _ in override_pairs(args.overrides)]
    words = dict.fromkeys([key for name in names for key in keys_set_by(name)], COMMAND_LINE)
    smoke = {key: source for key, source in sources.items() if source == FLAG}
    title = f"{args.cfg or args.resume}: the final values, with what set each"
    sys.stdout.write(final_values(cfg, {**sources, **flags, **words, **smoke}, title))


def check_command_line(argv: list[str]) -> CfgNode | None:
    """End the program here, before torch is imported, on a fault or a question about the config.

    The questions are --help, --keys and, of a yml file, --print-config. What passes is read again,
    with its warnings, when the run begins.

    Returns:
        The config; None if it is in a checkpoint, which takes torch to read.
    """
    args = parse_args(argv)
    logging.disable(logging.WARNING)
    try:
        for path in filter(None, (args.tune_from, args.resume)):
            if hint := fetch_hint(path):
                raise ValueError(hint)
        if not args.cfg:
            return None
        cfg, sources = load_with_sources(args.cfg, overrides_of(args))
    except ValueError as error:
        sys.stdout.write(f"error: {error}\n")
        sys.exit(1)
    finally:
        logging.disable(logging.NOTSET)
    if args.print_config:
        print_config(args, cfg, sources)
        sys.exit(0)
    return cfg


class _ShowKeys(argparse.Action):
    """Explains keys, as --help does flags: before the rest of the command line is looked at."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: Any, values: Any, option: Any = None
    ) -> None:
        try:
            text = shown_keys(values)
        except ValueError as error:
            parser.error(f"{option}: {error}")
        sys.stdout.write(text)
        parser.exit()


def _set_by_flags(args: argparse.Namespace) -> dict[str, tuple[str, Any]]:
    """Return the keys that flags of the command line set: flag and value."""
    flags = {
        "OUTPUT_DIR": ("--output", args.output),
        "SEED": ("--seed", args.seed),
        "DATA.WORKERS": ("--workers", args.workers),
        "TRAIN.PRINT_FREQ": ("--print-freq", args.print_freq),
        "TRAIN.AMP": ("--amp", "auto" if args.amp else None),
        "TRAIN.MAX_ITERATIONS": (FLAG, args.max_iterations),
    }
    return {key: (flag, value) for key, (flag, value) in flags.items() if value is not None}


def _about_unknown(unknown: list[str], words: list[str]) -> str:
    """Say what to write for the first of the words that are no flags."""
    first = next((word for word in unknown if word.startswith("-")), unknown[0])
    places = [place for place, word in enumerate(words) if word == first]
    followers = words[places[0] + 1 :] if places else []
    return flag_hint(first, followers[0] if followers else "", [*KEYS])


def _expand(parser: argparse.ArgumentParser, args: argparse.Namespace, name: str) -> None:
    """Make ``~`` and variables what they stand for: a shell leaves them alone in --output=~/x."""
    path = getattr(args, name)
    try:
        setattr(args, name, expanded(path, f"--{name}", is_strict=True) if path else path)
    except ValueError as error:
        parser.error(str(error))


def _with_bare_resume(argv: list[str]) -> list[str]:
    """Give --resume an empty value where none follows, so that it does not swallow a KEY."""
    followers = [*argv[1:], "--"]  # one too many for an empty command line
    return [
        "--resume="
        if word == "--resume" and (after.startswith("-") or begins_override(after))
        else word
        for word, after in zip(argv, followers, strict=False)
    ]
