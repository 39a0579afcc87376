"""Logits that are not finite have no best class, and are an error wherever one is named."""

import torch
from torch import Tensor


def check_finite_logits(logits: Tensor, source: str) -> None:
    """Raise an error where logits are not all finite.

    Args:
        logits: Logits of any shape.
        source: What the logits belong to, for the message.

    Raises:
        FloatingPointError: Some are NaN or infinite.
    """
    num_wrong = int((~torch.isfinite(logits)).sum())
    if num_wrong:
        raise FloatingPointError(
            f"{source}: {num_wrong} of {logits.numel()} logits are not finite, so that no class is "
            "the best; try TRAIN.AMP none, and another checkpoint"
        )
