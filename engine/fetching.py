"""Figures on their way from the device to the host, which goes on and reads them later."""

import torch
from torch import Tensor


class Fetched:
    """A tensor that is copied to the memory of the CPU while the host goes on.

    A read of a value, as ``item``, would wait for all that the device still has to do.

    Args:
        tensor: Tensor on any device; of one on the CPU nothing is copied.
    """

    def __init__(self, tensor: Tensor) -> None:
        is_cuda = tensor.device.type == "cuda"
        self._copy = tensor.detach().to("cpu", non_blocking=is_cuda)  # torch pins it for that
        self._end = torch.cuda.Event() if is_cuda else None
        if self._end:
            self._end.record()

    def has_come(self) -> bool:
        """Tell whether the values can be read without waiting."""
        return self._end is None or self._end.query()

    def tensor(self) -> Tensor:
        """Return the tensor on the CPU; wait for it where it has not come."""
        if self._end:
            self._end.synchronize()
        return self._copy

    def values(self) -> list[float]:
        """Return the values; wait for them where they have not come."""
        return self.tensor().tolist()
