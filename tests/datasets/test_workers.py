import os

import pytest
import torch

from datasets import workers
from datasets.workers import MOST_WORKERS, num_workers


@pytest.mark.parametrize(
    ("cores", "launched", "gpus", "expected"),
    [
        (16, "", 1, 16),
        (16, "", 0, 16),
        (96, "8", 8, 12),
        (96, "", 8, 12),
        (96, "1", 8, MOST_WORKERS),
        (2, "4", 4, 1),
        (7, "2", 0, 3),
    ],
)
def test_workers_are_a_process_s_share_of_the_cores(
    cores: int, launched: str, gpus: int, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(cores), raising=False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", launched)
    assert workers.num_workers(-1) == expected


@pytest.mark.parametrize("asked", [0, 1, 3, 400])
def test_number_that_is_asked_for_is_taken(asked: int) -> None:
    assert num_workers(asked) == asked
