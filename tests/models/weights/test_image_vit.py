"""Image ViTs of timm and torchvision give the logits that they give there."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
import torchvision
from timm.models.vision_transformer import VisionTransformer as TimmViT
from torch import Tensor, nn
from torchvision.models.vision_transformer import VisionTransformer as TorchvisionViT

from config.backbones import BACKBONES
from models.pretrained import load_weights
from models.vit import ViTSize, vit
from models.weights.image_vit import from_torchvision, without_unused
from tests.models.conftest import randomized

SIZE = ViTSize(patch_size=8, hidden_size=12, mlp_dim=24, num_heads=3, num_layers=2)
# float32 logits of order 1 by other kernels
ATOL = 1e-5


def imagenet_npz(path: Path, size: ViTSize, num_patches: int, num_classes: int) -> Path:
    """Write random arrays as Google's release holds them: kernels (in, out), heads apart."""
    rng = np.random.default_rng(0)
    C, heads, mlp, patch = size.hidden_size, size.num_heads, size.mlp_dim, size.patch_size

    def draw(*shape: int, fan_in: int = 0, mean: float = 0.0) -> np.ndarray:
        std = fan_in**-0.5 if fan_in else 0.1
        return (mean + std * rng.standard_normal(shape, dtype=np.float32)).astype(np.float32)

    arrays = {
        "cls": draw(1, 1, C),
        "Transformer/posembed_input/pos_embedding": draw(1, 1 + num_patches, C),
        "embedding/kernel": draw(patch, patch, 3, C, fan_in=3 * patch**2),
        "embedding/bias": draw(C),
        "Transformer/encoder_norm/scale": draw(C, mean=1.0),
        "Transformer/encoder_norm/bias": draw(C),
        "head/kernel": draw(C, num_classes, fan_in=C),
        "head/bias": draw(num_classes),
    }
    for layer in range(size.num_layers):
        block = f"Transformer/encoderblock_{layer}/"
        for norm in ("LayerNorm_0", "LayerNorm_2"):
            arrays[f"{block}{norm}/scale"] = draw(C, mean=1.0)
            arrays[f"{block}{norm}/bias"] = draw(C)
        attention = f"{block}MultiHeadDotProductAttention_1/"
        for part in ("query", "key", "value"):
            arrays[f"{attention}{part}/kernel"] = draw(C, heads, C // heads, fan_in=C)
            arrays[f"{attention}{part}/bias"] = draw(heads, C // heads)
        arrays[f"{attention}out/kernel"] = draw(heads, C // heads, C, fan_in=C)
        arrays[f"{attention}out/bias"] = draw(C)
        for layer_name, sizes in (("Dense_0", (C, mlp)), ("Dense_1", (mlp, C))):
            arrays[f"{block}MlpBlock_3/{layer_name}/kernel"] = draw(*sizes, fan_in=sizes[0])
            arrays[f"{block}MlpBlock_3/{layer_name}/bias"] = draw(sizes[1])
    np.savez(path, **arrays)
    return path


def images(size: int, number: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(number, 3, size, size, generator=generator)


def saved(content: object, folder: Path) -> Path:
    torch.save(content, folder / "model.pth")
    return folder / "model.pth"


def test_vit_b_16_gives_the_logits_of_timm_from_the_same_npz(tmp_path: Path) -> None:
    size = ViTSize(**{key.lower(): value for key, value in BACKBONES["ViT-B_16"].items()})
    path = imagenet_npz(tmp_path / "ViT-B_16.npz", size, num_patches=14 * 14, num_classes=21)
    theirs = timm.create_model("vit_base_patch16_224", pretrained=False, num_classes=21).eval()
    theirs.load_pretrained(str(path))
    ours = vit(size, 224, 21).eval()
    load_weights(ours, path)
    path.unlink()  # 343 MB
    ours.head.load_state_dict(theirs.head.state_dict())  # ImageNet's head is left out
    with torch.no_grad():
        expected = theirs(images(224, 1))
        logits = ours(images(224, 1)[:, None])
    assert expected.std() > 0.3
    # measured 0 where both call the same kernels; else float32 logits of order 1 in twelve blocks
    torch.testing.assert_close(logits, expected, atol=1e-5, rtol=0)


def timm_vit(**options: object) -> TimmViT:
    return randomized(
        TimmViT(24, 8, num_classes=5, embed_dim=12, depth=2, num_heads=3, mlp_ratio=2.0, **options)
    ).eval()


@pytest.mark.parametrize("wrap", [dict, lambda state: {"state_dict": state, "arch": "vit"}])
@pytest.mark.parametrize("qkv_bias", [True, False])
def test_timm_state_dict_gives_timms_logits(qkv_bias: bool, wrap: Callable, tmp_path: Path) -> None:
    theirs = timm_vit(qkv_bias=qkv_bias)
    size = ViTSize(**(vars(SIZE) | {"qkv_bias": qkv_bias}))
    ours = vit(size, 24, 5).eval()
    report = load_weights(ours, saved(wrap(theirs.state_dict()), tmp_path), head_may_differ=False)
    assert report.loaded == list(ours.state_dict())
    with torch.no_grad():
        expected = theirs(images(24))
        torch.testing.assert_close(ours(images(24)[:, None]), expected, atol=ATOL, rtol=0)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"global_pool": "avg"}, r"set MODEL\.VIT\.POOL mean"),
        ({"reg_tokens": 4}, r"set MODEL\.VIT\.NUM_REGISTERS 4"),
        ({"init_values": 1e-5}, r"set MODEL\.VIT\.LAYER_SCALE True"),
        ({"class_token": False, "global_pool": "avg"}, "a ViT without a class token"),
        ({"qk_norm": True}, r"left over: blocks\.0\.attn\.q_norm\.weight"),
    ],
)
def test_timm_vit_that_is_not_ours_is_named(
    options: dict[str, object], text: str, tmp_path: Path
) -> None:
    path = saved(timm_vit(**options).state_dict(), tmp_path)
    with pytest.raises(ValueError, match=text):
        load_weights(vit(SIZE, 24, 5), path)


def test_head_behind_a_pre_logits_layer_is_left_out_with_it(tmp_path: Path) -> None:
    state = timm_vit().state_dict()
    extra = {"pre_logits.fc.weight": torch.zeros(12, 12), "mask_token": torch.zeros(1, 1, 12)}
    model = randomized(vit(SIZE, 24, 5))
    report = load_weights(model, saved(state | extra, tmp_path))
    assert sorted(report.ignored) == [*("head.bias", "head.weight"), *sorted(extra)]
    assert not model.head.weight.any()
    kept, ignored = without_unused(state | {"mask_token": torch.zeros(1)})
    assert (kept.keys(), ignored) == (state.keys(), ["mask_token"])


def torchvision_vit(**options: object) -> TorchvisionViT:
    return randomized(
        TorchvisionViT(24, 8, 2, 3, 12, 24, num_classes=5, **options)  # type: ignore[arg-type]
    ).eval()


@pytest.mark.parametrize("generation", ["now", "before 0.14"])
def test_torchvision_state_dict_gives_torchvisions_logits(generation: str, tmp_path: Path) -> None:
    theirs, ours = torchvision_vit(), vit(SIZE, 24, 5).eval()
    state = theirs.state_dict()
    if generation != "now":
        names = {"mlp.0.": "mlp.linear_1.", "mlp.3.": "mlp.linear_2."}
        state = {
            re.sub(r"mlp\.[03]\.", lambda match: names[match[0]], name): value
            for name, value in state.items()
        }
    report = load_weights(ours, saved(state, tmp_path), head_may_differ=False)
    assert report.loaded == list(ours.state_dict())
    assert report.kind == "torchvision ViT state dict"
    assert "DATA.PIXEL_MEAN" in report.notes[0]
    assert "[0.485, 0.456, 0.406]" in report.notes[0]
    with torch.no_grad():
        expected = theirs(images(24))
        torch.testing.assert_close(ours(images(24)[:, None]), expected, atol=ATOL, rtol=0)


def test_torchvision_head_behind_a_representation_is_left_out(tmp_path: Path) -> None:
    path = saved(torchvision_vit(representation_size=7).state_dict(), tmp_path)
    report = load_weights(vit(SIZE, 24, 5), path)
    assert sorted(report.ignored) == [
        *("head.bias", "head.weight", "pre_logits.bias", "pre_logits.weight"),
    ]


def test_every_backbone_of_torchvision_has_our_names() -> None:
    with torch.device("meta"):
        theirs: nn.Module = torchvision.models.vit_b_16()
        size = ViTSize(**{key.lower(): value for key, value in BACKBONES["ViT-B_16"].items()})
        ours = vit(size, 224, 1000)
    renamed = from_torchvision(theirs.state_dict())
    shapes = {name: value.shape for name, value in ours.state_dict().items()}
    assert {name: value.shape for name, value in renamed.items()} == shapes


def test_torchvision_tensor_that_is_not_known_is_left_over(tmp_path: Path) -> None:
    state = torchvision_vit().state_dict()
    state["encoder.layers.encoder_layer_1.extra.weight"] = torch.zeros(3)
    with pytest.raises(ValueError, match=r"left over: encoder\.layers\.encoder_layer_1\.extra"):
        load_weights(vit(SIZE, 24, 5), saved(state, tmp_path))
