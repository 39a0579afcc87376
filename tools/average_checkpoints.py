r"""Average the weights of saved checkpoints into one that --evaluate and --tune_from take.

    python tools/average_checkpoints.py --output runs/x/averaged.pth \
        runs/x/epoch_8.pth runs/x/epoch_9.pth runs/x/epoch_10.pth [--update-bn] [KEY VALUE ...]

Of each file that is averaged which a test of it would load: its moving average where it has one.
Config, class names and preprocessing are those of the last file, which the others must agree with.
"""

import argparse
import logging
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from yacs.config import CfgNode

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

from config import begins_override, load_cfg, load_cfg_text
from config.loading import all_leaves
from datasets.annotations import read_class_names
from datasets.loaders import build_train_loader, read_records
from engine.averaging import update_average
from engine.checkpoint_folder import write_checkpoint
from engine.checkpoints import build_description
from engine.distributed import World
from engine.run import Run
from engine.run_log import set_up_console
from engine.user_errors import user_errors_shown
from models import build_model
from models.pretrained import State, fit_weights, weights_of
from models.weights.checkpoint_file import read_checkpoint
from models.weights.finite_weights import check_finite, check_floating
from models.weights.load_report import LoadReport
from tools.writing.places import check_places

_log = logging.getLogger("average")

_STATISTICS = (".running_mean", ".running_var")
_TRAINING_ONLY = (  # keys that may differ between models of one kind
    "MODEL.CHECKPOINTS_BLOCKS",
    "MODEL.DROP_PATH",
    "MODEL.HEAD_INIT",
    "MODEL.PARTIAL_BN",
    "MODEL.TSM.DROPOUT",
    "MODEL.VIT.DROPOUT",
)


@dataclass(frozen=True)
class Checkpoint:
    """A file's weights and how it describes itself.

    Attributes:
        path: Path of the file.
        state: Weights, under our names.
        kind: Kind of the file, and which of its weights these are.
        cfg: Config of the experiment; None where the file does not hold it.
        class_names: Names of the classes by label; empty where the file does not hold them.
    """

    path: str
    state: State
    kind: str
    cfg: CfgNode | None
    class_names: list[str]


def main(argv: Sequence[str] | None = None) -> None:
    """Average the files of the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--output", required=True, metavar="FILE", help="the mean")
    parser.add_argument("--cfg", help="yml of the experiment, for files without their config")
    parser.add_argument(
        "--update-bn",
        action="store_true",
        help="recompute the statistics of batch norms by a pass over the training clips",
    )
    parser.add_argument("words", nargs="+", metavar="FILE", help="checkpoints, then KEY VALUE ...")
    args = parser.parse_intermixed_args(argv)
    set_up_console(is_main=True)
    paths = list(takewhile(lambda word: not begins_override(word), args.words))
    with user_errors_shown(is_common_shown=True):
        average(paths, args.output, args.words[len(paths) :], args.cfg, args.update_bn)


def average(
    paths: Sequence[str],
    output: str,
    overrides: Sequence[str] = (),
    cfg_path: str | None = None,
    updates_bn: bool = False,
) -> None:
    """Write the mean of the weights of checkpoints.

    Args:
        paths: Paths of the checkpoints.
        output: Path of the mean.
        overrides: Words KEY VALUE KEY=VALUE ..., on top of the config of the last checkpoint.
        cfg_path: Path of a yml file in place of that config.
        updates_bn: Whether the statistics of batch norms are recomputed on training clips.

    Raises:
        ValueError: There are fewer than two files, one cannot be read or is the output, the output
            cannot be written, or they are not of one model and experiment; or a pass over the clips
            is asked for without any config.
    """
    if len(paths) < 2:
        raise ValueError(f"a mean takes at least two checkpoints, got {list(paths)}")
    place = Path(output)
    if place.exists() and any(Path(p).exists() and place.samefile(p) for p in paths):
        raise ValueError(f"--output {output} is one of the checkpoints; name another file")
    check_places({"--output": place}, [cfg_path])
    mean = RunningMean()
    for path in paths:
        last = read(path)
        mean.add(last)
        _log.info("%s (%s): %d tensors", path, last.kind, len(last.state))
    cfg = config_of(last, overrides, cfg_path)
    if cfg is None and (updates_bn or overrides):
        raise ValueError(f"{last.path} does not hold its config; name one with --cfg")
    state = mean.state()
    if updates_bn and cfg is not None:
        state = with_own_statistics(state, cfg, last)
    elif any(name.endswith(_STATISTICS) for name in state):
        _log.warning(
            "the statistics of the batch norms are means too and do not fit the averaged weights; "
            "--update-bn recomputes them on the training clips"
        )
    content: dict[str, Any] = {"state_dict": state, "averaged_from": list(paths)}
    if cfg is not None:
        content |= build_description(cfg, last.class_names or _class_names(cfg))
    write_checkpoint(place, content)
    _log.info("mean of %d checkpoints: %s", len(paths), output)


class RunningMean:
    """Adds up the weights of checkpoints of one model in float64."""

    def __init__(self) -> None:
        self.first: Checkpoint | None = None
        self.last: Checkpoint
        self.total: State = {}
        self.count = 0

    def add(self, checkpoint: Checkpoint) -> None:
        """Take in another checkpoint.

        Raises:
            ValueError: It is not of the first one's model and experiment.
        """
        if self.first is not None:
            check_agreement(self.first, checkpoint)
        for name, value in checkpoint.state.items():
            if value.is_floating_point():
                self.total[name] = self.total.get(name, 0) + value.double()
        self.first = self.first or checkpoint
        self.last, self.count = checkpoint, self.count + 1

    def state(self) -> State:
        """Return the mean in the types of the weights; what is no float comes from the last."""
        return {
            name: (self.total[name] / self.count).to(value.dtype) if name in self.total else value
            for name, value in self.last.state.items()
        }


def read(path: str) -> Checkpoint:
    """Read a checkpoint: the weights that a test of it would load.

    Raises:
        ValueError: It cannot be read, or holds no weights that our models know, or none that are
            finite.
    """
    content = read_checkpoint(path)
    text, model = content.get("config"), None
    cfg = load_cfg_text(text, f"the config in {path}") if text and isinstance(text, str) else None
    if cfg is not None:
        with torch.device("meta"):  # its names alone are asked for
            model = build_model(cfg)
    state, report = weights_of(content, path, model)
    check_floating(state, path)
    check_finite(state, path)
    return Checkpoint(path, state, report.kind, cfg, list(content.get("class_names", ())))


def config_of(
    checkpoint: Checkpoint, overrides: Sequence[str], cfg_path: str | None
) -> CfgNode | None:
    """Return the config of a yml file, else of the checkpoint, with overrides; None without any."""
    if cfg_path:
        return load_cfg(cfg_path, overrides)
    if checkpoint.cfg is None:
        return None
    return load_cfg_text(checkpoint.cfg.dump(), f"the config in {checkpoint.path}", overrides)


def check_agreement(first: Checkpoint, other: Checkpoint) -> None:
    """Reject a checkpoint whose weights are not of the same model and experiment.

    Raises:
        ValueError: The weights are not; the text says in what they differ.
    """
    shapes = [_shapes(checkpoint.state) for checkpoint in (first, other)]
    faults = _differences(*shapes)
    if not faults and first.cfg is not None and other.cfg is not None:
        faults = _differences(_defining(first.cfg), _defining(other.cfg))
    if not faults and first.class_names != other.class_names:
        faults = ["the class names"]
    if faults:
        raise ValueError(
            f"{first.path} and {other.path} are not of the same model and experiment, their mean "
            "would mean nothing; they differ in:\n  " + "\n  ".join(faults[:10])
        )


def with_own_statistics(state: State, cfg: CfgNode, source: Checkpoint) -> State:
    """Return weights whose batch norms have the statistics of the config's training clips."""
    if not any(name.endswith(_STATISTICS) for name in state):
        _log.warning("the model has no batch norms: --update-bn has nothing to do")
        return state
    model = build_model(cfg)
    fit_weights(model, state, LoadReport(source.path, source.kind), head_may_differ=False)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    world = World(rank=0, size=1, local_rank=0, device=device)
    loader = build_train_loader(cfg, read_records(cfg, "train"), rank=0, world_size=1)
    update_average(model.to(device), loader, Run(cfg, world))
    return {name: value.cpu() for name, value in model.state_dict().items()}


def _class_names(cfg: CfgNode) -> list[str]:
    return read_class_names(cfg.DATA.CLASS_NAMES, cfg.MODEL.NUM_CLASSES)


def _shapes(state: Mapping[str, Tensor]) -> dict[str, Any]:
    return {name: tuple(value.shape) for name, value in state.items()}


def _defining(cfg: CfgNode) -> dict[str, Any]:
    """Return what the weights are for: the keys of the model, and what its clips look like."""
    keys = {
        key: value
        for key, value in all_leaves(cfg)
        if key.startswith("MODEL.") and key not in _TRAINING_ONLY
    }
    return keys | build_description(cfg, [])["preprocessing"]


def _differences(first: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    missing = "nothing"
    return [
        f"{name}: {first.get(name, missing)} and {other.get(name, missing)}"
        for name in dict.fromkeys([*first, *other])
        if first.get(name, missing) != other.get(name, missing)
    ]


if __name__ == "__main__":
    main()
