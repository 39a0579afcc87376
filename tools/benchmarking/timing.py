"""Times of calls side by side: in turns, so that what else the machine does hits all alike."""

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

LEAST_ROUNDS = 3
LEAST_SECONDS = 0.02  # a measurement is as many calls as take so long


@dataclass(frozen=True)
class Times:
    """Seconds of a call, a measurement each; round i of one call ran beside round i of another."""

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        """The middle measurement."""
        return statistics.median(self.seconds)

    @property
    def spread(self) -> float:
        """Half of the range in which the middle half lies, as a share of the median."""
        if len(self.seconds) < 2:
            return 0.0
        low, _, high = statistics.quantiles(self.seconds, n=4, method="inclusive")
        return (high - low) / 2 / self.median

    def over(self, other: "Times") -> float:
        """Return how many times as long as another call this one took: the median of the rounds."""
        pairs = zip(self.seconds, other.seconds, strict=True)
        return statistics.median(mine / its for mine, its in pairs)


def time_side_by_side(
    calls: Mapping[str, Callable[[], object]], device: torch.device, seconds: float
) -> dict[str, Times]:
    """Time calls in turns.

    Args:
        calls: Functions to time, by name.
        device: Device whose work each measurement waits for.
        seconds: Time for all rounds together; three are made in any case.
    """
    numbers = {name: _calls_a_measurement(call, device) for name, call in calls.items()}
    found: dict[str, list[float]] = {name: [] for name in calls}
    end, rounds = time.perf_counter() + seconds, 0
    while rounds < LEAST_ROUNDS or time.perf_counter() < end:
        for name, call in calls.items():
            found[name].append(_measure(call, numbers[name], device))
        rounds += 1
    return {name: Times(tuple(times)) for name, times in found.items()}


def wait_for(device: torch.device) -> None:
    """Return when the device has done all that it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _calls_a_measurement(call: Callable[[], object], device: torch.device) -> int:
    call()  # the first one compiles, allocates, and chooses kernels
    once = _measure(call, 1, device)
    return max(1, round(LEAST_SECONDS / once))


def _measure(call: Callable[[], object], number: int, device: torch.device) -> float:
    wait_for(device)
    start = time.perf_counter()
    for _ in range(number):
        call()
    wait_for(device)
    return (time.perf_counter() - start) / number
