"""What travels together through a run: its config, its process and its records."""

from dataclasses import dataclass, field

import torch
from torch import Tensor
from yacs.config import CfgNode

from engine.distributed import World
from engine.learner import autocast
from engine.run_log import NullRunLog, RunLog
from ops.pixels import normalize


@dataclass(frozen=True)
class Run:
    """A training or a test, as one of its processes sees it.

    Attributes:
        cfg: The experiment.
        world: Where this process stands.
        log: The records of the run; those of a test, and of all processes but the first, keep
            nothing.
    """

    cfg: CfgNode
    world: World
    log: RunLog | NullRunLog = field(default_factory=NullRunLog)

    def autocast(self) -> torch.autocast:
        """Return the context of a forward pass, as TRAIN.AMP says."""
        return autocast(self.cfg.TRAIN.AMP, self.world.device)


def to_device(clips: Tensor, cfg: CfgNode, world: World) -> Tensor:
    """Move uint8 clips to the device and normalise them there."""
    clips = clips.to(world.device, non_blocking=True)
    return normalize(clips, cfg.DATA.PIXEL_MEAN, cfg.DATA.PIXEL_STD)
