"""The mean over the frames of a clip, in full precision whatever autocast left."""

import torch
from torch import Tensor


def mean_over_frames(logits: Tensor) -> Tensor:
    """Average frame logits (B, T, K) over T, in float32 at least; returns (B, K).

    In bf16 the mean would be rounded to 8 bits, as a single frame's logits are.
    """
    is_coarse = logits.dtype in (torch.bfloat16, torch.float16)
    return logits.mean(1, dtype=torch.float32 if is_coarse else None)
