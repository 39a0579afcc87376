"""What a training checkpoint holds, and how a run goes on from one: ours or a released one."""

import logging
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from yacs.config import CfgNode

from engine.distributed import World, gather_objects
from engine.learner import Learner
from engine.mutual import models_by_prefix
from models.pretrained import STUDENT, fit_weights, weights_of
from models.weights.checkpoint_file import WEIGHTS_ALONE, read_checkpoint
from models.weights.released_tokshift import (
    is_released,
    momentum_from_released,
    momentum_to_released,
    to_released,
)

_log = logging.getLogger(__name__)

NEEDED = ("epoch", "state_dict", "optimizer")


def build_checkpoint(
    cfg: CfgNode, learner: Learner, epoch: int, best: float, class_names: list[str], world: World
) -> dict[str, Any] | None:
    """Return the checkpoint after a 0-based epoch, on rank 0; None elsewhere.

    It describes itself: config, class names and preprocessing lie beside weights, optimizer,
    average and the random states of all processes. Everything in it loads with ``weights_only``.

    Args:
        cfg: The config.
        learner: What is trained.
        epoch: Just finished, 0-based; the checkpoint counts finished epochs, as released.
        best: Highest validation top-1 so far, percent.
        class_names: By label.
        world: Where this process stands; all processes call together.
    """
    rng_states = gather_objects(_rng_state(world), world)
    if rng_states is None:
        return None
    content = learner.state() | {
        "epoch": epoch + 1,
        "best_acc1": best,
        "scheduler": {"last_epoch": epoch + 1, "base_lrs": [cfg.OPTIM.LR]},
        "rng": rng_states,
    }
    if cfg.TRAIN.CHECKPOINT_LAYOUT == "released":
        content = _as_released(content, learner)
    return content | build_description(cfg, class_names)


def build_average(
    cfg: CfgNode, average: nn.Module, num_averaged: int, top1: float, class_names: list[str]
) -> dict[str, Any]:
    """Return the checkpoint of averaged weights, to be tested or fine-tuned; it describes itself.

    Args:
        cfg: The config.
        average: A model whose weights are the average.
        num_averaged: How many epochs' weights entered it.
        top1: Its validation top-1, percent.
        class_names: By label.
    """
    state = average.state_dict()
    if cfg.TRAIN.CHECKPOINT_LAYOUT == "released":
        state = _named_as_released(state)
    content = {"state_dict": state, "num_averaged": num_averaged, "val_top1": top1}
    return content | build_description(cfg, class_names)


def build_description(cfg: CfgNode, class_names: list[str]) -> dict[str, Any]:
    """Return what makes a checkpoint describe itself: config, class names and preprocessing."""
    return {
        "config": cfg.dump(),
        "class_names": class_names,
        "preprocessing": describe_preprocessing(cfg),
    }


def describe_preprocessing(cfg: CfgNode) -> dict[str, Any]:
    """Return what became of a video before the model saw it, as plain values."""
    data = cfg.DATA
    return {
        "num_frames": data.NUM_FRAMES,
        "frame_stride": data.FRAME_STRIDE,
        "sampling": data.SAMPLING,
        "short_side": data.TEST_SHORT_SIDE,
        "image_size": data.IMAGE_SIZE,
        "mean": list(data.PIXEL_MEAN),
        "std": list(data.PIXEL_STD),
    }


def resume(learner: Learner, path: str, world: World) -> tuple[int, float]:
    """Take up training where a checkpoint, ours or a released one, left off.

    Settings of the optimizer are those of the config.

    Returns:
        Epochs done and the best validation top-1 so far.

    Raises:
        ValueError: The file is no training checkpoint or does not fit the model.
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
    states = content.get("rng", [])
    if len(states) == world.size:
        _set_rng_state(states[world.rank], world)
    _log.info(
        "resumed %s after %d epochs, best top-1 %.2f", path, content["epoch"], best_of(content)
    )
    return content["epoch"], best_of(content)


def read_training_checkpoint(path: str) -> dict[str, Any]:
    """Read a checkpoint that training can go on from.

    Raises:
        ValueError: It holds weights alone; says that --tune_from takes those.
    """
    hint = "--resume takes a checkpoint of a training run; to start from these weights: --tune_from"
    if path.endswith(WEIGHTS_ALONE):
        raise ValueError(f"{path} holds weights only. {hint} {path}")
    content = read_checkpoint(path)
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
            "and its OPTIM.LAYER_DECAY on or off"
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


def _as_released(content: dict[str, Any], learner: Learner) -> dict[str, Any]:
    """Rename the tensors so that the released code reads the file; the rest stays beside them."""
    weights = _named_as_released(content["state_dict"])
    optimizer = content["optimizer"]
    groups = [group | {"params": list(range(len(weights)))} for group in optimizer["param_groups"]]
    states = momentum_to_released(optimizer["state"], learner.model)
    return content | {
        "state_dict": weights,
        "optimizer": {"state": states, "param_groups": groups},
    }


def _named_as_released(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {f"module.{name}": value for name, value in to_released(state).items()}


def _rng_state(world: World) -> dict[str, torch.Tensor]:
    states = {"cpu": torch.get_rng_state()}
    if world.device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(world.device)
    return states


def _set_rng_state(states: Mapping[str, torch.Tensor], world: World) -> None:
    torch.set_rng_state(states["cpu"])
    if world.device.type == "cuda" and "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"], world.device)
