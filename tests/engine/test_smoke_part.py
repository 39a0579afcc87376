import itertools

import pytest
import torch

from config import load_cfg_text
from datasets.annotations import VideoRecord
from engine.distributed import World
from engine.smoke_part import part_to_use, smoke_remark

RECORDS = [VideoRecord(str(number), 9, number // 10, number) for number in range(100)]


def part(split: str, num_processes: int = 1, **keys: int) -> list[int]:
    words = [
        *("TRAIN.CLIPS_PER_GPU", "4", "VAL.VIDEOS_PER_GPU", "3"),
        *(word for key, value in keys.items() for word in (key.replace("__", "."), str(value))),
    ]
    cfg = load_cfg_text("", "test", words)
    world = World(rank=0, size=num_processes, local_rank=0, device=torch.device("cpu"))
    return [record.line for record in part_to_use(RECORDS, cfg, split, world)]


def test_real_run_uses_the_whole_list() -> None:
    assert part("train") == part("test") == list(range(100))


@pytest.mark.parametrize(
    ("split", "keys", "num"),
    [
        ("train", {"num_processes": 1}, 8),
        ("train", {"num_processes": 3}, 24),
        ("train", {"AUG__REPEATS": 2}, 4),
        ("val", {"num_processes": 2}, 12),
        ("test", {}, 6),
    ],
)
def test_smoke_run_uses_what_its_batches_hold_spread_over_the_classes(
    split: str, keys: dict[str, int], num: int
) -> None:
    lines = part(split, TRAIN__MAX_ITERATIONS=2, **keys)
    assert len(lines) == len({*lines}) == num
    assert lines[0] == 0
    assert {b - a for a, b in itertools.pairwise(lines)} <= {100 // num, 100 // num + 1}


def test_list_that_is_shorter_is_used_whole() -> None:
    assert part("train", TRAIN__MAX_ITERATIONS=1000) == list(range(100))


def test_remark_is_of_smoke_runs_alone() -> None:
    assert smoke_remark(load_cfg_text("", "test")) == ""
    remark = smoke_remark(load_cfg_text("", "test", ["TRAIN.MAX_ITERATIONS=3"]))
    assert remark.startswith("a smoke run (--max-iterations): 3 batches of each list; the figures")
