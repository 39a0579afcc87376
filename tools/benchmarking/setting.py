"""What a section of the benchmark measures on: a config, a device, a time, and where to tell it."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from yacs.config import CfgNode

from config import load_cfg
from engine.distributed import World
from engine.learner import Learner, autocast, build_learner
from engine.objective import build_objective
from engine.run import to_device
from models import build_model
from models.vit_parts import HAS_BF16_PRODUCTS
from tools.benchmarking.result_report import Report

PEAK = 989e12  # FLOPs a second of an H100 or H200 in bf16, without sparsity
_TINY = {  # the same code with a network of a moment
    "DATA.NUM_FRAMES": "4",
    "DATA.IMAGE_SIZE": "32",
    "DATA.TEST_SHORT_SIDE": "32",
    "DATA.FRAME_STRIDE": "1",
    "VAL.SHORT_SIDE": "32",
    "AUG.SHORT_SIDE_RANGE": "[32, 40]",
    "MODEL.NUM_CLASSES": "5",
    "TRAIN.CLIPS_PER_GPU": "2",
    "TRAIN.ACCUMULATION": "1",
    "TRAIN.GLOBAL_BATCH": "0",
    "TEST.NUM_CLIPS": "2",
    "OPTIM.REFERENCE_BATCH": "0",
}
_TINY_VIT = {
    "MODEL.BACKBONE": "tiny",
    "MODEL.VIT.PATCH_SIZE": "16",
    "MODEL.VIT.HIDDEN_SIZE": "32",
    "MODEL.VIT.MLP_DIM": "64",
    "MODEL.VIT.NUM_HEADS": "2",
    "MODEL.VIT.NUM_LAYERS": "2",
}
_TINY_TSM = {"MODEL.TSM.WIDTH": "8", "TEST.IMAGE_SIZE": "0"}


@dataclass(frozen=True)
class Setting:
    """What is measured, where and how long.

    Attributes:
        config: Path of the yml.
        overrides: Words KEY VALUE.
        device: Device that computes.
        seconds: Time for each measurement, seconds.
        is_tiny: Whether network and videos are tiny: a trial of the code, not a measurement.
        report: Report that takes the figures.
        folder: Folder for videos that are made, and for profiles.
        peak: Peak of the card in bf16, FLOPs a second.
        profiles: Whether traces of the training are written.
        compares_timm: Whether our ViT is set beside timm's.
        workers: Numbers of loader processes to try.
    """

    config: str
    overrides: Sequence[str]
    device: torch.device
    seconds: float
    is_tiny: bool
    report: Report
    folder: Path
    peak: float = PEAK
    profiles: bool = False
    compares_timm: bool = False
    workers: Sequence[int] = (1, 2)

    @property
    def world(self) -> World:
        """One process on the device."""
        return World(rank=0, size=1, local_rank=0, device=self.device)

    @property
    def precisions(self) -> tuple[str, ...]:
        """Values of TRAIN.AMP that the device computes in: those of the figures."""
        return ("none",) if self.emulates_bf16 and not self.is_tiny else ("none", "bf16")

    @property
    def emulates_bf16(self) -> bool:
        """Whether the device takes ten times as long in bf16 as in float32."""
        return self.device.type == "cpu" and not HAS_BF16_PRODUCTS

    def cfg(self, *words: str) -> CfgNode:
        """Load the config with more KEY VALUE words."""
        return load_cfg(self.config, [*self.words(), *words])

    def words(self) -> list[str]:
        """Return the KEY VALUE words of the command line, and those that make it tiny."""
        if not self.is_tiny:
            return [*self.overrides]
        is_tsm = load_cfg(self.config, [*self.overrides]).MODEL.NAME == "tsm"
        words = _TINY | (_TINY_TSM if is_tsm else _TINY_VIT)
        return [*self.overrides, *(word for pair in words.items() for word in pair)]

    def model(self, cfg: CfgNode) -> nn.Module:
        """Build the model of a config on the device, the same weights each time."""
        torch.manual_seed(0)
        model = build_model(cfg)
        for parameter in model.parameters():
            if not parameter.any():  # what starts at zero would hide what is before it
                nn.init.normal_(parameter, std=0.02)
        return model.to(self.device)

    def learner(self, cfg: CfgNode) -> Learner:
        """Build the learner of a config on the device."""
        return build_learner(cfg, self.model(cfg).train(), self.world)


def random_clips(cfg: CfgNode, number: int, side: int = 0) -> Tensor:
    """Return uint8 clips of noise, on the CPU: zeros would run faster than videos do.

    Args:
        cfg: Config of the model.
        number: Number of clips, B.
        side: Side of the frames, pixels; 0: DATA.IMAGE_SIZE.
    """
    data, generator = cfg.DATA, torch.Generator().manual_seed(0)
    side = side or data.IMAGE_SIZE
    shape = (number, data.NUM_FRAMES, 3, side, side)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)


def training_step(learner: Learner, cfg: CfgNode, world: World, clips: Tensor) -> None:
    """Do what a training does with a batch: forward, loss, backward, step."""
    labels = torch.arange(len(clips), device=world.device) % cfg.MODEL.NUM_CLASSES
    target = build_objective(cfg)(labels, None, None)
    with learner.accumulating(is_last=True):
        with learner.autocast():
            loss = target.loss(learner.parallel(to_device(clips, cfg, world)))
        learner.backward(loss, 1.0)
    learner.step()


@contextlib.contextmanager
def precision(amp: str, device: torch.device) -> Iterator[None]:
    """Compute forward passes in the precision of a TRAIN.AMP, without gradients."""
    with torch.inference_mode(), autocast(amp, device):
        yield


def precision_name(amp: str) -> str:
    """Return what figures call the precision of a TRAIN.AMP."""
    return "fp32" if amp == "none" else amp
