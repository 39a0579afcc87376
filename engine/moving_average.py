"""The exponential moving average of a model's weights, without a look at the device."""

from copy import deepcopy

import torch
from torch import Tensor, nn


class MovingAverage:
    """Averaged weights: those after the first step, then ``lerp(average, weights, 1 - decay)``.

    The arithmetic is that of ``torch.optim.swa_utils.AveragedModel``, which however keeps its
    counter on the device and reads it at each step. Buffers are copied.

    Args:
        model: Model whose weights are averaged; it is copied.
        decay: Share of the average that a step leaves, 0 to 1.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.module = deepcopy(model)
        self.decay = decay
        self.num_steps = 0

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Take in the weights after a step."""
        averages: list[Tensor] = list(self.module.parameters())
        weights: list[Tensor] = list(model.parameters())
        if self.num_steps:
            torch._foreach_lerp_(averages, weights, 1 - self.decay)
        else:
            torch._foreach_copy_(averages, weights)
        for kept, new in zip(self.module.buffers(), model.buffers(), strict=True):
            kept.copy_(new)
        self.num_steps += 1
