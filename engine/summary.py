"""What a run says when it starts and when it has ended."""

import logging
import sys
from importlib.util import find_spec
from pathlib import Path

from torch import nn
from yacs.config import CfgNode

from config.values import counted
from engine.distributed import World
from engine.smoke_part import smoke_remark
from engine.whole_file import whole_file
from models import VideoModel
from models.freezing import count_trained

_log = logging.getLogger("main")


def log_start(
    cfg: CfgNode,
    world: World,
    model: nn.Module,
    num_accumulated: int,
    num_train: int,
    num_val: int,
) -> None:
    """Keep the config; say what runs, on what, and whether the rate fits the batch.

    Args:
        cfg: Config of the run.
        world: Rank and device of this process, and the number of processes; rank 0 alone speaks.
        model: Model that is trained.
        num_accumulated: Number of batches of each step.
        num_train: Number of videos to train on.
        num_val: Number of videos to validate on.
    """
    if not world.is_main:
        return
    folder = Path(cfg.OUTPUT_DIR)
    write_config(folder / "config.yml", cfg)
    num_parameters = sum(parameter.numel() for parameter in model.parameters())
    num_trained = count_trained(model)
    learns = "" if num_trained == num_parameters else f", {num_trained} of them trained"
    assert isinstance(model, VideoModel)
    time_use = model.describe_time()
    _log.info(
        "run folder %s; %d videos to train on, %d to validate", folder.resolve(), num_train, num_val
    )
    _log.info(
        "%s %s: %d parameters%s; %s",
        *(cfg.MODEL.NAME, cfg.MODEL.BACKBONE, num_parameters, learns, time_use),
    )
    processes = counted(world.size, "process", "processes")
    _log.info("%s, rank 0 on %s, AMP %s", processes, world.device, cfg.TRAIN.AMP)
    if world.device.type == "cuda" and cfg.TRAIN.AMP == "none" and not cfg.TRAIN.TF32:
        _log.warning(
            "float32 leaves the tensor cores of the GPU idle: by its published peaks an A100 does "
            "8 times as much in TF32 (TRAIN.TF32 True) and 16 times in bf16 (--amp)"
        )
    batch = world.size * cfg.TRAIN.CLIPS_PER_GPU * num_accumulated
    _log.info(
        "effective batch %d = %s x %d clips x %d accumulated, learning rate %g",
        *(batch, processes, cfg.TRAIN.CLIPS_PER_GPU, num_accumulated, cfg.OPTIM.LR),
    )
    for remark in filter(None, (rate_advice(cfg, batch), smoke_remark(cfg))):
        _log.warning("%s", remark)


def write_config(path: Path, cfg: CfgNode) -> None:
    """Write a config that ``--cfg`` takes; raise UnwritableError where that cannot be."""
    with whole_file(path) as file:
        file.write(cfg.dump().encode(errors="surrogateescape"))


def rate_advice(cfg: CfgNode, batch: int) -> str:
    """Return advice where this run's learning rate is not the recipe's in proportion; else "".

    Args:
        cfg: Config of the run.
        batch: Number of clips of a step over all processes.
    """
    rate, reference_rate = cfg.OPTIM.LR, cfg.OPTIM.REFERENCE_LR
    reference = cfg.OPTIM.REFERENCE_BATCH
    if not (reference and reference_rate):
        return ""
    due = reference_rate * batch / reference
    if abs(rate / due - 1) <= 0.01:
        return ""
    return (
        f"the recipe's learning rate is {reference_rate:g} at batch {reference}; in proportion, "
        f"batch {batch} takes OPTIM.LR {due:.4g}, this run has {rate:g}"
    )


def log_end(checkpoint: Path) -> None:
    """Say where everything lies and how to look at it."""
    folder = checkpoint.parent
    _log.info("best checkpoint: %s", checkpoint)
    _log.info("TensorBoard logs: %s", folder / "tensorboard")
    _log.info("watch them with: %s -m tensorboard.main --logdir %s", sys.executable, folder)
    if find_spec("tensorboard") is None:
        _log.info("(it is not installed yet: %s -m pip install tensorboard)", sys.executable)
