import numpy as np
import pytest
import torch
from torch import Tensor, nn

from models.explain.rollout import (
    FrameLayer,
    clip_rollout,
    frame_rollout,
    frame_shares,
    roll_out,
    roll_out_divided,
    roll_out_frames,
)
from models.timesformer import TimeSformer
from models.tokshift import tokshift
from models.vit import ViTSize, vit
from ops.token_shift import TokenShift

SIZE = ViTSize(patch_size=4, hidden_size=16, mlp_dim=16, num_heads=2, num_layers=3)


def shares(*shape: int, seed: int = 0) -> Tensor:
    """Random attention weights: rows that sum to 1."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=torch.float64, generator=generator).softmax(-1)


def clips(T: int = 4, side: int = 8, B: int = 2) -> Tensor:
    return torch.randn(B, T, 3, side, side, generator=torch.Generator().manual_seed(1))


def drawn(model: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.5)
    return model.eval()


def test_one_layer_by_hand() -> None:
    # half of the class token stays; of the other half a quarter goes to itself, the rest to patches
    attention = torch.tensor([[0.25, 0.5, 0.25], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
    row = roll_out_frames([FrameLayer(attention[None, None])])
    assert row.tolist() == [[[0.25, 0.125]]]
    assert roll_out([attention])[0].tolist() == [0.625, 0.25, 0.125]


def test_two_layers_by_hand() -> None:
    first = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, 0.0, 1.0]])
    second = torch.tensor([[0.0, 1.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    # class token: half itself, half patch 1, which the first layer made half of patch 2
    expected = [[[0.25, 0.25]]]
    layers = [FrameLayer(first[None, None]), FrameLayer(second[None, None])]
    assert roll_out_frames(layers).tolist() == expected


def test_the_rollout_is_the_product_of_the_layers() -> None:
    layers = [shares(5, 5, seed=layer).numpy() for layer in range(4)]
    expected = np.eye(5)
    for layer in layers:
        mixed = layer + np.eye(5)
        mixed = mixed / mixed.sum(1, keepdims=True)
        expected = mixed @ expected
    got = roll_out([torch.from_numpy(layer) for layer in layers])
    assert np.allclose(got, expected, atol=1e-14)  # float64


@pytest.mark.parametrize("shifts_residual", [True, False])
@pytest.mark.parametrize("direction", ["both", "past"])
def test_class_tokens_that_shift_equal_whole_matrices(
    shifts_residual: bool, direction: str
) -> None:
    """A slow loop over all pairs of tokens of a clip, layer by layer."""
    T, N, num_layers = 4, 3, 3
    attentions = [shares(1, T, N, N, seed=layer) for layer in range(num_layers)]
    moved = frame_shares(TokenShift(4, direction), T, 8).double()
    shift, identity = np.eye(T * N), np.eye(T * N)  # from tokens to shifted tokens
    for t in range(T):
        for s in range(T):
            shift[t * N, s * N] = moved[t, s]
    product = identity
    for attention in attentions:
        attend = np.zeros((T * N, T * N))
        for t in range(T):
            for q in range(N):
                for k in range(N):
                    attend[t * N + q, t * N + k] = attention[0, t, q, k]
        if shifts_residual:
            half, rest = (attend + identity) / 2 @ shift, shift
        else:
            half, rest = (attend @ shift + identity) / 2, (shift + identity) / 2
        product = rest @ half @ product
    of_class_tokens = product[[t * N for t in range(T)]].mean(0).reshape(T, N)
    layers = [FrameLayer(a, moved, moved, shifts_residual) for a in attentions]
    got = roll_out_frames(layers)
    assert np.allclose(got[0], of_class_tokens[:, 1:], atol=1e-14)  # float64


@pytest.mark.parametrize("has_time", [True, False])
def test_divided_attention_equals_whole_matrices(has_time: bool) -> None:
    """A slow loop over the tokens of a clip: its class token, then its patches, time fastest."""
    T, N, num_layers = 3, 2, 3
    spaces = [shares(1, T, 1 + N, 1 + N, seed=layer) for layer in range(num_layers)]
    times = [shares(1, N, T, T, seed=10 + layer) for layer in range(num_layers)]
    size = 1 + N * T

    def place(n: int, t: int) -> int:
        return 1 + n * T + t if n >= 0 else 0  # -1: the class token

    product = np.eye(size)
    for space, time in zip(spaces, times, strict=True):
        along, within = np.zeros((size, size)), np.zeros((size, size))
        along[0, 0] = 1
        for n in range(N):
            for t in range(T):
                for s in range(T):
                    along[place(n, t), place(n, s)] = time[0, n, t, s]
        for t in range(T):
            for q in range(-1, N):
                for k in range(-1, N):
                    share = 1 / T if q == -1 else 1
                    within[place(q, t), place(k, t)] += share * space[0, t, q + 1, k + 1]
        if has_time:
            product = (along + np.eye(size)) / 2 @ product
        product = (within + np.eye(size)) / 2 @ product
    expected = product[0, 1:].reshape(N, T).T
    got = roll_out_divided(spaces, times if has_time else [None] * num_layers)
    assert np.allclose(got[0], expected, atol=1e-14)  # float64


def test_shares_of_the_shifted_class_token_by_hand() -> None:
    expected = [[2 / 3, 1 / 3, 0], [1 / 4, 1 / 2, 1 / 4], [0, 1 / 3, 2 / 3]]
    assert np.allclose(frame_shares(TokenShift(4), 3, 8), expected)
    past = [[1, 0, 0], [1 / 4, 3 / 4, 0], [0, 1 / 4, 3 / 4]]
    assert np.allclose(frame_shares(TokenShift(4, "past"), 3, 8), past)
    assert frame_shares(TokenShift(4, owns_input=True), 3, 8).sum(1).tolist() == [1, 1, 1]
    assert frame_shares(nn.Identity(), 3, 8).tolist() == torch.eye(3).tolist()


def test_a_class_token_that_is_shifted_away_has_no_share() -> None:
    assert frame_shares(TokenShift(2), 1, 8).tolist() == [[0]]


def test_a_vit_is_the_textbook_rollout_of_each_frame() -> None:
    model = drawn(vit(SIZE, image_size=8, num_classes=3))
    maps = frame_rollout(model, clips())
    whole = roll_out([weights.mean(2) for weights in model.attention_weights(clips())])
    assert maps.shape == (2, 4, 2, 2)
    assert torch.allclose(maps.flatten(2) * 4, whole[:, :, 0, 1:], atol=1e-6)  # float32


def test_frames_of_a_vit_have_no_part_in_each_other() -> None:
    model = drawn(vit(SIZE, image_size=8, num_classes=3))
    changed = clips()
    changed[:, 2] = 0
    before, after = frame_rollout(model, clips()), frame_rollout(model, changed)
    assert torch.equal(before[:, [0, 1, 3]], after[:, [0, 1, 3]])


def test_a_shift_of_nothing_is_the_rollout_of_a_vit() -> None:
    model = drawn(tokshift(SIZE, image_size=8, num_classes=3, fold_div=1000))
    image_model = vit(SIZE, image_size=8, num_classes=3).eval()
    image_model.load_state_dict(model.state_dict())
    assert torch.equal(frame_rollout(model, clips()), frame_rollout(image_model, clips()))


@pytest.mark.parametrize("direction", ["both", "past"])
def test_the_shift_gives_shares_to_the_frames_that_class_tokens_come_from(direction: str) -> None:
    model = drawn(tokshift(SIZE, 8, num_classes=3, fold_div=4, direction=direction))
    shares_of_frames = frame_rollout(model, clips(T=8)).sum((2, 3))[0]  # (T,)
    assert shares_of_frames.sum() < 1
    if direction == "past":  # what came from the last frame is in its own class token alone
        assert shares_of_frames[-1] < shares_of_frames[:4].min()


def test_a_timesformer_has_maps_over_space_and_time() -> None:
    model = drawn(TimeSformer(8, 4, 4, 16, 3, 2, 16, num_classes=3))
    maps = clip_rollout(model, clips())
    assert maps.both.shape == (2, 4, 2, 2)
    assert maps.space is not None
    assert maps.time is not None
    assert maps.space.shape == maps.both.shape
    assert maps.time.shape == (2, 4, 4)
    # the attention along time moves shares between frames, and neither makes nor loses any
    assert torch.allclose(maps.time.sum(-1), torch.ones(2, 4), atol=1e-6)  # float32
    first = clip_rollout(model, clips()[:1])
    assert torch.allclose(first.both, maps.both[:1], atol=1e-6)  # clips do not meet


def test_joint_attention_is_the_textbook_rollout_of_a_clip() -> None:
    model = drawn(TimeSformer(8, 4, 4, 16, 3, 2, 16, num_classes=3, attention="joint"))
    maps = clip_rollout(model, clips())
    whole = roll_out([pair.space[:, 0].mean(1) for pair in model.attention_weights(clips())])
    for n in range(4):
        for t in range(4):
            got, expected = maps.both[:, t, n // 2, n % 2], whole[:, 0, 1 + n * 4 + t]
            assert torch.allclose(got, expected, atol=1e-6)  # float32
    assert maps.space is None
    assert maps.time is None


def test_attention_in_space_only_is_the_textbook_rollout_of_each_frame() -> None:
    model = drawn(TimeSformer(8, 4, 4, 16, 3, 2, 16, num_classes=3, attention="space_only"))
    maps = clip_rollout(model, clips())
    whole = roll_out([pair.space.mean(2) for pair in model.attention_weights(clips())])
    assert torch.allclose(maps.both.flatten(2) * 4, whole[:, :, 0, 1:], atol=1e-6)  # float32
    assert maps.time is None


def test_patches_lie_row_by_row() -> None:
    """A model whose class token looks at the one patch that is not black."""
    model = vit(ViTSize(4, 1, 1, 1, 1, qkv_bias=False), image_size=12, num_classes=2).eval()
    clip = clips(T=1, side=12, B=1)
    for row in range(3):
        for column in range(3):
            attention = torch.eye(10)
            attention[0] = 0
            attention[0, 1 + 3 * row + column] = 1
            model.attention_by_block = lambda _, a=attention: iter([a[None, None, None]])
            maps = frame_rollout(model, clip)[0, 0]
            assert maps[row, column] == 0.5
            assert maps.sum() == 0.5
