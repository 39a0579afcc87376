"""Weights that cannot compute anything are refused by name, wherever they are loaded."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

NUM_SHOWN = 3
_COUNTER = "num_batches_tracked"  # of batch norms: the one buffer of whole numbers


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
        raise ValueError(
            f"{source} holds weights that are not finite: {_shown(faults)}; they come from a "
            "training that broke, take an earlier checkpoint"
        )


def check_floating(state: Mapping[str, Tensor], source: str) -> None:
    """Make sure that weights are no whole numbers, as those of a quantized network are.

    Args:
        state: The weights by name; the counters of batch norms are none.
        source: The file that they come from.

    Raises:
        ValueError: Some are; names the file, the tensors and their types.
    """
    faults = [
        f"{name} ({str(value.dtype).removeprefix('torch.')})"
        for name, value in state.items()
        if not value.is_floating_point() and not name.endswith(_COUNTER)
    ]
    if faults:
        raise ValueError(
            f"{source} holds whole numbers for weights: {_shown(faults)}; a quantized network "
            "computes otherwise, take the weights that it was made of"
        )


def _shown(faults: Sequence[str]) -> str:
    more = f" and {len(faults) - NUM_SHOWN} more tensors" if len(faults) > NUM_SHOWN else ""
    return ", ".join(faults[:NUM_SHOWN]) + more
