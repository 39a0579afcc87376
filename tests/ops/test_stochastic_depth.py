import pytest
import torch
from torchvision.ops import stochastic_depth

from ops.stochastic_depth import StochasticDepth


def rows(num: int) -> torch.Tensor:
    return torch.randn(num, 3, 2, generator=torch.Generator().manual_seed(0))


def test_rows_are_dropped_bit_by_bit_as_torchvision_does() -> None:
    layer = StochasticDepth(0.25).train()
    torch.manual_seed(1)
    expected = stochastic_depth(rows(50), 0.25, mode="row", training=True)
    torch.manual_seed(1)
    assert torch.equal(layer(rows(50)), expected)
    assert not layer.state_dict()


@pytest.mark.parametrize("rate", [0.25, 1.0])
def test_compiled_rows_are_zero_or_divided_by_their_share(rate: float) -> None:
    layer = torch.compile(StochasticDepth(rate).train(), backend="eager", fullgraph=True)
    x = rows(400).requires_grad_()
    out = layer(x)
    out.sum().backward()
    is_kept = out.flatten(1).any(1)
    # 400 draws at 0.75: a standard deviation of 0.022
    assert is_kept.float().mean().item() == pytest.approx(1 - rate, abs=0.1)
    torch.testing.assert_close(out[is_kept], x[is_kept] / max(1 - rate, 0.5))
    assert x.grad is not None
    assert x.grad.isfinite().all()


def test_nothing_is_dropped_in_evaluation_or_at_rate_zero() -> None:
    x = rows(4)
    assert StochasticDepth(0.9).eval()(x) is x
    assert StochasticDepth(0.0).train()(x) is x
