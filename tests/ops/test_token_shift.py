from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ops.token_shift import TokenShift, token_shift, token_shift_

SHAPES = [  # (B, T, N, C, fold_div): golden data's corner cases, so that they never go untested
    (2, 8, 5, 48, 4),
    (1, 1, 5, 8, 4),  # one frame: the moved channels become zero
    (3, 4, 1, 10, 4),  # class token alone; C not divisible by fold_div
    (1, 4, 3, 6, 8),  # fold = 0: nothing moves
    (1, 5, 4, 9, 1),  # fold = C: all channels from the next frame
    (2, 2, 3, 7, 2),
]
SHIFTS = [token_shift, token_shift_]


def random_tokens(B: int, T: int, N: int, C: int, seed: int = 0, **kwargs: Any) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(B * T, N, C, generator=generator, **kwargs)


def slow_shift(x: Tensor, num_frames: int, fold_div: int, direction: str = "both") -> Tensor:
    """Move one number at a time, by the text of the paper."""
    y = x.clone()
    fold = x.shape[-1] // fold_div
    for row in range(len(x)):
        for channel in range(min(2 * fold, x.shape[-1])):
            step = 1 if channel < fold else -1
            if step == 1 and direction == "past":
                continue
            is_inside = 0 <= row % num_frames + step < num_frames
            y[row, 0, channel] = x[row + step, 0, channel] if is_inside else 0
    return y


def no_grad_shift(shift: Callable[..., Tensor], x: Tensor, *args: Any) -> Tensor:
    with torch.no_grad():
        return shift(x.clone(), *args)


@pytest.mark.parametrize("shift", SHIFTS)
def test_case_worked_by_hand(shift: Callable[..., Tensor]) -> None:
    cls = [[1, 2, 3, 4], [10, 20, 30, 40], [100, 200, 300, 400]]  # three frames, four channels
    patch = [[5, 6, 7, 8], [50, 60, 70, 80], [500, 600, 700, 800]]
    x = torch.tensor([cls, patch]).transpose(0, 1).contiguous()  # (T, N, C)
    y = no_grad_shift(shift, x, 3, 4)
    assert y[:, 0].tolist() == [[10, 0, 3, 4], [100, 2, 30, 40], [0, 20, 300, 400]]
    assert y[:, 1].tolist() == patch
    past = no_grad_shift(shift, x, 3, 4, "past")
    assert past[:, 0].tolist() == [[1, 0, 3, 4], [10, 2, 30, 40], [100, 20, 300, 400]]
    assert past[:, 1].tolist() == patch


@pytest.mark.parametrize("shift", SHIFTS)
@pytest.mark.parametrize("direction", ["both", "past"])
@pytest.mark.parametrize(("B", "T", "N", "C", "fold_div"), SHAPES)
def test_equals_a_slow_loop(
    B: int, T: int, N: int, C: int, fold_div: int, direction: str, shift: Callable[..., Tensor]
) -> None:
    x = random_tokens(B, T, N, C)
    y = no_grad_shift(shift, x, T, fold_div, direction)
    assert torch.equal(y, slow_shift(x, T, fold_div, direction))  # data only moves: exact


def test_equals_the_release_forward_and_backward(golden: Callable[[str], dict[str, Any]]) -> None:
    data = golden("tokshift/a_token_shift.npz")
    assert len(data["cases"])
    for index, (_, T, _, _, fold_div) in enumerate(data["cases"].tolist()):
        x = torch.from_numpy(data[f"x_{index}"])
        expected = torch.from_numpy(data[f"y_{index}"])
        leaf = x.clone().requires_grad_()
        y = token_shift(leaf, T, fold_div)
        y.backward(torch.from_numpy(data[f"cot_{index}"]))
        assert torch.equal(y, expected)
        assert torch.equal(leaf.grad, torch.from_numpy(data[f"gx_{index}"]))
        assert torch.equal(no_grad_shift(token_shift_, x, T, fold_div), expected)


@pytest.mark.parametrize("direction", ["both", "past"])
def test_clips_do_not_leak_into_each_other(direction: str) -> None:
    x = random_tokens(3, 4, 2, 8)
    together = token_shift(x, 4, 4, direction)
    alone = [token_shift(clip, 4, 4, direction) for clip in x.split(4)]
    assert torch.equal(together, torch.cat(alone))
    assert not torch.equal(token_shift(x, 12, 4, direction), together)


@pytest.mark.parametrize("shift", SHIFTS)
def test_patch_tokens_are_untouched(shift: Callable[..., Tensor]) -> None:
    x = random_tokens(2, 4, 3, 8)
    assert torch.equal(no_grad_shift(shift, x, 4, 2)[:, 1:], x[:, 1:])


def test_past_shift_depends_on_no_later_frame() -> None:
    x = random_tokens(1, 6, 2, 8)
    for frame in range(5):
        changed = x.clone()
        changed[frame + 1 :] = 7
        y, z = (token_shift(tokens, 6, 4, "past") for tokens in (x, changed))
        assert torch.equal(y[: frame + 1], z[: frame + 1])
        assert not torch.equal(y[frame + 1], z[frame + 1])


def test_backward_moves_each_gradient_back_where_its_value_came_from() -> None:
    x = random_tokens(2, 3, 2, 8).requires_grad_()
    cotangent = random_tokens(2, 3, 2, 8, seed=1)
    for direction in ("both", "past"):
        (grad,) = torch.autograd.grad(token_shift(x, 3, 4, direction), x, cotangent)
        (expected,) = torch.autograd.grad(slow_shift(x, 3, 4, direction), x, cotangent)
        assert torch.equal(grad, expected)


@pytest.mark.parametrize("direction", ["both", "past"])
@pytest.mark.parametrize(("B", "T", "N", "C", "fold_div"), [(2, 3, 2, 5, 4), (1, 3, 2, 3, 1)])
def test_first_and_second_derivatives_are_right(
    B: int, T: int, N: int, C: int, fold_div: int, direction: str
) -> None:
    x = random_tokens(B, T, N, C, dtype=torch.float64).requires_grad_()

    def squared(tokens: Tensor) -> Tensor:  # so that the second derivative is not zero
        return token_shift(tokens, T, fold_div, direction) ** 2

    assert torch.autograd.gradcheck(squared, x)
    assert torch.autograd.gradgradcheck(squared, x)


@pytest.mark.parametrize("records", [True, False])
def test_token_shift_leaves_its_input_alone(records: bool) -> None:
    x = random_tokens(2, 4, 3, 8)
    before = x.clone()
    with torch.set_grad_enabled(records):
        y = token_shift(x.requires_grad_(records), 4, 4)
    assert torch.equal(x, before)
    assert y.data_ptr() != x.data_ptr()


@pytest.mark.parametrize("wants_grad", [False, True])
def test_in_place_shift_writes_into_its_input_and_returns_it(wants_grad: bool) -> None:
    x = random_tokens(2, 4, 3, 8)
    expected = slow_shift(x, 4, 4)
    x.requires_grad_(wants_grad)
    with torch.no_grad():
        y = token_shift_(x, 4, 4)
    assert y.data_ptr() == x.data_ptr()
    assert torch.equal(x, expected)


def test_in_place_shift_works_in_inference_mode_and_on_leaves_without_grad() -> None:
    x = random_tokens(2, 4, 3, 8)
    expected = slow_shift(x, 4, 4)
    with torch.inference_mode():
        y = token_shift_(x.clone(), 4, 4)
    assert torch.equal(y, expected)
    assert torch.equal(token_shift_(x.clone(), 4, 4), expected)  # grad mode, nothing to record


def test_in_place_shift_does_not_write_while_autograd_records() -> None:
    x = random_tokens(2, 4, 3, 8).requires_grad_()
    before = x.detach().clone()
    y = token_shift_(x, 4, 4)
    assert torch.equal(x, before)
    assert torch.equal(y, slow_shift(before, 4, 4))
    (grad,) = torch.autograd.grad(y, x, torch.ones_like(y))
    (expected,) = torch.autograd.grad(token_shift(x, 4, 4), x, torch.ones_like(y))
    assert torch.equal(grad, expected)


def test_tokens_that_are_not_contiguous_are_shifted_alike() -> None:
    x = random_tokens(2, 8, 3, 4).transpose(1, 2)  # (B*T, C, N) in memory
    expected = slow_shift(x, 4, 2)
    assert torch.equal(token_shift(x, 4, 2), expected)
    with torch.no_grad():
        assert torch.equal(token_shift_(x, 4, 2), expected)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_dtype_is_kept_under_autocast(dtype: torch.dtype) -> None:
    x = random_tokens(2, 4, 3, 8).to(dtype).requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = token_shift(x, 4, 4)
        (grad,) = torch.autograd.grad(y, x, torch.ones_like(y))
    assert y.dtype is grad.dtype is dtype
    assert torch.equal(y, slow_shift(x.detach(), 4, 4))


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_compiled_shift_equals_eager_forward_and_backward(backend: str) -> None:
    x = random_tokens(2, 4, 3, 8).requires_grad_()
    cotangent = random_tokens(2, 4, 3, 8, seed=1)
    for direction in ("both", "past"):
        compiled = torch.compile(TokenShift(4, direction), backend=backend, fullgraph=True)
        y = compiled(x.unflatten(0, (2, 4))).flatten(0, 1)
        expected = token_shift(x, 4, 4, direction)
        assert torch.equal(y, expected)
        grads = (torch.autograd.grad(out, x, cotangent)[0] for out in (y, expected))
        assert torch.equal(*grads)


def test_compiled_in_place_shift_leaves_its_input_alone() -> None:
    x = random_tokens(2, 4, 3, 8)
    before = x.clone()
    compiled = torch.compile(TokenShift(4, owns_input=True), backend="eager", fullgraph=True)
    with torch.no_grad():
        y = compiled(x.unflatten(0, (2, 4)))
    assert torch.equal(y.flatten(0, 1), slow_shift(before, 4, 4))
    assert torch.equal(x, before)


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("owns_input", [True, False])
def test_exported_shift_keeps_the_order_of_time_at_any_batch_size(
    strict: bool, owns_input: bool
) -> None:
    shift = TokenShift(4, owns_input=owns_input)
    example = random_tokens(2, 4, 3, 8).unflatten(0, (2, 4))
    dynamic = {"x": {0: torch.export.Dim("B", min=1, max=64)}}
    program = torch.export.export(shift, (example,), dynamic_shapes=dynamic, strict=strict)
    x = random_tokens(5, 4, 3, 8, seed=1).unflatten(0, (5, 4))
    y = program.module()(x)
    assert torch.equal(y.flatten(0, 1), slow_shift(x.flatten(0, 1), 4, 4))
    order = [2, 0, 3, 1]
    assert not torch.equal(program.module()(x[:, order]), y[:, order])


@pytest.mark.parametrize("owns_input", [True, False])
def test_module_shifts_each_clip_and_has_no_parameters(owns_input: bool) -> None:
    module = TokenShift(2, "past", owns_input)
    x = random_tokens(3, 4, 2, 6)
    with torch.no_grad():
        y = module(x.clone().unflatten(0, (3, 4)))
    assert y.shape == (3, 4, 2, 6)
    assert torch.equal(y.flatten(0, 1), slow_shift(x, 4, 2, "past"))
    assert not module.state_dict()
    assert not list(module.parameters())


def test_module_writes_to_its_input_only_where_it_owns_it() -> None:
    x = random_tokens(2, 4, 2, 6).unflatten(0, (2, 4))
    before = x.clone()
    with torch.no_grad():
        TokenShift(2)(x)
        assert torch.equal(x, before)
        assert TokenShift(2, owns_input=True)(x).data_ptr() == x.data_ptr()
    assert not torch.equal(x, before)


def test_module_shows_its_settings() -> None:
    shown = repr(nn.Sequential(TokenShift(8, "past")))
    assert "TokenShift(fold_div=8, direction=past)" in shown


@pytest.mark.parametrize("shift", SHIFTS)
@pytest.mark.parametrize(
    ("shape", "num_frames", "fold_div", "direction", "text"),
    [
        ((8, 5), 4, 4, "both", r"needs \(B\*T, N, C\) tokens.*got shape \(8, 5\), T=4"),
        ((2, 4, 5, 8), 4, 4, "both", r"got shape \(2, 4, 5, 8\), T=4"),
        ((9, 5, 8), 4, 4, "both", r"multiple of T >= 1; got shape \(9, 5, 8\), T=4"),
        ((8, 5, 8), 0, 4, "both", r"multiple of T >= 1; got shape \(8, 5, 8\), T=0"),
        ((8, 5, 8), 4, 0, "both", "needs fold_div >= 1, got 0"),
        ((8, 5, 8), 4, -2, "both", "needs fold_div >= 1, got -2"),
        ((8, 5, 8), 4, 4, "future", r"one of \('both', 'past'\), got 'future'"),
    ],
)
def test_what_cannot_be_shifted_is_an_error_that_says_what_is_needed(
    shape: tuple[int, ...],
    num_frames: int,
    fold_div: int,
    direction: str,
    text: str,
    shift: Callable[..., Tensor],
) -> None:
    with pytest.raises(ValueError, match=text):
        shift(torch.zeros(shape), num_frames, fold_div, direction)
