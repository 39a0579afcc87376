"""Stochastic depth (arXiv:1603.09382) whose compiled kernel blocks of different rates share."""

import torch
from torch import Tensor, nn
from torchvision.ops import stochastic_depth


class StochasticDepth(nn.Module):
    """Set random rows to zero in training, and divide the others by the share that is kept.

    Args:
        rate: Share of the rows that become zero, 0 to 1.
    """

    survival: Tensor

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate
        self.is_on = rate > 0
        if self.is_on:
            self.register_buffer("survival", torch.tensor(1.0 - rate), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Drop rows of x, (M, ...)."""
        if not (self.training and self.is_on):
            return x
        if not torch.compiler.is_compiling():
            return stochastic_depth(x, self.rate, mode="row", training=True)
        # A number is compiled into the kernel: each block would be compiled anew, up to a limit.
        size = [x.shape[0]] + [1] * (x.dim() - 1)
        is_kept = torch.rand(size, device=x.device) < self.survival
        return x * (is_kept / self.survival.clamp(min=1e-12)).to(x.dtype)

    def extra_repr(self) -> str:
        """Show the rate in ``print(model)``."""
        return f"rate={self.rate}"
