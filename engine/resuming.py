"""How a run goes on from a checkpoint, ours or a released one, and what it says of a difference."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from yacs.config import CfgNode

from config.changes import value_before
from config.class_names import check_same_names
from config.smoke_run import FLAG, smoke_iterations
from engine.checkpoint_folder import BestRecord
from engine.checkpoints import TrainingList
from engine.distributed import World
from engine.learner import Learner
from engine.mutual import models_by_prefix
from engine.position import Position
from engine.run_differences import differences, has_same_draws
from models.pretrained import STUDENT, fit_weights, weights_of
from models.weights.checkpoint_file import WEIGHTS_ALONE, read_checkpoint
from models.weights.released_tokshift import is_released, momentum_from_released

_log = logging.getLogger(__name__)

NEEDED = ("epoch", "state_dict", "optimizer")


@dataclass(frozen=True)
class Start:
    """Where a training begins.

    Attributes:
        position: The place before its first batch.
        best: Highest validation top-1 before, percent; -1 in a fresh run.
        awaits_validation: Whether the run was broken off between the end of an epoch and its
            validation, which then comes first.
        meters: Sums that this process's `Progress` goes on from; empty at an epoch's beginning.
        bad_videos: The unreadable training videos known by now, by place in the list.
        top1s: Top-1 of each validation before, percent, by number of finished epochs.
    """

    position: Position
    best: float = -1.0
    awaits_validation: bool = False
    meters: Sequence[float] = ()
    bad_videos: Mapping[int, str] = field(default_factory=dict)
    top1s: Mapping[int, float] = field(default_factory=dict)


def resume(learner: Learner, path: str, world: World) -> dict[str, Any]:
    """Take up model, optimizer, averages and random states where a checkpoint left off.

    Settings of the optimizer are those of the config.

    Args:
        learner: Learner that is trained from here on.
        path: Path of a checkpoint of ours or a released one.
        world: Rank and device of this process, and the number of processes.

    Returns:
        The content of the checkpoint.

    Raises:
        ValueError: The file is no training checkpoint, does not fit the model, or holds values that
            are not finite.
    """
    content = read_training_checkpoint(path)
    for prefix, model in models_by_prefix(learner.model).items():
        _take_up(model, content["state_dict"], prefix, path)
    momentum = content["optimizer"]["state"]
    if is_released(content["state_dict"]):
        momentum = _in_groups(momentum_from_released(content, learner.model), learner)
    else:
        _check_groups(content["optimizer"], learner.optimizer, path)
    _check_average(content, learner, path)
    learner.load_state(momentum, content)
    not_finite = learner.not_finite()
    if not_finite:
        raise ValueError(f"{path}: {not_finite}; go on from a checkpoint before it")
    states = content.get("rng", [])
    if len(states) == world.size:
        _set_rng_state(states[world.rank], world)
    return content


def find_start(
    content: Mapping[str, Any],
    validated: BestRecord,
    cfg: CfgNode,
    training_list: TrainingList,
    batches_per_epoch: int,
    world: World,
) -> Start:
    """Return where a run goes on that took up a checkpoint, and say what it does differently.

    An epoch that was broken off goes on with its next clip. Where its clips were drawn from another
    list or in another order, it begins anew.

    Args:
        content: Content of the checkpoint.
        validated: Results of the validations in the checkpoint's folder.
        cfg: Config of this run.
        training_list: List that this run trains on.
        batches_per_epoch: Number of batches of each process in an epoch of this run.
        world: Rank and device of this process, and the number of processes.

    Raises:
        ValueError: The classes of the checkpoint are not those of this run.
    """
    check_same_names(
        training_list.class_names,
        content.get("class_names", []),
        "the checkpoint",
        "--resume goes on with the same classes in the same order, --tune_from with "
        "TRAIN.TUNE_DROPS_HEAD True starts a run for others",
    )
    _check_kind_of_labels(content, cfg)
    for line in differences(content, cfg, training_list, world):
        _log.warning("goes on with a difference: %s", line)
    position = Position.of(content, batches_per_epoch)
    meters = _meters(content.get("meters", []), world)
    same_list = content.get("training_list", {}).get("sha256") == training_list.sha256
    if position.offset and not (same_list and has_same_draws(content, cfg)):
        _log.warning(
            "epoch %d begins anew, with %d clips of it trained on already: its clips are drawn "
            "from another list, or with another SEED, AUG.REPEATS or DATA.BALANCE",
            *(position.epoch + 1, position.offset),
        )
        position, meters = replace(position, offset=0), ()
    if not position.offset:
        position = replace(position, dealt_to=world.size)
    is_ours = "position" in content
    top1s = {**content.get("val_top1s", {}), **validated.top1s}
    return Start(
        position,
        max(best_of(content), validated.top1),
        is_ours and not position.offset and validated.validated < position.epoch,
        meters,
        content.get("bad_videos", {}) if same_list else {},
        {epoch: top1 for epoch, top1 in top1s.items() if epoch <= position.epoch},
    )


def _check_kind_of_labels(content: Mapping[str, Any], cfg: CfgNode) -> None:
    """Reject a run whose loss and best figure are of the other kind of labels."""
    theirs = value_before(content.get("config", ""), "DATA.MULTI_LABEL")
    if theirs != cfg.DATA.MULTI_LABEL:
        raise ValueError(
            f"the checkpoint is of a run with DATA.MULTI_LABEL {theirs}, now it is "
            f"{cfg.DATA.MULTI_LABEL}: --resume goes on with the same run, --tune_from starts "
            "another from its weights"
        )


def read_training_checkpoint(path: str) -> dict[str, Any]:
    """Read a checkpoint that training can go on from.

    Raises:
        ValueError: It holds weights alone; the text says that --tune_from takes those.
    """
    hint = "--resume takes a checkpoint of a training run; to start from these weights: --tune_from"
    if path.endswith(WEIGHTS_ALONE) or Path(path).is_dir():
        raise ValueError(f"{path} holds weights only. {hint} {path}")
    content = read_checkpoint(path)
    if iterations := smoke_iterations(content.get("config")):
        raise ValueError(
            f"{path} is of a smoke run ({FLAG} {iterations}), which nothing goes on from; begin "
            "the run without --resume, or name the checkpoint of a real one"
        )
    missing = [key for key in NEEDED if key not in content]
    if missing:
        raise ValueError(f"{path} holds no {', '.join(missing)}. {hint} {path}")
    return content


def best_of(content: Mapping[str, Any]) -> float:
    """Return the best validation top-1 that a checkpoint remembers, percent."""
    return float(content.get("best_acc1", content.get("best_prec1", -1.0)))


def _take_up(model: torch.nn.Module, state_dict: Mapping[str, Any], prefix: str, path: str) -> None:
    """Load the trained weights, not their average, of the model whose names have a prefix."""
    own = {k.removeprefix(prefix): v for k, v in state_dict.items() if k.startswith(prefix)}
    has_pair = any(name.startswith(STUDENT) for name in state_dict)
    if has_pair != bool(prefix):
        raise ValueError(
            f"{path} holds {'two models' if has_pair else 'one model'}, this run trains "
            f"{'two' if prefix else 'one'}; --resume needs the DISTILL.LOSS of the run it takes up"
        )
    state, report = weights_of({"state_dict": own}, path, model)
    fit_weights(model, state, report, head_may_differ=False)
    if report.resized:
        raise ValueError(
            f"{path} was trained at another image size or number of frames; --resume goes on with "
            "the same run, --tune_from starts a new one from its weights"
        )
    _log.info("%s", report)


def _check_groups(saved: Mapping[str, Any], optimizer: torch.optim.Optimizer, path: str) -> None:
    """Reject a momentum that lies in other groups: it is kept by number, not by name."""
    theirs = [len(group["params"]) for group in saved["param_groups"]]
    ours = [len(group["params"]) for group in optimizer.param_groups]
    if theirs != ours:
        raise ValueError(
            f"{path} was trained with optimizer groups of {theirs} parameters, this run has "
            f"{ours}; --resume needs the OPTIM.GROUPS and MODEL.PARTIAL_BN of the run it takes up, "
            "its TRAIN.FREEZE, and its OPTIM.LAYER_DECAY on or off"
        )


def _in_groups(momentum: Mapping[int, Any], learner: Learner) -> dict[int, Any]:
    """Number a momentum by the optimizer's groups in place of the model's parameters."""
    grouped = [id(p) for group in learner.optimizer.param_groups for p in group["params"]]
    numbers = {parameter: number for number, parameter in enumerate(grouped)}
    return {
        numbers[id(parameter)]: momentum[index]
        for index, parameter in enumerate(learner.model.parameters())
        if index in momentum and id(parameter) in numbers
    }


def _check_average(content: Mapping[str, Any], learner: Learner, path: str) -> None:
    """Reject a mean of weights that this run would not have taken in by now."""
    held = content.get("swa_epochs", [])
    due = [epoch for epoch in learner.swa_epochs if epoch <= content["epoch"]]
    if learner.swa and not set(held) <= set(due):
        raise ValueError(
            f"{path} holds the mean of the weights after epochs {held}, under this run's TRAIN.SWA "
            f"it would be after {due}; --resume needs the TRAIN.SWA of the run it takes up, or "
            "TRAIN.SWA.START_EPOCH 0 to leave the mean out"
        )


def _set_rng_state(states: Mapping[str, torch.Tensor], world: World) -> None:
    torch.set_rng_state(states["cpu"])
    if world.device.type == "cuda" and "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"], world.device)


def _meters(saved: Sequence[Sequence[float]], world: World) -> Sequence[float]:
    """Return this process's meters; the sum of all on rank 0 where the processes were others."""
    if len(saved) == world.size:
        return saved[world.rank]
    if not world.is_main or not all(saved):
        return ()
    return [sum(values) for values in zip(*saved, strict=True)]
