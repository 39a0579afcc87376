"""Means over an endless stream: of all values so far, of the last ones, or fading into the past."""

from collections import deque

import torch
from torch import Tensor


class WholeMean:
    """The mean of all tensors so far, as a model takes it over the frames of a clip.

    The sum is kept in double precision. In a stream that goes on for hours the past outweighs
    whatever is new: there, take one of the others.
    """

    def __init__(self) -> None:
        self._sum: Tensor | None = None
        self._count = 0

    def add(self, value: Tensor) -> Tensor:
        """Take in a tensor and return the mean."""
        self._count += 1
        added = value.double()
        self._sum = added if self._sum is None else self._sum + added
        return (self._sum / self._count).to(value.dtype)

    def __str__(self) -> str:
        """Describe the mean in words."""
        return "mean of all so far"


class WindowMean:
    """The mean of the last tensors.

    Args:
        num_last: Number of values, at least 1. While there are fewer, their mean is taken.
    """

    def __init__(self, num_last: int) -> None:
        if num_last < 1:
            raise ValueError(f"a mean over a window needs at least 1 value, got {num_last}")
        self._values: deque[Tensor] = deque(maxlen=num_last)

    def add(self, value: Tensor) -> Tensor:
        """Take in a tensor and return the mean."""
        self._values.append(value)
        return torch.stack(list(self._values)).mean(0)

    def __str__(self) -> str:
        """Describe the mean in words."""
        return f"mean of the last {self._values.maxlen}"


class FadingMean:
    """The mean with weights 1, decay, decay^2, ... into the past; they add up to one at any time.

    Args:
        decay: Share of its weight that a value keeps from one to the next, above 0 and below 1;
            1 - 1 / n remembers about n values.
    """

    def __init__(self, decay: float) -> None:
        if not 0 < decay < 1:
            raise ValueError(f"a fading mean needs a decay above 0 and below 1, got {decay}")
        self.decay = decay
        self._sum: Tensor | None = None
        self._weight = 0.0

    def add(self, value: Tensor) -> Tensor:
        """Take in a tensor and return the mean."""
        self._weight = 1 + self.decay * self._weight
        self._sum = value if self._sum is None else value + self.decay * self._sum
        return self._sum / self._weight

    def __str__(self) -> str:
        """Describe the mean in words."""
        return f"mean that fades by {self.decay:g} a frame"


RunningMean = WholeMean | WindowMean | FadingMean
