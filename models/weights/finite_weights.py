"""Weights that are not finite are named as what they are, wherever they are loaded."""

from collections.abc import Mapping

import torch
from torch import Tensor

NUM_SHOWN = 3


def check_finite(state: Mapping[str, Tensor], source: str) -> None:
    """Make sure that weights can compute anything.

    Args:
        state: The weights by name.
        source: The file that they come from.

    Raises:
        ValueError: Some are NaN or infinite; names the file, the tensors, and how many values.
    """
    faults = [
        f"{name} ({num_wrong} of {value.numel()} values)"
        for name, value in state.items()
        if value.is_floating_point() and (num_wrong := int((~torch.isfinite(value)).sum()))
    ]
    if faults:
        more = f" and {len(faults) - NUM_SHOWN} more tensors" if len(faults) > NUM_SHOWN else ""
        raise ValueError(
            f"{source} holds weights that are not finite: {', '.join(faults[:NUM_SHOWN])}{more}; "
            "they come from a training that broke, take an earlier checkpoint"
        )
