import time

import pytest
import torch

from tools.benchmarking.timing import Times, time_side_by_side

CPU = torch.device("cpu")


def test_median_spread_and_ratio_by_hand() -> None:
    ours, theirs = Times((1.0, 2.0, 3.0, 4.0, 5.0)), Times((2.0, 2.0, 9.0, 4.0, 20.0))
    assert ours.median == 3.0
    assert ours.spread == pytest.approx((4 - 2) / 2 / 3)
    assert theirs.over(ours) == 2.0  # of the rounds 2, 1, 3, 1, 4
    assert Times((7.0,)).spread == 0.0


def test_calls_are_timed_in_turns() -> None:
    turns: list[str] = []

    def call(name: str) -> None:
        turns.append(name)
        time.sleep(0.02)

    times = time_side_by_side(
        {name: lambda name=name: call(name) for name in "ab"}, CPU, seconds=0.01
    )
    # each is tried twice, then one of each in a round, and three rounds at least
    assert turns == ["a", "a", "b", "b", *("ab" * 3)]
    assert all(len(one.seconds) == 3 for one in times.values())
    assert times["a"].median >= 0.02
