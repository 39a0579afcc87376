"""What a training checkpoint holds, in our layout or the released one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from yacs.config import CfgNode

from engine.distributed import World, gather_objects
from engine.learner import Learner
from engine.position import Position
from models.weights.released_tokshift import momentum_to_released, to_released


@dataclass(frozen=True)
class TrainingList:
    """The training list of a run, as far as a resumed run is compared with it.

    Attributes:
        sha256: Digest of the list; see `datasets.annotations.list_digest`.
        num_videos: Number of its videos.
        class_names: Names of the classes by label.
        clips_per_step: Number of clips of a step, over all processes and accumulated batches.
    """

    sha256: str
    num_videos: int
    class_names: list[str]
    clips_per_step: int


@dataclass(frozen=True)
class OwnState:
    """State that each process has of its own in the middle of an epoch.

    Attributes:
        meters: Sums that `Progress.state` gives; empty between two epochs.
        bad_videos: Unreadable videos that `BadVideos.state` gives.
    """

    meters: Sequence[float] = ()
    bad_videos: Mapping[int, str] = field(default_factory=dict)


def build_checkpoint(
    cfg: CfgNode,
    learner: Learner,
    position: Position,
    best: float,
    training_list: TrainingList,
    world: World,
    own: OwnState | None = None,
    top1s: Mapping[int, float] | None = None,
) -> dict[str, Any] | None:
    """Return the checkpoint of a place between two steps, on rank 0; None elsewhere.

    It describes itself: config, class names, list and preprocessing lie beside weights, optimizer,
    averages and what each process has of its own. Everything in it loads with ``weights_only``.

    Args:
        cfg: Config of the run.
        learner: Model, optimizer and averages that are trained.
        position: Place in the training; the checkpoint counts finished epochs, as released.
        best: Highest validation top-1 before, percent.
        training_list: Digest, size and classes of the list that is trained on.
        world: Rank and device of this process. All processes call this together.
        own: State that this process alone has, besides its random states.
        top1s: Top-1 of each validation before, percent, by number of finished epochs.

    Raises:
        FloatingPointError: A weight or a value of the optimizer or an average is not finite.
    """
    # Looked at first: a file with a NaN would take the place of the last good one. The weights are
    # the same in all processes: all stop here, and none waits in the collective below.
    not_finite = learner.not_finite()
    if not_finite:
        raise FloatingPointError(
            f"after iteration {position.iterations} of the run {not_finite}; the run stops and the "
            "last checkpoint stays as it is; a lower OPTIM.LR or OPTIM.CLIP_GRAD_NORM may help"
        )
    own = own or OwnState()
    # All processes take part, though rank 0 alone gets a file to write.
    parts = gather_objects((_rng_state(world), own.meters, own.bad_videos), world)
    if parts is None:
        return None
    rng_states, meters, bad_videos = zip(*parts, strict=True)
    content = learner.state() | {
        # The released code reads it as the epoch to begin with, which is one more than the last.
        "epoch": position.epoch,
        "position": position.as_dict(),
        "best_acc1": best,
        "val_top1s": dict(top1s or {}),
        # For the form of the released file. Neither code needs it: the rate follows from the epoch.
        "scheduler": {"last_epoch": position.epoch, "base_lrs": [cfg.OPTIM.LR]},
        "rng": list(rng_states),
        # By process, and not their sum: each adds up its own share of the epoch to the end.
        "meters": list(meters),
        "bad_videos": {place: why for part in bad_videos for place, why in part.items()},
        # In the middle of an epoch a place in another list means nothing: that epoch begins anew.
        "training_list": {"sha256": training_list.sha256, "num_videos": training_list.num_videos},
        "processes": {"size": world.size, "clips_per_step": training_list.clips_per_step},
    }
    # Tensors are renamed alone; our further entries are in the way of no reader.
    if cfg.TRAIN.CHECKPOINT_LAYOUT == "released":
        content = _as_released(content, learner)
    return content | build_description(cfg, training_list.class_names)


def build_average(
    cfg: CfgNode, average: nn.Module, num_averaged: int, top1: float, class_names: list[str]
) -> dict[str, Any]:
    """Return the checkpoint of averaged weights, to be tested or fine-tuned; it describes itself.

    Args:
        cfg: Config of the run.
        average: A model whose weights are the average.
        num_averaged: Number of epochs whose weights entered it.
        top1: Validation top-1 of the average, percent.
        class_names: Names of the classes by label.
    """
    state = average.state_dict()
    if cfg.TRAIN.CHECKPOINT_LAYOUT == "released":
        state = _named_as_released(state)
    # No optimizer: a mean of weights is no place that a training could go on from.
    content = {"state_dict": state, "num_averaged": num_averaged, "val_top1": top1}
    content["epoch"] = cfg.TRAIN.EPOCHS  # it is made when they are done
    return content | build_description(cfg, class_names)


def build_description(cfg: CfgNode, class_names: list[str]) -> dict[str, Any]:
    """Return what makes a checkpoint describe itself: config, class names and preprocessing."""
    return {
        # As text: `weights_only` loads no classes of ours.
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


def _as_released(content: dict[str, Any], learner: Learner) -> dict[str, Any]:
    """Rename the tensors so that the released code reads the file; the rest stays beside them."""
    weights = _named_as_released(content["state_dict"])
    optimizer = content["optimizer"]
    # torch numbers an optimizer's parameters by their order, which is the released network's here.
    groups = [group | {"params": list(range(len(weights)))} for group in optimizer["param_groups"]]
    states = momentum_to_released(optimizer["state"], learner.model)
    return content | {
        "state_dict": weights,
        "optimizer": {"state": states, "param_groups": groups},
    }


def _named_as_released(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    # The release loads strictly into a model wrapped in DDP: without the prefix it refuses.
    return {f"module.{name}": value for name, value in to_released(state).items()}


def _rng_state(world: World) -> dict[str, torch.Tensor]:
    # numpy's is not needed: every draw of a clip comes from a generator of its own.
    states = {"cpu": torch.get_rng_state()}
    if world.device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(world.device)
    return states
