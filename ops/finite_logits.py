"""Logits that are not finite have no best class, and are an error wherever one is named."""

import torch
from torch import Tensor


def check_finite_logits(logits: Tensor, source: str) -> None:
    """Make sure that logits say something.

    Args:
        logits: Of any shape.
        source: What they are the logits of.

    Raises:
        FloatingPointError: Some are NaN or infinite.
    """
    num_wrong = int((~torch.isfinite(logits)).sum())
    if num_wrong:
        raise FloatingPointError(
            f"{source}: {num_wrong} of {logits.numel()} logits are not finite, so that no class is "
            "the best; try TRAIN.AMP none, and another checkpoint"
        )
