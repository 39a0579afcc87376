"""What travels together through a run: its config, its process and its records."""

from dataclasses import dataclass, field
from functools import lru_cache

import torch
from torch import Tensor, nn
from yacs.config import CfgNode

from datasets.clips import Clips
from engine.distributed import World
from engine.learner import autocast
from engine.run_log import NullRunLog, RunLog
from models import MODELS
from ops.moving import moved
from ops.pixels import channel_values, normalize


@dataclass(frozen=True)
class Run:
    """A training or a test, as one of its processes sees it.

    Attributes:
        cfg: The experiment.
        world: Rank and device of this process, and the number of processes.
        log: Records of the run; those of a test, and of all processes but the first, keep nothing.
    """

    cfg: CfgNode
    world: World
    log: RunLog | NullRunLog = field(default_factory=NullRunLog)

    def autocast(self) -> torch.autocast:
        """Return the context of a forward pass, as TRAIN.AMP says."""
        return autocast(self.cfg.TRAIN.AMP, self.world.device)


def on_device(batch: Clips, world: World) -> Clips:
    """Return a batch whose tensors are on the way to the device, from where the loader pinned."""
    return batch._replace(
        clips=moved(batch.clips, world.device),
        labels=moved(batch.labels, world.device),
        indices=moved(batch.indices, world.device),
        are_mirrored=moved(batch.are_mirrored, world.device),
        teacher_clips=moved(batch.teacher_clips, world.device),
    )


def to_device(clips: Tensor, cfg: CfgNode, world: World) -> Tensor:
    """Move uint8 clips to the device, if they are not there, and normalise them there."""
    clips, data = moved(clips, world.device), cfg.DATA
    if runs_channels_last(cfg, world.device):
        frames = clips.flatten(0, 1).contiguous(memory_format=torch.channels_last)
        clips = frames.unflatten(0, clips.shape[:2])
    else:
        clips = clips.contiguous()  # while it is bytes
    mean, std = (_constant(tuple(v), world.device) for v in (data.PIXEL_MEAN, data.PIXEL_STD))
    return normalize(clips, mean, std)


def placed(model: nn.Module, cfg: CfgNode, world: World) -> nn.Module:
    """Return the model of a config on the device, in the layout that suits both."""
    if runs_channels_last(cfg, world.device):
        return model.to(world.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return model.to(world.device)


def runs_channels_last(cfg: CfgNode, device: torch.device) -> bool:
    """Tell whether maps lie channels last, from the loader to the last convolution."""
    return device.type == "cuda" and MODELS[cfg.MODEL.NAME].is_convolutional


@lru_cache
def _constant(values: tuple[float, ...], device: torch.device) -> Tensor:
    """Return `ops.pixels.channel_values`, made once: the host waits for what it copies so."""
    return channel_values(values, device)
