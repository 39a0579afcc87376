"""What a training checkpoint holds, and how a run goes on from one: ours or a released one."""

import logging
from collections.abc import Mapping
from typing import Any

import torch
from yacs.config import CfgNode

from models.pretrained import (
    LoadReport,
    fit_weights,
    is_released,
    momentum_from_released,
    momentum_to_released,
    to_released,
    weights_of,
)
from ops.checkpoint import read_checkpoint
from ops.distributed import World, gather_objects
from ops.learner import Learner

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
    data = cfg.DATA
    content = learner.state() | {
        "epoch": epoch + 1,
        "best_acc1": best,
        "scheduler": {"last_epoch": epoch + 1, "base_lrs": [cfg.OPTIM.LR]},
        "rng": rng_states,
        "config": cfg.dump(),
        "class_names": class_names,
        "preprocessing": {
            "num_frames": data.NUM_FRAMES,
            "frame_stride": data.FRAME_STRIDE,
            "sampling": data.SAMPLING,
            "short_side": data.TEST_SHORT_SIDE,
            "image_size": data.IMAGE_SIZE,
            "mean": list(data.PIXEL_MEAN),
            "std": list(data.PIXEL_STD),
        },
    }
    return _as_released(content, learner) if cfg.TRAIN.CHECKPOINT_LAYOUT == "released" else content


def resume(learner: Learner, path: str, world: World) -> tuple[int, float]:
    """Take up training where a checkpoint, ours or a released one, left off.

    Settings of the optimizer are those of the config.

    Returns:
        Epochs done and the best validation top-1 so far.

    Raises:
        ValueError: The file is no training checkpoint or does not fit the model.
    """
    content = read_training_checkpoint(path)
    source = {"state_dict": content["state_dict"]}  # the trained weights, not their average
    state, kind, ignored = weights_of(source, path)
    report = fit_weights(
        learner.model, state, LoadReport(path, kind, ignored=ignored), head_may_differ=False
    )
    if report.resized:
        raise ValueError(
            f"{path} was trained at another image size; --resume goes on with the same run, "
            "--tune_from starts a new one from its weights"
        )
    _log.info("%s", report)
    momentum = content["optimizer"]["state"]
    if is_released(content["state_dict"]):
        momentum = _in_groups(momentum_from_released(content, learner.model), learner)
    else:
        _check_groups(content["optimizer"], learner.optimizer, path)
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
    if path.endswith(".npz"):
        raise ValueError(f"{path} holds weights only. {hint} {path}")
    content = read_checkpoint(path)
    missing = [key for key in NEEDED if key not in content]
    if missing:
        raise ValueError(f"{path} holds no {', '.join(missing)}. {hint} {path}")
    return content


def best_of(content: Mapping[str, Any]) -> float:
    """Return the best validation top-1 that a checkpoint remembers, percent."""
    return float(content.get("best_acc1", content.get("best_prec1", -1.0)))


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


def _as_released(content: dict[str, Any], learner: Learner) -> dict[str, Any]:
    """Rename the tensors so that the released code reads the file; the rest stays beside them."""
    weights = to_released(content["state_dict"])
    optimizer = content["optimizer"]
    groups = [group | {"params": list(range(len(weights)))} for group in optimizer["param_groups"]]
    states = momentum_to_released(optimizer["state"], learner.model)
    return content | {
        "state_dict": {f"module.{name}": value for name, value in weights.items()},
        "optimizer": {"state": states, "param_groups": groups},
    }


def _rng_state(world: World) -> dict[str, torch.Tensor]:
    states = {"cpu": torch.get_rng_state()}
    if world.device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(world.device)
    return states


def _set_rng_state(states: Mapping[str, torch.Tensor], world: World) -> None:
    torch.set_rng_state(states["cpu"])
    if world.device.type == "cuda" and "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"], world.device)
