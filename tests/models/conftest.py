import torch
from torch import nn


def randomized(module: nn.Module, seed: int = 0) -> nn.Module:
    """Give every parameter, zeros and ones of the start included, a random value."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
    return module
