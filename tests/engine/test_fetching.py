import pytest
import torch

from engine.fetching import Fetched
from tests.fake_gpu import GPU, fake_gpu


def test_figures_of_the_cpu_have_come_at_once() -> None:
    figures = Fetched(torch.tensor([0.5, 3.0]))
    assert figures.has_come()
    assert figures.values() == [0.5, 3.0]


def test_figures_of_a_gpu_come_later_and_nobody_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    with fake_gpu(monkeypatch) as waits, waits:
        figures = Fetched(torch.zeros(3, device=GPU.device))
        assert not figures.has_come()
    assert waits.found == []


@pytest.mark.gpu
def test_figures_of_a_real_gpu_are_those_of_when_they_were_fetched() -> None:
    there = torch.full((3,), 2.0, device="cuda")
    figures = Fetched(there)
    there.zero_()
    assert figures.values() == [2.0, 2.0, 2.0]
    assert figures.has_come()
