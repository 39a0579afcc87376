import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.tokshift import tokshift
from models.vit import Block, VisionTransformer, ViTSize, vit
from ops.token_shift import TokenShift, token_shift
from tests.models.conftest import randomized

SIZE = ViTSize(patch_size=8, hidden_size=16, mlp_dim=24, num_heads=4, num_layers=3)


def toy_tokshift(
    direction: str = "both", shifts_residual: bool = True, fold_div: int = 4, **kwargs: bool
) -> VisionTransformer:
    model = tokshift(SIZE, 16, 5, fold_div, direction, shifts_residual, **kwargs)
    return randomized(model)


def toy_clips(B: int = 2, T: int = 4, seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(B, T, 3, 16, 16, generator=generator)


def slow_logits(
    model: VisionTransformer, clips: Tensor, fold_div: int, direction: str, shifts_residual: bool
) -> Tensor:
    """Follow section 3.3 of the paper with the model's weights and nothing else of its code."""
    B, T = clips.shape[:2]

    def half(x: Tensor, norm: nn.Module, branch: nn.Module) -> Tensor:
        shifted = token_shift(x, T, fold_div, direction)
        return (shifted if shifts_residual else x) + branch(norm(shifted))

    x = model.embed(clips).flatten(0, 1)  # (B*T, N, C)
    for block in model.blocks:
        x = half(x, block.norm1, block.attn)
        x = half(x, block.norm2, block.mlp)
    return model.head(model.norm(x)[:, 0]).unflatten(0, (B, T)).mean(1)


@pytest.mark.parametrize("shifts_residual", [True, False])
@pytest.mark.parametrize("direction", ["both", "past"])
@pytest.mark.parametrize("records", [True, False])
def test_logits_equal_the_papers_text(records: bool, direction: str, shifts_residual: bool) -> None:
    model = toy_tokshift(direction, shifts_residual).double()
    clips = toy_clips().double()
    with torch.set_grad_enabled(records):
        expected = slow_logits(model, clips, 4, direction, shifts_residual)
        torch.testing.assert_close(model(clips), expected, atol=1e-12, rtol=0)  # float64


def test_each_setting_of_the_shift_changes_the_logits() -> None:
    clips = toy_clips()
    models = [
        randomized(vit(SIZE, 16, 5)),
        toy_tokshift(),
        toy_tokshift("past"),
        toy_tokshift(shifts_residual=False),
        toy_tokshift(fold_div=8),
    ]
    logits = [model.eval()(clips) for model in models]
    for i, one in enumerate(logits):
        for other in logits[:i]:
            assert (one - other).abs().max() > 1e-2


def test_weights_of_vit_and_tokshift_are_interchangeable() -> None:
    image, video = vit(SIZE, 16, 5).state_dict(), toy_tokshift().state_dict()
    assert list(image) == list(video)
    assert [tensor.shape for tensor in image.values()] == [t.shape for t in video.values()]


def test_every_block_shifts_twice_and_owns_what_the_first_half_made() -> None:
    for shifts_residual in (True, False):
        for block in toy_tokshift("past", shifts_residual, fold_div=8).blocks:
            shifts = [block.attn_shift, block.mlp_shift]
            assert all(isinstance(shift, TokenShift) for shift in shifts)
            assert {(shift.fold_div, shift.direction) for shift in shifts} == {(8, "past")}
            assert [shift.owns_input for shift in shifts] == [False, shifts_residual]


@pytest.mark.parametrize(("direction", "expected"), [("both", True), ("past", False)])
def test_only_a_shift_to_the_past_never_sees_later_frames(direction: str, expected: bool) -> None:
    model, clips = toy_tokshift(direction).eval(), toy_clips(T=6)
    changed = clips.clone()
    changed[:, 3:] = toy_clips(T=3, seed=2)
    before, after = model.frame_logits(clips), model.frame_logits(changed)
    sees_later_frames = not torch.allclose(before[:, :3], after[:, :3], atol=1e-5, rtol=0)
    assert sees_later_frames is expected
    assert (before[:, 3:] - after[:, 3:]).abs().max() > 0.1


def test_model_sees_the_order_of_the_frames() -> None:
    model, clips = toy_tokshift().eval(), toy_clips()
    assert (model(clips[:, [2, 0, 3, 1]]) - model(clips)).abs().max() > 1e-2


def test_clips_of_a_batch_do_not_see_each_other() -> None:
    model, clips = toy_tokshift().eval(), toy_clips(B=3)
    alone = torch.cat([model(clip[None]) for clip in clips])
    torch.testing.assert_close(model(clips), alone, atol=1e-5, rtol=0)  # batches of other size


@pytest.mark.parametrize("T", [1, 2, 3, 9])
def test_clips_may_have_any_length(T: int) -> None:
    logits = toy_tokshift().eval()(toy_clips(T=T))
    assert logits.shape == (2, 5)
    assert logits.isfinite().all()


def test_shift_that_moves_all_channels_of_a_single_frame_blinds_the_model() -> None:
    model = toy_tokshift(fold_div=2).eval()
    one, other = model(toy_clips(T=1)), model(toy_clips(T=1, seed=2))
    assert torch.equal(one, other)  # as released: every shift zeroes the whole class token
    assert not torch.equal(model(toy_clips(T=2)), model(toy_clips(T=2, seed=2)))


@pytest.mark.parametrize("shifts_residual", [True, False])
def test_in_place_shift_leaves_what_blocks_take_and_give_alone(shifts_residual: bool) -> None:
    model = toy_tokshift(shifts_residual=shifts_residual).eval()
    seen: list[tuple[Tensor, Tensor]] = []  # (as it is kept, as it was)

    def keep(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        seen.extend((tensor, tensor.clone()) for tensor in (*inputs, output))

    for block in model.blocks:
        for module in (block, block.attn_shift, block.norm1, block.attn, block.norm2, block.mlp):
            module.register_forward_hook(keep)
    clips = toy_clips()
    with torch.no_grad():
        model(clips)
    assert len(seen) == 2 * 6 * SIZE.num_layers
    assert all(torch.equal(kept, before) for kept, before in seen)
    assert torch.equal(clips, toy_clips())


def test_attention_weights_are_of_the_shifted_tokens() -> None:
    model, clips = toy_tokshift().double().eval(), toy_clips().double()
    inputs: list[Tensor] = []
    for block in model.blocks:
        block.attn.register_forward_hook(lambda module, args, output: inputs.append(args[0]))
    for records in (True, False):
        inputs.clear()
        with torch.set_grad_enabled(records):
            weights = model.attention_weights(clips)
            for block, shares, x in zip(model.blocks, weights, inputs, strict=True):
                assert torch.equal(shares.flatten(0, 1), block.attn.weights(x))
                ones = torch.ones(2, 4, 4, 5, dtype=torch.float64)
                torch.testing.assert_close(shares.sum(-1), ones)


def test_recomputing_blocks_changes_neither_loss_nor_gradients() -> None:
    gradients = []
    for recomputes in (False, True):
        model = toy_tokshift(checkpoints_blocks=recomputes).train()
        loss = F.cross_entropy(model(toy_clips()), torch.tensor([0, 1]))
        loss.backward()
        gradients.append([loss, *(parameter.grad for parameter in model.parameters())])
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))  # same operations


def test_model_runs_under_bf16_autocast() -> None:
    model, clips = toy_tokshift(), toy_clips()
    with torch.no_grad():
        expected = model(clips)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits, of_frames = model(clips), model.frame_logits(clips)
    assert of_frames.dtype is torch.bfloat16
    assert logits.dtype is torch.float32  # their mean keeps its digits
    # 8 bits through three blocks: some per cent of logits of order 1
    torch.testing.assert_close(logits.float(), expected, atol=0.1, rtol=0)


def test_exported_model_equals_eager_at_another_batch_size() -> None:
    model = toy_tokshift().eval()
    dynamic = {"clips": {0: torch.export.Dim("B", min=1, max=64)}}
    with torch.no_grad():
        program = torch.export.export(model, (toy_clips(B=2),), dynamic_shapes=dynamic)
        clips = toy_clips(B=5, seed=3)
        expected = model(clips)
        # fused and unfused attention round differently
        torch.testing.assert_close(program.module()(clips), expected, atol=1e-5, rtol=0)
        shuffled = program.module()(clips[:, [2, 0, 3, 1]])
    assert (shuffled - expected).abs().max() > 1e-2


def test_compiled_model_equals_eager_forward_and_backward() -> None:
    model, clips = toy_tokshift(), toy_clips()
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    results = []
    for module in (model, compiled):
        model.zero_grad()
        logits = module(clips)
        F.cross_entropy(logits, torch.tensor([0, 1])).backward()
        results.append([logits, *(parameter.grad.clone() for parameter in model.parameters())])
    for ours, expected in zip(*results, strict=True):
        torch.testing.assert_close(ours, expected, atol=1e-5, rtol=1e-4)  # float32, other order


def test_block_without_shifts_is_the_image_block() -> None:
    image = randomized(Block(SIZE))
    x = torch.randn(2, 4, 5, 16, generator=torch.Generator().manual_seed(0))
    one_frame_each = randomized(Block(SIZE, 0.0, TokenShift(17), TokenShift(17)))
    assert torch.equal(image(x), one_frame_each(x))  # 16 // 17 = 0 channels shift
