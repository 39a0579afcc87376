import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from config.backbones import BACKBONES
from models.vit import Block, VisionTransformer, ViTSize, drop_path_rates, vit
from models.vit_parts import Attention, Mlp, PatchEmbed
from tests.models.conftest import randomized

SIZE = ViTSize(patch_size=8, hidden_size=16, mlp_dim=24, num_heads=4, num_layers=3)


def toy_vit(image_size: int = 16, seed: int = 0, **kwargs: float | bool) -> VisionTransformer:
    return randomized(vit(SIZE, image_size, num_classes=5, **kwargs), seed)


def toy_clips(B: int = 2, T: int = 4, image_size: int = 16, seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(B, T, 3, image_size, image_size, generator=generator)


def memoryless(backbone: str, image_size: int = 224, num_classes: int = 10) -> VisionTransformer:
    """Build a model of a backbone's size on the meta device, where tensors have shapes alone."""
    size = ViTSize(**{key.lower(): value for key, value in BACKBONES[backbone].items()})
    with torch.device("meta"):
        blocks = [Block(size) for _ in range(size.num_layers)]
        return VisionTransformer(size, blocks, image_size, num_classes)


def test_logits_have_a_row_for_each_clip_of_any_length() -> None:
    model = toy_vit().eval()
    for B, T in ((1, 1), (2, 4), (3, 7)):
        assert model(toy_clips(B, T)).shape == (B, 5)
        assert model.frame_logits(toy_clips(B, T)).shape == (B, T, 5)


def test_logits_are_the_mean_over_frames_that_are_seen_alone() -> None:
    model, clips = toy_vit().eval(), toy_clips()
    alone = [model(clips[:, [frame]]) for frame in range(4)]
    # the same sums in batches of another size: float32 rounding of values of order 1
    torch.testing.assert_close(model(clips), torch.stack(alone).mean(0), atol=1e-5, rtol=0)


def test_image_vit_does_not_see_the_order_of_the_frames() -> None:
    model, clips = toy_vit().eval(), toy_clips()
    torch.testing.assert_close(model(clips[:, [2, 0, 3, 1]]), model(clips), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("backbone", "image_size", "num_classes", "expected"),
    [
        ("ViT-B_16", 224, 400, 86_106_256),
        # torchvision's vit_b_16, vit_b_32, vit_l_16, vit_l_32 and vit_h_14
        ("ViT-B_16", 224, 1000, 86_567_656),
        ("ViT-B_32", 224, 1000, 88_224_232),
        ("ViT-L_16", 224, 1000, 304_326_632),
        ("ViT-L_32", 224, 1000, 306_535_400),
        ("ViT-H_14", 224, 1000, 632_045_800),
        # the one with 600 classes fewer and 380 positions more: 304.10 M
        ("ViT-L_16", 384, 400, 304_100_752),
    ],
)
def test_backbones_have_the_published_number_of_parameters(
    backbone: str, image_size: int, num_classes: int, expected: int
) -> None:
    model = memoryless(backbone, image_size, num_classes)
    assert sum(parameter.numel() for parameter in model.parameters()) == expected
    assert not list(model.buffers())


def test_model_can_be_built_on_the_meta_device() -> None:
    with torch.device("meta"):
        model = vit(SIZE, 16, 5, drop_path=0.5)
    assert {parameter.device.type for parameter in model.parameters()} == {"meta"}
    assert [block.drop_path for block in model.blocks] == [0, 0.25, 0.5]


@pytest.mark.parametrize(("backbone", "rate"), [("ViT-B_16", 0.0), ("ViT-H_14", 0.1)])
def test_dropout_is_that_of_the_release(backbone: str, rate: float) -> None:
    model = memoryless(backbone)
    dropouts = [module for module in model.modules() if isinstance(module, nn.Dropout)]
    assert len(dropouts) == 1 + len(model.blocks)  # after the embedding and in each MLP
    assert {dropout.p for dropout in dropouts} == {rate}


def test_dropout_acts_after_the_embedding_and_twice_in_the_mlp_in_training_alone() -> None:
    mlp = randomized(Mlp(4, 6, dropout=0.5))
    x = torch.ones(500, 4)
    torch.manual_seed(0)
    zeros = (mlp(x) == 0).float().mean().item()
    assert 0.45 < zeros < 0.55  # 2000 draws of 1/2: 0.011 standard deviation
    mlp.dropout.p = 0.0
    expected = mlp.fc2(F.gelu(mlp.fc1(x)))
    mlp.dropout.p = 0.5
    assert torch.equal(mlp.eval()(x), expected)
    calls = []
    mlp.dropout.register_forward_hook(lambda *_: calls.append(1))
    mlp(x)
    assert len(calls) == 2
    model = vit(ViTSize(8, 16, 24, 4, 1, dropout=0.5), 16, 5)
    nn.init.ones_(model.pos_embed)
    assert (model.embed(toy_clips()) == 0).any()
    assert not (model.eval().embed(toy_clips()) == 0).any()


def test_fresh_weights_are_those_of_the_release() -> None:
    torch.manual_seed(0)
    model = vit(ViTSize(8, 64, 128, 4, 1), 16, 5)
    assert not model.cls_token.any()
    assert not model.pos_embed.any()
    assert model.head.weight.any()
    mlp = model.blocks[0].mlp
    for layer in (mlp.fc1, mlp.fc2):
        bound = (6 / (64 + 128)) ** 0.5  # Xavier, uniform
        assert layer.weight.abs().max() <= bound
        # of a uniform distribution, 8192 draws: within 5 %
        assert layer.weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.05)
        assert 0 < layer.bias.abs().max() < 1e-5


def test_every_layer_norm_has_the_eps_of_the_imagenet_weights() -> None:
    norms = [module for module in toy_vit().modules() if isinstance(module, nn.LayerNorm)]
    assert len(norms) == 2 * SIZE.num_layers + 1
    assert {norm.eps for norm in norms} == {1e-6}


def test_patches_are_embedded_row_by_row() -> None:
    embed = randomized(PatchEmbed(patch_size=2, hidden_size=3))
    frames = torch.randn(2, 3, 4, 6, generator=torch.Generator().manual_seed(0))
    tokens = embed(frames)  # 2 rows of 3 patches
    assert tokens.shape == (2, 6, 3)
    for row in range(2):
        for column in range(3):
            patch = frames[:, :, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
            expected = patch.flatten(1) @ embed.proj.weight.flatten(1).T + embed.proj.bias
            # dot products of 12 numbers in another order
            torch.testing.assert_close(tokens[:, 3 * row + column], expected, atol=1e-5, rtol=0)


def test_border_that_is_short_of_a_patch_is_dropped() -> None:
    embed = PatchEmbed(patch_size=4, hidden_size=2)
    frames = torch.randn(1, 3, 11, 11, generator=torch.Generator().manual_seed(0))
    cut = embed(frames[..., :8, :8])
    torch.testing.assert_close(embed(frames), cut, atol=1e-6, rtol=0)  # other blocking of sums


def test_embedding_puts_the_class_token_first_and_adds_the_position() -> None:
    model, clips = toy_vit(), toy_clips()
    x = model.embed(clips)
    assert x.shape == (2, 4, 5, 16)
    assert torch.equal(x[:, :, 0], (model.cls_token + model.pos_embed[:, :1]).expand(2, 4, -1))
    patches = model.patch_embed(clips[1]) + model.pos_embed[:, 1:]
    torch.testing.assert_close(x[1, :, 1:], patches, atol=1e-5, rtol=0)  # other batch size


def slow_attention(attention: Attention, x: Tensor) -> tuple[Tensor, Tensor]:
    """Attend head by head; return output and weights (heads, N, N) for the tokens of a frame."""
    query, key, value = attention.qkv(x).chunk(3, dim=-1)  # (N, C) each
    width = x.shape[-1] // attention.num_heads
    outputs, weights = [], []
    for head in range(attention.num_heads):
        part = slice(head * width, (head + 1) * width)
        scores = query[:, part] @ key[:, part].T / width**0.5
        exponentials = scores.exp()
        weights.append(exponentials / exponentials.sum(-1, keepdim=True))
        outputs.append(weights[-1] @ value[:, part])
    return attention.proj(torch.cat(outputs, dim=-1)), torch.stack(weights)


def test_attention_equals_a_slow_loop_over_frames_and_heads() -> None:
    attention = randomized(Attention(16, 4)).double()
    x = torch.randn(3, 5, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = [slow_attention(attention, frame) for frame in x]
    # float64: rounding only
    y = torch.stack([output for output, _ in expected])
    torch.testing.assert_close(attention(x), y, atol=1e-13, rtol=0)
    weights = torch.stack([weights for _, weights in expected])
    torch.testing.assert_close(attention.weights(x), weights, atol=1e-13, rtol=0)


def test_heads_that_do_not_divide_the_width_are_an_error() -> None:
    with pytest.raises(ValueError, match="num_heads=3 does not divide hidden_size=16"):
        Attention(16, 3)


def test_attention_weights_are_shares_that_reproduce_the_attention() -> None:
    model, clips = toy_vit().double().eval(), toy_clips().double()
    outputs: list[Tensor] = []
    inputs: list[Tensor] = []
    for block in model.blocks:
        block.attn.register_forward_pre_hook(lambda module, args: inputs.append(args[0]))
        block.attn.register_forward_hook(lambda module, args, output: outputs.append(output))
    weights = model.attention_weights(clips)
    assert [tuple(shares.shape) for shares in weights] == [(2, 4, 4, 5, 5)] * 3
    for block, shares, x, y in zip(model.blocks, weights, inputs, outputs, strict=True):
        torch.testing.assert_close(shares.sum(-1), torch.ones(2, 4, 4, 5, dtype=torch.float64))
        value = block.attn.qkv(x)[..., 32:].unflatten(-1, (4, 4)).transpose(1, 2)
        mixed = (shares.flatten(0, 1) @ value).transpose(1, 2).flatten(2)  # (B*T, N, C)
        torch.testing.assert_close(block.attn.proj(mixed), y, atol=1e-12, rtol=0)  # float64


def test_mlp_uses_the_exact_gelu() -> None:
    mlp = randomized(Mlp(4, 6, 0.0)).double()
    x = torch.randn(5, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    hidden = mlp.fc1(x)
    hidden = hidden * (1 + torch.erf(hidden / 2**0.5)) / 2
    torch.testing.assert_close(mlp(x), mlp.fc2(hidden), atol=1e-14, rtol=0)  # float64


def test_block_adds_each_branch_to_its_input() -> None:
    block = randomized(Block(SIZE)).double()
    x = torch.randn(2, 3, 5, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    middle = x.flatten(0, 1) + block.attn(block.norm1(x.flatten(0, 1)))
    expected = (middle + block.mlp(block.norm2(middle))).unflatten(0, (2, 3))
    torch.testing.assert_close(block(x), expected, atol=1e-13, rtol=0)  # float64


@pytest.mark.parametrize(
    "shape", [(2, 4, 3, 24, 24), (2, 4, 3, 16, 8), (2, 4, 1, 16, 16), (8, 3, 16, 16)]
)
def test_clips_of_another_size_are_an_error_that_tells_how_to_resize(
    shape: tuple[int, ...],
) -> None:
    with pytest.raises(ValueError, match=r"takes clips \(B, T, 3, 16, 16\), got") as caught:
        toy_vit()(torch.zeros(shape))
    text = str(caught.value)
    assert str(shape) in text
    assert "set DATA.IMAGE_SIZE and load the weights anew" in text
    assert "load_weights resizes the position embedding" in text


def test_recomputing_blocks_changes_neither_loss_nor_gradients() -> None:
    losses, gradients = [], []
    for recomputes in (False, True):
        model = toy_vit(checkpoints_blocks=recomputes).train()
        calls: list[int] = []
        model.blocks[0].register_forward_pre_hook(lambda *_, calls=calls: calls.append(1))
        loss = F.cross_entropy(model(toy_clips()), torch.tensor([0, 1]))
        loss.backward()
        losses.append(loss.item())
        gradients.append([parameter.grad for parameter in model.parameters()])
        assert len(calls) == (2 if recomputes else 1)
    assert losses[0] == losses[1]  # the same operations in the same order
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))


def test_blocks_are_not_recomputed_in_evaluation() -> None:
    model = toy_vit(checkpoints_blocks=True).eval()
    calls: list[int] = []
    model.blocks[0].register_forward_pre_hook(lambda *_: calls.append(1))
    logits = model(toy_clips())
    logits.sum().backward()
    assert len(calls) == 1
    assert torch.equal(logits, toy_vit().eval()(toy_clips()))


def test_drop_path_rates_grow_evenly_to_the_last() -> None:
    assert drop_path_rates(0.25, 5) == [0, 0.0625, 0.125, 0.1875, 0.25]
    assert drop_path_rates(0.0, 3) == [0, 0, 0]
    model = toy_vit(drop_path=0.5)
    assert [block.drop_path for block in model.blocks] == [0, 0.25, 0.5]


def test_drop_path_is_off_in_evaluation_and_at_rate_zero() -> None:
    clips, plain = toy_clips(), toy_vit()
    dropping = toy_vit(drop_path=0.9)
    assert torch.equal(dropping.eval()(clips), plain.eval()(clips))
    assert torch.equal(plain.train()(clips), plain.eval()(clips))
    assert not torch.equal(dropping.train()(clips), plain.eval()(clips))


def test_drop_path_skips_a_branch_for_whole_frames_and_keeps_its_expectation() -> None:
    block = randomized(Block(SIZE, drop_path=0.25)).train()
    nn.init.zeros_(block.mlp.fc2.weight)
    nn.init.zeros_(block.mlp.fc2.bias)  # leaves the attention's branch alone
    frame = torch.randn(1, 1, 5, 16, generator=torch.Generator().manual_seed(0))
    update = block.attn(block.norm1(frame[0]))[0]
    torch.manual_seed(0)
    moved = block(frame.expand(40, 50, -1, -1)) - frame  # (B, T, N, C): 2000 frames
    is_kept = moved.flatten(2).any(-1)
    # 2000 draws at rate 1/4: 0.0097 standard deviation
    assert is_kept.float().mean().item() == pytest.approx(0.75, abs=0.04)
    expected = (update / 0.75).expand_as(moved[is_kept])
    torch.testing.assert_close(moved[is_kept], expected, atol=1e-5, rtol=0)  # float32
    assert is_kept.any(1).all()  # frames of a clip are drawn one by one
    assert not is_kept.all(1).any()


def test_model_runs_under_bf16_autocast() -> None:
    model, clips = toy_vit(), toy_clips()
    expected = model(clips)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits, of_frames = model(clips), model.frame_logits(clips)
    assert of_frames.dtype is torch.bfloat16
    assert logits.dtype is torch.float32  # their mean keeps its digits
    # 8 bits through three blocks: some per cent of logits of order 1
    torch.testing.assert_close(logits.float(), expected, atol=0.1, rtol=0)
    logits.float().sum().backward()
    assert all(p.grad.dtype is torch.float32 for p in model.parameters() if p.grad is not None)


def test_model_computes_in_double_precision_too() -> None:
    model, clips = toy_vit(), toy_clips()
    logits = model(clips)
    double = model.double()(clips.double())
    torch.testing.assert_close(logits, double.float(), atol=1e-5, rtol=0)  # float32 rounding
