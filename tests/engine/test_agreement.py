from collections.abc import Callable

import pytest
import torch

from engine.agreement import check_agreement, code_digest
from engine.distributed import World


def test_one_process_agrees_with_itself() -> None:
    check_agreement(World(0, 1, 0, torch.device("cpu")), {"config": "a"})
    assert len(code_digest()) == 64


SCRIPT = """
import sys

import torch
import torch.distributed as dist

from engine.agreement import check_agreement
from engine.distributed import World

rank = int(sys.argv[1])
dist.init_process_group("gloo")
world = World(rank, 3, rank, torch.device("cpu"))
check_agreement(world, {"config": "a", "training list": "b"})
try:
    check_agreement(world, {"config": "a", "training list": "b" if rank < 2 else "c"})
except ValueError as error:
    text = str(error)
    assert text.startswith("the training list of process 0 on "), text
    assert " is another than that of process 2 on " in text, text
else:
    raise AssertionError
"""


@pytest.mark.ddp
def test_process_that_differs_is_named_in_every_process(
    run_processes: Callable[..., None],
) -> None:
    run_processes(SCRIPT, "{rank}", num=3, is_launched=True)
