import pytest
import torch

from ops.moving import moved
from tests.fake_gpu import GPU, fake_gpu


def test_tensor_that_is_there_stays_the_same() -> None:
    tensor = torch.ones(2)
    assert moved(tensor, torch.device("cpu")) is tensor


def test_nobody_waits_for_a_tensor_on_its_way_to_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    with fake_gpu(monkeypatch) as waits, waits:
        there = moved(torch.ones(2), GPU.device)
        assert there.device == GPU.device
        assert moved(there, GPU.device) is there
    assert waits.found == []


@pytest.mark.gpu
def test_values_reach_a_real_gpu_whether_pinned_or_not() -> None:
    values = torch.arange(5)
    for tensor in (values, values.pin_memory()):
        assert moved(tensor, torch.device("cuda", 0)).tolist() == [0, 1, 2, 3, 4]
