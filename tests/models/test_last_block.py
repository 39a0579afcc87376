"""The last block of a ViT, which only feeds the class token."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from models.timesformer import ATTENTIONS, TimeSformer
from models.tokshift import tokshift
from models.vit import VisionTransformer, ViTSize, vit
from tests.models.conftest import randomized

SIZE = ViTSize(patch_size=8, hidden_size=16, mlp_dim=24, num_heads=4, num_layers=3)


def toy_vit(**options: float | bool) -> VisionTransformer:
    return vit(SIZE, 16, 5, **options)


def toy_tokshift(**options: float | bool) -> VisionTransformer:
    return tokshift(SIZE, 16, 5, fold_div=4, **options)


def toy_branch_shift(**options: float | bool) -> VisionTransformer:
    return tokshift(SIZE, 16, 5, fold_div=4, shifts_residual=False, **options)


def toy_timesformer(attention: str) -> Callable[..., TimeSformer]:
    def build(**options: float | bool) -> TimeSformer:
        bias = attention != "joint"  # both kinds are tried
        return TimeSformer(16, 8, 4, 16, 3, 4, 24, 5, bias, attention=attention, **options)

    return build


BUILDERS = [toy_vit, toy_tokshift, toy_branch_shift, *map(toy_timesformer, ATTENTIONS)]


def toy_clips(B: int = 2) -> Tensor:
    return torch.randn(B, 4, 3, 16, 16, generator=torch.Generator().manual_seed(1))


def learned(
    model: nn.Module, clips: Tensor, narrows: bool, seed: int = 0
) -> tuple[Tensor, list[Tensor]]:
    """Logits of clips, and the gradients of all parameters."""
    model.narrows_last_block = narrows
    model.zero_grad()
    torch.manual_seed(seed)
    logits = model(clips)
    F.cross_entropy(logits, torch.arange(len(clips))).backward()
    return logits.detach(), [parameter.grad for parameter in model.parameters()]


@pytest.mark.parametrize("build", BUILDERS)
@pytest.mark.parametrize("drop_path", [0.0, 0.5])
def test_logits_and_gradients_are_those_of_the_whole_block(
    build: Callable[..., nn.Module], drop_path: float
) -> None:
    model = randomized(build(drop_path=drop_path)).double()
    clips = toy_clips().double()
    results = [learned(model, clips, narrows) for narrows in (False, True)]
    (logits, gradients), (narrow_logits, narrow_gradients) = results
    # float64: rounding only. Stochastic depth draws the same, whatever the number of tokens
    torch.testing.assert_close(narrow_logits, logits, atol=1e-13, rtol=0)
    for ours, theirs in zip(narrow_gradients, gradients, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-13, rtol=1e-11)


@pytest.mark.parametrize("build", BUILDERS)
@pytest.mark.parametrize("records", [False, True])
def test_logits_in_float32_stay_within_1e_6(build: Callable[..., nn.Module], records: bool) -> None:
    torch.manual_seed(0)
    model = build().eval()  # fresh weights: logits of order 1
    with torch.set_grad_enabled(records):
        narrow = model(toy_clips())
        model.narrows_last_block = False
        torch.testing.assert_close(narrow, model(toy_clips()), atol=1e-6, rtol=0)


@pytest.mark.parametrize("build", BUILDERS)
def test_recomputed_last_block_gives_the_same_gradients(build: Callable[..., nn.Module]) -> None:
    kept = learned(randomized(build()), toy_clips(), narrows=True)
    again = learned(randomized(build(checkpoints_blocks=True)), toy_clips(), narrows=True)
    assert torch.equal(kept[0], again[0])
    assert all(torch.equal(a, b) for a, b in zip(kept[1], again[1], strict=True))


@pytest.mark.parametrize("build", BUILDERS)
def test_who_watches_the_last_block_sees_all_tokens(build: Callable[..., nn.Module]) -> None:
    model, shapes = randomized(build()).eval(), []
    model.narrows_last_block = False
    expected = model(toy_clips())
    model.narrows_last_block = True
    for module in (model.blocks[-1], model.blocks[-1].mlp.fc2):
        handle = module.register_forward_hook(lambda *args: shapes.append(args[-1].shape))
        assert torch.equal(model(toy_clips()), expected)  # the same operations
        handle.remove()
        assert shapes.pop()[-2] > 4


def test_class_token_alone_saves_the_operations_that_are_claimed() -> None:
    size = ViTSize(patch_size=16, hidden_size=96, mlp_dim=384, num_heads=4, num_layers=12)
    with torch.device("meta"):
        model, clips = vit(size, 224, 10), torch.zeros(1, 2, 3, 224, 224)
        counts = []
        for narrows in (False, True):
            model.narrows_last_block = narrows
            with FlopCounterMode(display=False) as counter, torch.no_grad():
                model(clips)
            counts.append(counter.get_total_flops())
    N, C, frames = 197, 96, 2
    linear = (2 + 8) * C * C * (N - 1)  # queries, projection, MLP of all patches
    saved = 2 * frames * (linear + 2 * (N - 1) * N * C)  # and their attention
    assert counts[0] - counts[1] == saved


@pytest.mark.parametrize("build", BUILDERS)
def test_narrowed_model_compiles_without_a_break_and_exports(
    build: Callable[..., nn.Module],
) -> None:
    model = randomized(build()).eval()
    with torch.no_grad():
        expected = model(toy_clips())
        whole = torch.compile(model, backend="eager", fullgraph=True)
        # fused and unfused attention round differently
        torch.testing.assert_close(whole(toy_clips()), expected, atol=1e-5, rtol=0)
        program = torch.export.export(model, (toy_clips(),))
        torch.testing.assert_close(program.module()(toy_clips()), expected, atol=1e-5, rtol=0)
