"""Statistics of batch norms for weights that no batch has gone through: an average's."""

import logging
from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from datasets.clips import Clips
from engine.distributed import World, all_reduce_sum
from engine.run import Run, to_device
from models.freezing import start_training

_log = logging.getLogger(__name__)

_Norm = nn.modules.batchnorm._BatchNorm  # what every batch norm of torch is


@torch.no_grad()
def update_statistics(model: nn.Module, clips: Iterable[Tensor], world: World) -> None:
    """Set the running statistics to the mean over batches, and over processes.

    In a single process this is ``torch.optim.swa_utils.update_bn``, which however gives each
    process statistics of its own, and sets the norms that partial BN froze to mean 0, variance 1.

    Args:
        model: Model on the device of the process; its training mode is left as it was.
        clips: Batches of this process, (B, T, 3, H, W), as many on every process. A model without
            norms that learn does not look at them.
        world: Rank and device of this process. All processes call this together.
    """
    was_training = model.training
    start_training(model)
    norms = [norm for norm in model.modules() if isinstance(norm, _Norm) and norm.training]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the mean over all batches alike
    for batch in clips if norms else ():
        model(batch)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        for name, buffer in norm.named_buffers():
            all_reduce_sum(buffer)
            if name != "num_batches_tracked":
                buffer /= world.size
    model.train(was_training)
    if norms:
        _log.info("statistics of %d batch norms set by a pass over training clips", len(norms))


def update_average(average: nn.Module, loader: DataLoader[Clips], run: Run) -> None:
    """Give averaged weights batch norm statistics of their own, by a pass over training clips."""
    loader.sampler.set_epoch(run.cfg.TRAIN.EPOCHS)  # type: ignore[attr-defined]
    clips = (to_device(batch.clips, run.cfg, run.world) for batch in loader)
    with run.autocast():
        update_statistics(average, clips, run.world)
