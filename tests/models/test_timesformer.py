import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.timesformer import ATTENTIONS, DividedBlock, TimeSformer
from models.vit import ViTSize, vit
from models.vit_parts import Attention
from tests.models.conftest import randomized

SIZES = {"patch_size": 8, "hidden_size": 16, "mlp_dim": 24, "num_heads": 4, "num_layers": 3}
SIZE = ViTSize(**SIZES)
N = 4  # patches of a frame
# float64 through three blocks
ATOL = 1e-12


def toy(attention: str = "divided", num_frames: int = 4, **options: object) -> TimeSformer:
    model = TimeSformer(
        image_size=16,
        num_frames=num_frames,
        num_classes=5,
        attention=attention,
        **SIZES,
        **options,
    )
    return randomized(model)


def toy_clips(B: int = 2, T: int = 4, image_size: int = 16, seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(B, T, 3, image_size, image_size, generator=generator)


def attend(attention: Attention, x: Tensor) -> Tensor:
    """Attention of one sequence (L, C), a query at a time."""
    C, heads = x.shape[1], attention.num_heads
    query, key, value = attention.qkv(x).split(C, dim=-1)
    rows = []
    for q in query:
        parts = []
        for head in range(heads):
            channels = slice(head * C // heads, (head + 1) * C // heads)
            scores = [(q[channels] * k[channels]).sum() * (C // heads) ** -0.5 for k in key]
            shares = torch.stack(scores).softmax(0)
            parts.append(sum(s * v[channels] for s, v in zip(shares, value, strict=True)))
        rows.append(torch.cat(parts))
    return attention.proj(torch.stack(rows))


def slow_divided_block(block: DividedBlock, cls: Tensor, patches: Tensor) -> tuple[Tensor, Tensor]:
    """One clip's class token (C,) and patches (T, N, C) through section 3 of the paper."""
    T = len(patches)
    moved = patches.clone()
    for place in range(N):
        track = attend(block.temporal_attn, block.temporal_norm1(patches[:, place]))
        moved[:, place] = patches[:, place] + block.temporal_fc(track)
    updates = [attend(block.attn, block.norm1(torch.cat([cls[None], moved[t]]))) for t in range(T)]
    cls = cls + sum(update[0] for update in updates) / T
    moved = moved + torch.stack([update[1:] for update in updates])
    return cls + block.mlp(block.norm2(cls)), moved + block.mlp(block.norm2(moved))


def slow_embedding(model: TimeSformer, clip: Tensor) -> tuple[Tensor, Tensor]:
    """A clip (T, 3, H, W) as class token (C,) and patches (T, N, C) with position, without time."""
    cls = model.cls_token[0, 0] + model.pos_embed[0, 0]
    weight = model.patch_embed.proj.weight.flatten(1)  # (C, 3*8*8)
    frames = []
    for frame in clip:
        squares = [frame[:, y : y + 8, x : x + 8].flatten() for y in (0, 8) for x in (0, 8)]
        embedded = torch.stack(squares) @ weight.T + model.patch_embed.proj.bias
        frames.append(embedded + model.pos_embed[0, 1:])
    return cls, torch.stack(frames)


@pytest.mark.parametrize("num_frames", [1, 2, 4])
@pytest.mark.parametrize("qkv_bias", [True, False])
def test_divided_attention_equals_a_slow_loop(qkv_bias: bool, num_frames: int) -> None:
    model = toy(num_frames=num_frames, qkv_bias=qkv_bias).double()
    clips = toy_clips(T=num_frames).double()
    for clip, logits in zip(clips, model(clips), strict=True):
        cls, patches = slow_embedding(model, clip)
        patches = patches + model.time_embed[0, :, None]
        for block in model.blocks:
            cls, patches = slow_divided_block(block, cls, patches)
        torch.testing.assert_close(logits, model.head(model.norm(cls)), atol=ATOL, rtol=0)


def slow_plain_block(block: nn.Module, x: Tensor) -> Tensor:
    x = x + attend(block.attn, block.norm1(x))
    return x + block.mlp(block.norm2(x))


def test_joint_attention_is_a_vit_on_all_tokens_of_the_clip() -> None:
    model, clips = toy("joint").double(), toy_clips().double()
    for clip, logits in zip(clips, model(clips), strict=True):
        cls, patches = slow_embedding(model, clip)
        patches = patches + model.time_embed[0, :, None]
        x = torch.cat([cls[None], patches.flatten(0, 1)])  # in any order
        for block in model.blocks:
            x = slow_plain_block(block, x)
        torch.testing.assert_close(logits, model.head(model.norm(x[0])), atol=ATOL, rtol=0)


def test_space_only_averages_class_tokens_before_the_last_norm() -> None:
    model, clips = toy("space_only").double(), toy_clips().double()
    assert not hasattr(model, "time_embed")
    for clip, logits in zip(clips, model(clips), strict=True):
        tokens = []
        cls, patches = slow_embedding(model, clip)
        for frame in patches:
            x = torch.cat([cls[None], frame])
            for block in model.blocks:
                x = slow_plain_block(block, x)
            tokens.append(x[0])
        expected = model.head(model.norm(sum(tokens) / len(tokens)))
        torch.testing.assert_close(logits, expected, atol=ATOL, rtol=0)


def test_space_only_has_the_parameters_of_the_image_vit() -> None:
    assert list(toy("space_only").state_dict()) == list(vit(SIZE, 16, 5).state_dict())


def test_parameters_have_the_official_names() -> None:
    names = list(toy().state_dict())
    outside = ["cls_token", "pos_embed", "time_embed", "patch_embed.proj.weight"]
    assert names[:5] == [*outside, "patch_embed.proj.bias"]
    layers = ["temporal_norm1", "temporal_attn.qkv", "temporal_attn.proj", "temporal_fc"]
    layers += ["norm1", "attn.qkv", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2"]
    inside = [f"blocks.1.{layer}.{what}" for layer in layers for what in ("weight", "bias")]
    assert [name for name in names if name.startswith("blocks.1.")] == inside
    assert names[-4:] == ["norm.weight", "norm.bias", "head.weight", "head.bias"]
    plain = [name for name in toy("joint").state_dict() if name.startswith("blocks.1.")]
    assert plain == [name for name in inside if "temporal" not in name]


@pytest.mark.parametrize(
    ("attention", "has_time", "expected"),
    [
        *(("divided", True, True), ("divided", False, False)),
        *(("joint", True, True), ("joint", False, False)),
        ("space_only", True, False),
    ],
)
def test_order_of_the_frames_shows_by_the_time_embedding_alone(
    attention: str, has_time: bool, expected: bool
) -> None:
    model, clips = toy(attention).double().eval(), toy_clips().double()
    if not has_time:
        nn.init.zeros_(model.time_embed)
    shuffled = model(clips[:, [2, 0, 3, 1]])
    assert ((shuffled - model(clips)).abs().max().item() > 1e-3) is expected
    if not expected:  # the same sums in another order
        torch.testing.assert_close(shuffled, model(clips), atol=ATOL, rtol=0)


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_clips_of_a_batch_do_not_see_each_other(attention: str) -> None:
    model, clips = toy(attention).eval(), toy_clips(B=3)
    alone = torch.cat([model(clip[None]) for clip in clips])
    torch.testing.assert_close(model(clips), alone, atol=1e-5, rtol=0)  # batches of other size


def test_frames_see_each_other_in_divided_attention() -> None:
    model, clips = toy().eval(), toy_clips()
    changed = clips.clone()
    changed[:, 3] = toy_clips(seed=2)[:, 3]
    block, x, y = model.blocks[0], model.embed(clips), model.embed(changed)
    before, after = (block(tokens)[:, 1:].unflatten(1, (N, 4)) for tokens in (x, y))
    assert (before[:, :, 0] - after[:, :, 0]).abs().max() > 1e-3


def test_new_model_starts_without_effect_of_time_and_with_small_weights() -> None:
    torch.manual_seed(0)
    model = TimeSformer(32, 8, 4, 128, 3, 4, 256, 5)
    for block in model.blocks:
        assert not block.temporal_fc.weight.any()
        assert not block.temporal_fc.bias.any()
        for layer in (block.attn.qkv, block.temporal_attn.proj, block.mlp.fc1):
            # 16384 draws or more, cut at 100 standard deviations
            assert layer.weight.std().item() == pytest.approx(0.02, rel=0.05)
            assert not layer.bias.any()
    assert not model.time_embed.any()
    for drawn in (model.cls_token, model.pos_embed, model.head.weight):
        assert drawn.std().item() == pytest.approx(0.02, rel=0.25)  # 128 draws
    clips = toy_clips(image_size=32)
    torch.testing.assert_close(model(clips.flip(1)), model(clips), atol=1e-5, rtol=0)


def rows_that_moved(
    block: DividedBlock, tokens: Tensor, silent: list[nn.Linear]
) -> tuple[Tensor, Tensor]:
    """What a block in training adds to class tokens (B, C) and patches (B, N, T, C)."""
    for layer in silent:
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)
    torch.manual_seed(0)
    moved = block.train()(tokens) - tokens
    return moved[:, 0], moved[:, 1:].unflatten(1, (-1, block.num_frames))


def many_tokens(B: int, places: int, T: int) -> Tensor:
    one = torch.randn(1, 1, 16, generator=torch.Generator().manual_seed(0))
    return one.expand(B, 1 + places * T, -1).contiguous()


def test_drop_path_along_time_skips_places_but_never_the_bias_of_temporal_fc() -> None:
    block = randomized(DividedBlock(SIZE, 3, drop_path=0.25))
    cls, patches = rows_that_moved(
        block, many_tokens(20, 100, 3), silent=[block.attn.proj, block.mlp.fc2]
    )
    assert not cls.any()
    extra = patches - block.temporal_fc.bias
    is_kept = extra.abs().amax((2, 3)) > 1e-3  # (B, places)
    assert extra[~is_kept].abs().max() < 1e-5  # float32
    # 2000 draws at rate 1/4: 0.0097 standard deviation
    assert is_kept.float().mean().item() == pytest.approx(0.75, abs=0.04)
    seen = block.temporal_norm1(many_tokens(1, 1, 3)[:, 1:])
    expected = block.temporal_attn(seen) / 0.75 @ block.temporal_fc.weight.T  # (1, T, C)
    torch.testing.assert_close(
        extra[is_kept], expected.expand(int(is_kept.sum()), -1, -1), atol=1e-5, rtol=0
    )


def test_drop_path_within_frames_skips_frames_and_the_class_token_takes_the_mean() -> None:
    block = randomized(DividedBlock(SIZE, 50, drop_path=0.25))
    cls, patches = rows_that_moved(
        block, many_tokens(40, 2, 50), silent=[block.temporal_fc, block.mlp.fc2]
    )
    is_kept = patches.abs().amax(3) > 1e-3  # (B, N, T)
    assert torch.equal(is_kept[:, 0], is_kept[:, 1])
    share = is_kept[:, 0].float().mean(1)  # (B,)
    assert share.mean().item() == pytest.approx(0.75, abs=0.04)
    assert share.unique().numel() > 1
    update = block.attn(block.norm1(many_tokens(1, 2, 1)))[0, 0] / 0.75
    torch.testing.assert_close(cls, share[:, None] * update, atol=1e-5, rtol=0)


def test_drop_path_of_the_mlp_skips_whole_clips() -> None:
    block = randomized(DividedBlock(SIZE, 2, drop_path=0.25))
    cls, patches = rows_that_moved(
        block, many_tokens(2000, 2, 2), silent=[block.temporal_fc, block.attn.proj]
    )
    is_kept = cls.any(1)
    assert is_kept.float().mean().item() == pytest.approx(0.75, abs=0.04)
    assert torch.equal(patches.flatten(1, 2).any(2), is_kept[:, None].expand(-1, 4))


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_drop_path_grows_over_the_blocks_and_is_off_in_evaluation(attention: str) -> None:
    clips, plain = toy_clips(), toy(attention)
    dropping = toy(attention, drop_path=0.9)
    assert [block.drop_path for block in dropping.blocks] == [0, 0.45, 0.9]
    assert torch.equal(dropping.eval()(clips), plain.eval()(clips))
    assert torch.equal(plain.train()(clips), plain.eval()(clips))
    assert not torch.equal(dropping.train()(clips), plain.eval()(clips))


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_dropout_is_in_the_embedding_and_in_the_mlps(attention: str) -> None:
    model = toy(attention, dropout=0.5)
    assert not torch.equal(model.train().embed(toy_clips()), model.eval().embed(toy_clips()))
    assert [block.mlp.dropout.p for block in model.blocks] == [0.5] * 3


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_recomputing_blocks_changes_neither_loss_nor_gradients(attention: str) -> None:
    gradients = []
    for recomputes in (False, True):
        model = toy(attention, checkpoints_blocks=recomputes).train()
        calls: list[int] = []
        model.blocks[0].register_forward_pre_hook(lambda *_, calls=calls: calls.append(1))
        loss = F.cross_entropy(model(toy_clips()), torch.tensor([0, 1]))
        loss.backward()
        gradients.append([loss, *(parameter.grad for parameter in model.parameters())])
        assert len(calls) == (2 if recomputes else 1)
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))  # same operations


def test_attention_weights_are_shares_that_reproduce_the_attention() -> None:
    model, clips = toy().double().eval(), toy_clips().double()
    outputs: list[Tensor] = []
    inputs: list[Tensor] = []
    for block in model.blocks:
        for attention in (block.temporal_attn, block.attn):
            attention.register_forward_pre_hook(lambda module, args: inputs.append(args[0]))
            attention.register_forward_hook(lambda module, args, output: outputs.append(output))
    model(clips)
    seen = list(zip(inputs, outputs, strict=True))
    maps = model.attention_weights(clips)
    assert [tuple(pair.time.shape) for pair in maps] == [(2, N, 4, 4, 4)] * 3
    assert [tuple(pair.space.shape) for pair in maps] == [(2, 4, 4, 1 + N, 1 + N)] * 3
    shares = [weights for pair in maps for weights in (pair.time, pair.space)]
    layers = [layer for b in model.blocks for layer in (b.temporal_attn, b.attn)]
    for layer, weights, (x, y) in zip(layers, shares, seen, strict=True):
        torch.testing.assert_close(weights.sum(-1), torch.ones_like(weights[..., 0]))
        value = layer.qkv(x)[..., 32:].unflatten(-1, (4, 4)).transpose(1, 2)
        mixed = (weights.flatten(0, 1) @ value).transpose(1, 2).flatten(2)
        torch.testing.assert_close(layer.proj(mixed), y, atol=ATOL, rtol=0)


@pytest.mark.parametrize(
    ("attention", "shape"), [("joint", (2, 1, 4, 17, 17)), ("space_only", (2, 4, 4, 5, 5))]
)
def test_attention_weights_of_plain_blocks_have_no_map_in_time(
    attention: str, shape: tuple[int, ...]
) -> None:
    for pair in toy(attention).attention_weights(toy_clips()):
        assert pair.space.shape == shape
        assert pair.time is None


@pytest.mark.parametrize("attention", ATTENTIONS)
@pytest.mark.parametrize(
    "shape", [(2, 3, 3, 16, 16), (2, 4, 3, 24, 24), (2, 4, 1, 16, 16), (8, 3, 16, 16)]
)
def test_clips_of_another_shape_are_an_error_that_tells_what_to_set(
    shape: tuple[int, ...], attention: str
) -> None:
    with pytest.raises(ValueError, match=r"takes clips \(B, 4, 3, 16, 16\), got") as caught:
        toy(attention)(torch.zeros(shape))
    text = str(caught.value)
    assert str(shape) in text
    assert "set DATA.NUM_FRAMES or DATA.IMAGE_SIZE and load the weights anew" in text


def test_unknown_attention_and_odd_heads_are_errors() -> None:
    with pytest.raises(ValueError, match="attention='split'; choose one of"):
        toy("split")
    with pytest.raises(ValueError, match="num_heads=3 does not divide hidden_size=16"):
        TimeSformer(16, 8, 4, 16, 1, 3, 24, 5)


def test_start_line_says_what_attends_along_time() -> None:
    text = "space-time attention over 4 frames in 3 blocks"
    assert toy().describe_time() == f"divided {text}"
    assert toy("joint").describe_time() == f"joint {text}"
    assert "no attention along time" in toy("space_only").describe_time()


def test_model_runs_under_bf16_autocast() -> None:
    model, clips = toy(), toy_clips()
    expected = model(clips)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = model(clips)
    assert logits.dtype is torch.bfloat16
    # 8 bits through three blocks: some per cent of logits of order 1
    torch.testing.assert_close(logits.float(), expected, atol=0.2, rtol=0)
    logits.float().sum().backward()
    assert all(p.grad.dtype is torch.float32 for p in model.parameters() if p.grad is not None)


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_exported_model_equals_eager_at_another_batch_size(attention: str) -> None:
    model = toy(attention).eval()
    dynamic = {"clips": {0: torch.export.Dim("B", min=1, max=64)}}
    with torch.no_grad():
        program = torch.export.export(model, (toy_clips(B=2),), dynamic_shapes=dynamic)
        clips = toy_clips(B=5, seed=3)
        # fused and unfused attention round differently
        torch.testing.assert_close(program.module()(clips), model(clips), atol=1e-5, rtol=0)
