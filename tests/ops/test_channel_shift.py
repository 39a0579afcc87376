"""The channel shift equals the releases' to the last bit, forward and backward."""

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from ops.channel_shift import (
    FROM_NEXT,
    FROM_PREVIOUS,
    ChannelBlend,
    ChannelShift,
    channel_blend,
    channel_shift,
    channel_shift_,
    move_groups,
)
from tests.conftest import golden_arrays, paddle_names

ORDERS = ("future_first", "past_first")


def slow_shift(
    x: Tensor, num_frames: int, first: int, second: int, order: str, direction: str
) -> Tensor:
    """One channel of one frame at a time, from the tables of arXiv:1811.08383 and PaddleVideo."""
    clips = x.unflatten(0, (-1, num_frames))
    y = torch.zeros_like(clips)
    for t, c in itertools.product(range(num_frames), range(x.shape[1])):
        if direction == "past":
            source = t - 1 if c < first else t
        else:
            ahead, back = (t + 1, t - 1) if order == "future_first" else (t - 1, t + 1)
            source = ahead if c < first else back if c < second else t
        if 0 <= source < num_frames:
            y[:, t, c] = clips[:, source, c]
    return y.flatten(0, 1)


def test_three_frames_of_four_channels_by_hand() -> None:
    x = torch.tensor([[1.0, 2, 3, 4], [5, 6, 7, 8], [9, 10, 11, 12]])[..., None, None]
    moved = [[5.0, 0, 3, 4], [9, 2, 7, 8], [0, 6, 11, 12]]
    assert channel_shift(x, 3, fold_div=4)[..., 0, 0].tolist() == moved


@pytest.mark.parametrize("case", golden_arrays("tsm/ops/shift.npz", r"y(\d+)"))
def test_release_output_and_gradient(case: int, golden: Callable, golden_json: Callable) -> None:
    arrays = golden("tsm/ops/shift.npz")
    facts = next(row for row in golden_json("tsm/ops/ops.json")["shift"] if row["case"] == case)
    x = torch.from_numpy(arrays[f"x{case}"]).requires_grad_()
    y = channel_shift(x, facts["T"], facts["fold_div"])
    y.backward(torch.from_numpy(arrays[f"g{case}"]))
    np.testing.assert_array_equal(y.detach().numpy(), arrays[f"y{case}"])
    np.testing.assert_array_equal(x.grad.numpy(), arrays[f"gx{case}"])
    past = channel_shift(x.detach(), facts["T"], facts["fold_div"], direction="past")
    np.testing.assert_array_equal(past.numpy(), arrays[f"uni{case}"])


@pytest.mark.parametrize("name", paddle_names("Recognizer2D", "io.npz"))
def test_paddle_output(name: str, golden: Callable) -> None:
    arrays = golden(f"paddlevideo/models/{name}/io.npz")
    if "shift_in" not in arrays:
        pytest.skip("the shift of this model is not on record alone")
    x = torch.from_numpy(arrays["shift_in"])
    num_frames = x.shape[0] // 2
    y = channel_shift(x, num_frames, order="past_first", ratio=1 / num_frames)
    np.testing.assert_array_equal(y.numpy(), arrays["shift_out"])


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("direction", ["both", "past"])
@pytest.mark.parametrize(
    ("num_frames", "C", "fold_div"), [(4, 8, 4), (3, 7, 3), (1, 8, 8), (5, 5, 8), (2, 3, 1)]
)
def test_slow_loop(num_frames: int, C: int, fold_div: int, order: str, direction: str) -> None:
    x = torch.randn(2 * num_frames, C, 3, 2)
    fold = C // fold_div
    expected = slow_shift(x, num_frames, fold, 2 * fold, order, direction)
    assert torch.equal(channel_shift(x, num_frames, fold_div, order, direction), expected)
    in_place = x.clone()
    assert channel_shift_(in_place, num_frames, fold_div, order, direction) is in_place
    assert torch.equal(in_place, expected)


def test_ratio_ends_the_groups_where_paddle_does() -> None:
    x = torch.randn(12, 19, 2, 2)  # int(19 / 12) = 1, int(38 / 12) = 3: the second group is larger
    expected = slow_shift(x, 12, 1, 3, "past_first", "both")
    assert torch.equal(channel_shift(x, 12, order="past_first", ratio=1 / 12), expected)


@pytest.mark.parametrize(
    ("options", "groups"),
    [
        ({}, [(2, FROM_NEXT), (2, FROM_PREVIOUS)]),
        ({"order": "past_first"}, [(2, FROM_PREVIOUS), (2, FROM_NEXT)]),
        ({"direction": "past"}, [(2, FROM_PREVIOUS)]),
    ],
)
def test_one_copy_equals_the_definition_forward_and_backward(
    options: dict[str, Any], groups: list[tuple[int, int]]
) -> None:
    x, cotangent = torch.randn(2, 6, 9, 2, 3).unbind(0)
    x.requires_grad_()
    y, expected = channel_shift(x, 3, fold_div=4, **options), move_groups(x, 3, groups)
    assert torch.equal(y, expected)
    grads = [torch.autograd.grad(out, x, cotangent)[0] for out in (y, expected)]
    assert torch.equal(*grads)


def test_clips_do_not_leak_into_each_other() -> None:
    x = torch.randn(6, 8, 2, 2)
    other = torch.cat([x[:3], torch.randn(3, 8, 2, 2)])
    assert torch.equal(channel_shift(x, 3)[:3], channel_shift(other, 3)[:3])


def test_a_single_frame_loses_the_moved_channels() -> None:
    x = torch.ones(2, 8, 2, 2)
    assert channel_shift(x, 1)[:, :2].eq(0).all()
    assert channel_shift(x, 1)[:, 2:].eq(1).all()


def test_gradient_in_double_precision_and_twice() -> None:
    x = torch.randn(3, 5, 2, 1, dtype=torch.float64, requires_grad=True)
    for options in ({}, {"order": "past_first"}, {"direction": "past"}):
        assert torch.autograd.gradcheck(lambda x, o=options: channel_shift(x, 3, 3, **o), x)
        assert torch.autograd.gradgradcheck(lambda x, o=options: channel_shift(x, 3, 3, **o), x)
    assert torch.autograd.gradcheck(lambda x: channel_blend(x, 3, 3), x)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_layout_is_kept_both_ways(memory_format: torch.memory_format) -> None:
    x = torch.randn(8, 16, 3, 5).to(memory_format=memory_format).requires_grad_()
    y = channel_shift(x, 4)
    assert y.is_contiguous(memory_format=memory_format)
    assert torch.equal(y, channel_shift(x.detach().contiguous(), 4))
    (y * torch.randn_like(y)).sum().backward()
    assert x.grad.is_contiguous(memory_format=memory_format)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_in_place_touches_only_the_moved_channels(memory_format: torch.memory_format) -> None:
    x = torch.randn(8, 16, 3, 5).to(memory_format=memory_format)
    expected, address = channel_shift(x, 4), x.data_ptr()
    y = channel_shift_(x, 4)
    assert y.data_ptr() == address
    assert torch.equal(y, expected)


def test_in_place_leaves_a_recorded_input_alone() -> None:
    x = torch.randn(4, 8, 2, 2, requires_grad=True)
    before = x.detach().clone()
    y = channel_shift_(x * 1, 2)
    y.sum().backward()
    assert torch.equal(x.detach(), before)
    assert torch.equal(x.grad, channel_shift(torch.ones(4, 8, 2, 2).flip(0), 2).flip(0))


@pytest.mark.filterwarnings("ignore")  # torch.jit.trace says that it is old, and that T is fixed
@pytest.mark.parametrize("options", [{}, {"order": "past_first"}, {"direction": "past"}])
def test_traced_and_exported_forms_are_equal(options: dict[str, Any]) -> None:
    shift = ChannelShift(4, **options)
    x = torch.randn(6, 9, 2, 2)
    exported = torch.export.export(shift, (x, 3)).module()
    assert torch.equal(exported(x, 3), shift(x, 3))
    traced = torch.jit.trace(lambda x: channel_shift(x, 3, 4, **options), x)
    assert torch.equal(traced(x), shift(x, 3))


def test_blend_by_a_slow_loop() -> None:
    num_frames, C, fold = 4, 11, 2
    x = torch.randn(2 * num_frames, C, 2, 3)
    clips = x.unflatten(0, (-1, num_frames))
    y = clips.clone()
    for t in range(num_frames):
        following = clips[:, t + 1, :fold] if t + 1 < num_frames else None
        previous = clips[:, t - 1, fold : 2 * fold] if t else None
        y[:, t, :fold] = 0 if following is None else 0.5 * (clips[:, t, :fold] + following)
        y[:, t, fold : 2 * fold] = (
            0 if previous is None else 0.5 * (previous + clips[:, t, fold : 2 * fold])
        )
    assert torch.equal(channel_blend(x, num_frames, 5), y.flatten(0, 1))
    assert torch.equal(ChannelBlend(5)(x, num_frames), y.flatten(0, 1))


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"num_frames": 3}, "B\\*T a multiple of T"),
        ({"num_frames": 0}, "B\\*T a multiple of T"),
        ({"num_frames": 2, "fold_div": 0}, "fold_div >= 1"),
        ({"num_frames": 2, "ratio": 0.6}, "ratio from 0 to 0.5"),
        ({"num_frames": 2, "order": "next"}, "future_first"),
        ({"num_frames": 2, "direction": "future"}, "past"),
    ],
)
def test_wrong_arguments_are_named(arguments: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        channel_shift(torch.zeros(4, 8, 2, 2), **arguments)
    with pytest.raises(ValueError, match=text):
        channel_shift_(torch.zeros(4, 8, 2, 2), **arguments)


def test_maps_without_height_and_width_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(B\*T, C, H, W\)"):
        channel_shift(torch.zeros(4, 8), 2)
