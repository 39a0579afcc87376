import pytest
import torch

from models.weights.finite_weights import check_finite, check_floating


def test_finite_weights_of_any_type_pass() -> None:
    check_finite({"a": torch.ones(3), "b": torch.arange(3), "c": torch.zeros(0)}, "x.pth")


def test_file_tensors_and_counts_are_named() -> None:
    state = {f"w{k}": torch.tensor([1.0, torch.nan, torch.inf][: k + 1]) for k in range(3)}
    state["half"] = torch.tensor([torch.inf], dtype=torch.float16)
    state["also"] = torch.tensor([-torch.inf])
    with pytest.raises(ValueError, match=r"x\.pth holds weights that are not finite: ") as caught:
        check_finite(state, "x.pth")
    shown = "w1 (1 of 2 values), w2 (2 of 3 values), half (1 of 1 values) and 1 more tensors; "
    assert shown in str(caught.value)


def test_whole_numbers_are_named_and_counters_are_none() -> None:
    counter = {"bn.num_batches_tracked": torch.tensor(3)}
    check_floating({"a": torch.ones(1, dtype=torch.bfloat16), **counter}, "x.pth")
    with pytest.raises(ValueError, match=r"x\.pth holds whole numbers .*: w \(int8\); a quantized"):
        check_floating({"w": torch.zeros(1, dtype=torch.int8), **counter}, "x.pth")
