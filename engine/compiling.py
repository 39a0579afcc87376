"""Models whose blocks go through torch.compile, and batches of one size for them."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

RECOMPILE_LIMIT = 256  # a ResNet's blocks differ in shape, and each in training and evaluation


def compile_blocks(model: nn.Module) -> None:
    """Compile each block of a model in place; its names and its class stay as they are.

    Equal blocks share one kernel, and under DDP each block's gradients are sent as soon as they are
    there; of a model compiled as a whole neither holds. A model without lists of blocks is compiled
    as a whole.

    Args:
        model: Model whose blocks are what its outermost ``nn.ModuleList`` hold.
    """
    torch._dynamo.config.recompile_limit = RECOMPILE_LIMIT
    torch._dynamo.config.optimize_ddp = False  # it would cut blocks at the ends of DDP's buckets
    for block in list(_blocks(model)) or [model]:
        # fullgraph: what cannot be compiled is an error, and never runs eager in silence
        block.compile(fullgraph=True, dynamic=False)


def is_compiled(model: nn.Module) -> bool:
    """Tell whether a model or a part of it is compiled."""
    return any(module._compiled_call_impl is not None for module in model.modules())


def has_norm_statistics(model: nn.Module, are_live: bool = False) -> bool:
    """Tell whether there are batch norms; live ones let the clips of a batch see each other."""
    norm = nn.modules.batchnorm._BatchNorm
    norms = (module for module in model.modules() if isinstance(module, norm))
    return any(module.training or not are_live for module in norms)


def run_filled(model: nn.Module, clips: Tensor, size: int) -> Tensor:
    """Return a model's logits of clips, among which it sees black ones up to a size.

    For another number of clips it would be compiled anew, and cuDNN would search anew. Under live
    batch norms the black clips would count: then it runs as it is, and what is compiled eager.

    Args:
        model: Model from clips (B, T, 3, H, W) to logits (..., B, K).
        clips: Clips, at most as many as the size, or they go through as they are.
        size: Number of clips that the model sees; 0 for no limit.
    """
    num = len(clips)
    if num >= size:
        return model(clips)
    if has_norm_statistics(model, are_live=True):
        with torch.compiler.set_stance("force_eager"):
            return model(clips)
    black = clips.new_zeros(size - num, *clips.shape[1:])
    return model(torch.cat([clips, black]))[..., :num, :]


def _blocks(model: nn.Module) -> Iterator[nn.Module]:
    for child in model.children():
        if isinstance(child, nn.ModuleList):
            yield from child
        else:
            yield from _blocks(child)
