"""Every family of image ViTs, small, as every model."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from config import load_cfg_text
from config.backbones import BACKBONES
from models import build_model, vit_parts
from models.explain.rollout import clip_rollout, frame_rollout
from models.streaming import build_online
from models.timesformer import TimeSformer
from models.tokshift import tokshift
from models.vit import VisionTransformer, ViTSize, vit
from models.vit_parts import RotaryPositions, activated, attended
from tests.models.conftest import randomized

SIZES = {"patch_size": 8, "hidden_size": 48, "mlp_dim": 96, "num_heads": 4, "num_layers": 3}
FAMILIES = {
    "plain": "ViT-B_16",
    "clip": "clip_vit_b16",
    "openclip": "openclip_vit_b16",
    "dinov2": "dinov2_vit_b14",
    "giant": "dinov2_vit_g14",
    "registers": "dinov2_vit_b14_reg4",
    "giant with registers": "dinov2_vit_g14_reg4",
    "dinov3": "dinov3_vit_b16",
    "deit3": "deit3_vit_b16",
    "mae": "mae_vit_b16",
    "class and patches": "dinov2_vit_b14_reg4",
}
POOLS = {"mae": "mean", "class and patches": "both"}


def options_of(family: str) -> dict[str, Any]:
    """What a family's backbone says beside its widths."""
    named = {key.lower(): value for key, value in BACKBONES[FAMILIES[family]].items()}
    options = {key: value for key, value in named.items() if key not in SIZES}
    if family.startswith("giant"):
        options["mlp_dim"] = 192  # gates and values
    return options | {"pool": POOLS.get(family, "token")}


def size_of(family: str) -> ViTSize:
    return ViTSize(**(SIZES | options_of(family)))


def some_clips() -> Tensor:
    return torch.randn(2, 4, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def ours(family: str, build: Callable[..., nn.Module] = vit, **options: Any) -> nn.Module:
    return build(size_of(family), 32, 5, **options).eval()


def timesformer(size: ViTSize, image_size: int, num_classes: int, **options: Any) -> TimeSformer:
    sizes = {"image_size": image_size, "num_frames": 4, "num_classes": num_classes}
    return TimeSformer(**sizes, **vars(size), **options)


@pytest.mark.parametrize("family", FAMILIES)
def test_shift_moves_the_class_token_alone(family: str) -> None:
    """Against a shift by hand: hooks on the image model's blocks that change token 0."""
    image, clips = randomized(ours(family)), some_clips()
    model = ours(family, tokshift, fold_div=4)
    model.load_state_dict(image.state_dict())

    def shifted(x: Tensor) -> Tensor:
        x = x.clone()
        token, C = x[:, :, 0], x.shape[-1]
        moved = torch.zeros_like(token)
        moved[:, :-1, : C // 4] = token[:, 1:, : C // 4]
        moved[:, 1:, C // 4 : C // 2] = token[:, :-1, C // 4 : C // 2]
        moved[:, :, C // 2 :] = token[:, :, C // 2 :]
        x[:, :, 0] = moved
        return x

    with torch.no_grad():
        x = image.embed(clips)
        for block in image.blocks:
            x = shifted(x)
            x = x + block.ls1(block.attn(block.norm1(x).flatten(0, 1))).unflatten(0, x.shape[:2])
            x = shifted(x)
            x = x + block.ls2(block.mlp(block.norm2(x)))
        # the last block may compute the class token alone, in products of another shape
        torch.testing.assert_close(model(clips), image.classify(x).mean(1), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_gradient_checkpointing_gives_the_same_gradients(family: str) -> None:
    clips = some_clips()
    for build in (tokshift, timesformer):
        told = {"fold_div": 4} if build is tokshift else {}
        model = randomized(ours(family, build, **told)).train()
        again = copy.deepcopy(model)
        again.checkpoints_blocks = True
        for net in (model, again):
            net(clips).square().sum().backward()
        for (name, one), other in zip(model.named_parameters(), again.parameters(), strict=True):
            assert torch.equal(one.grad, other.grad), name


@pytest.mark.parametrize("family", FAMILIES)
def test_past_runs_online(family: str) -> None:
    clips = some_clips()
    model = randomized(ours(family, tokshift, fold_div=4, direction="past"))
    online = build_online(model)
    state = online.initial_state(clips[:, 0])
    expected = model.frame_logits(clips)
    for frame in range(4):
        logits, state = online(clips[:, frame], state)
        torch.testing.assert_close(logits, expected[:, frame], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("attention", ["divided", "joint", "space_only"])
@pytest.mark.parametrize("family", FAMILIES)
def test_timesformer_of_one_frame_without_time_is_the_image_model(
    family: str, attention: str
) -> None:
    image, clips = randomized(ours(family)), some_clips()
    model = timesformer(size_of(family), 32, 5, attention=attention).eval()
    still = clips[:, :1].repeat(1, 4, 1, 1, 1)
    found = model.load_state_dict(image.state_dict(), strict=False)
    assert not found.unexpected_keys
    with torch.no_grad():
        if attention != "joint":  # among all tokens registers and class token weigh less
            torch.testing.assert_close(model(still), image(still), atol=1e-4, rtol=1e-4)
        assert model(clips).isfinite().all()


def test_joint_attention_turns_each_patch_by_its_place() -> None:
    one, four = RotaryPositions(3, 8), RotaryPositions(3, 8, num_frames=4)
    x = torch.randn(2, 2, 5 + 9 * 4, 8)
    turned = four(x)
    assert torch.equal(turned[:, :, :5], x[:, :, :5])
    for frame in range(4):
        alone = torch.cat([x[:, :, :5], x[:, :, 5 + frame :: 4]], dim=2)
        assert torch.equal(turned[:, :, 5 + frame :: 4], one(alone)[:, :, 5:])


@pytest.mark.parametrize("family", ["registers", "dinov3", *POOLS])
def test_maps_are_of_the_patches_alone(family: str) -> None:
    clips = some_clips()
    maps = frame_rollout(randomized(ours(family, tokshift, fold_div=4)), clips)
    assert maps.shape == (2, 4, 4, 4)
    assert (maps.flatten(1).sum(1) <= 1 + 1e-5).all()
    for attention in ("divided", "joint", "space_only"):
        model = randomized(ours(family, timesformer, attention=attention))
        both = clip_rollout(model, clips).both
        assert both.shape == (2, 4, 4, 4)
        assert (both.flatten(1).sum(1) > 0).all()
        assert (both.flatten(1).sum(1) <= 1 + 1e-5).all()


@pytest.mark.parametrize("family", ["clip", "giant with registers", "dinov3", *POOLS])
def test_model_is_captured_whole(family: str) -> None:
    model, clips = randomized(ours(family, tokshift, fold_div=4)), some_clips()
    program = torch.export.export(model, (clips,))
    torch.testing.assert_close(program.module()(clips), model(clips), atol=1e-5, rtol=1e-4)


def test_rotary_attention_keeps_the_type_of_mixed_precision() -> None:
    model, clips = randomized(ours("dinov3", tokshift, fold_div=4)), some_clips()
    with torch.autocast("cpu", torch.bfloat16):
        assert model(clips).isfinite().all()
    assert not [name for name in model.state_dict() if "rotary" in name]


def test_quick_gelu_is_that_of_clip() -> None:
    x = torch.linspace(-3, 3, 7)
    torch.testing.assert_close(activated(x, "quick_gelu"), x / (1 + torch.exp(-1.702 * x)))
    gated = activated(torch.tensor([2.0, 3.0]), "swiglu")
    torch.testing.assert_close(gated, 3 * nn.functional.silu(torch.tensor([2.0])))


@pytest.mark.parametrize("backbone", sorted(BACKBONES))
def test_every_backbone_is_built(backbone: str) -> None:
    patch = BACKBONES[backbone]["PATCH_SIZE"]
    text = f"MODEL: {{BACKBONE: {backbone}}}\nDATA: {{IMAGE_SIZE: {4 * patch}}}"
    with torch.device("meta"):
        model = build_model(load_cfg_text(text, "a text"))
    assert isinstance(model, VisionTransformer)
    first = model.layer_names[0]
    outside = [n for n in model.state_dict() if not n.startswith(("blocks.", "head.", *first))]
    assert all(name.startswith(("norm.", "fc_norm.")) for name in outside)


@pytest.mark.parametrize("num_queries", [1, 7])
def test_bf16_on_a_cpu_with_bf16_products_has_the_same_attention(
    num_queries: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    query, key, value = (torch.randn(2, 3, 7, 8, dtype=torch.bfloat16) for _ in range(3))
    query = query[:, :, :num_queries]
    expected = attended(query.double(), key.double(), value.double())
    monkeypatch.setattr(vit_parts, "HAS_BF16_PRODUCTS", True)
    for autocasts in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=autocasts):
            ours = attended(query, key, value)
        assert ours.dtype == torch.bfloat16
        torch.testing.assert_close(ours.double(), expected, rtol=0.02, atol=0.02)
    same = attended(query.float(), key.float(), value.float())
    torch.testing.assert_close(same.double(), expected, rtol=1e-5, atol=1e-5)
