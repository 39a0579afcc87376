import pytest
import torch

from ops.finite_logits import check_finite_logits


def test_finite_logits_pass() -> None:
    check_finite_logits(torch.tensor([[1e38, -1e38, 0.0]]), "a.mp4")


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_other_logits_are_an_error_that_names_their_source(value: float) -> None:
    logits = torch.zeros(2, 3)
    logits[1, 1] = value
    with pytest.raises(FloatingPointError, match=r"^a\.mp4: 1 of 6 logits are not finite"):
        check_finite_logits(logits, "a.mp4")
