"""Other libraries' names of image ViTs; the golden data of each are in test_golden_image_vit."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from config.backbones import BACKBONES
from models.pretrained import fit_weights, load_weights, weights_of
from models.tokshift import tokshift
from models.vit import VisionTransformer, ViTSize, encode, vit
from models.weights.vit_names import from_hugging_face_vit, from_timm
from tests.models.conftest import randomized

timm = pytest.importorskip("timm")
from timm.layers import SwiGLUPacked  # noqa: E402

SIZES = {"patch_size": 8, "hidden_size": 48, "mlp_dim": 96, "num_heads": 4, "num_layers": 3}
NARROW = {"embed_dim": 48, "depth": 3, "num_heads": 4, "img_size": 32, "patch_size": 8}
PACKED = {"mlp_layer": SwiGLUPacked, "mlp_ratio": 4, "act_layer": nn.SiLU}
TOKEN = {"global_pool": "token"}
FAMILIES: dict[str, tuple[str, str, dict[str, Any]]] = {  # ours, timm's, what timm is told besides
    "plain": ("ViT-B_16", "vit_base_patch16_224", {}),
    "clip": ("clip_vit_b16", "vit_base_patch16_clip_quickgelu_224", {}),
    "openclip": ("openclip_vit_b16", "vit_base_patch16_clip_224", {}),
    "dinov2": ("dinov2_vit_b14", "vit_base_patch14_dinov2", {}),
    "giant": ("dinov2_vit_g14", "vit_base_patch14_dinov2", PACKED),
    "registers": ("dinov2_vit_b14_reg4", "vit_base_patch14_reg4_dinov2", {}),
    "giant with registers": ("dinov2_vit_g14_reg4", "vit_base_patch14_reg4_dinov2", PACKED),
    "dinov3": ("dinov3_vit_b16", "vit_base_patch16_dinov3", TOKEN),
    "dinov3 with biases": ("dinov3_vit_b16", "vit_base_patch16_dinov3_qkvb", TOKEN),
    "dinov3 plus": ("dinov3_vit_s16plus", "vit_small_plus_patch16_dinov3", TOKEN),
    "dinov3 plus with biases": ("dinov3_vit_h16plus", "vit_small_plus_patch16_dinov3_qkvb", TOKEN),
    "deit3": ("deit3_vit_b16", "deit3_base_patch16_224", {}),
    "mae": ("mae_vit_b16", "vit_base_patch16_224", {"global_pool": "avg"}),
}
OTHERS = {"reg4 with positions": ("dinov2_vit_b14_reg4", "vit_base_patch16_224", {"reg_tokens": 4})}


def size_of(family: str, **options: Any) -> ViTSize:
    named = {key.lower(): value for key, value in BACKBONES[(FAMILIES | OTHERS)[family][0]].items()}
    told = {key: value for key, value in named.items() if key not in SIZES}
    if told["activation"] == "swiglu":
        told["mlp_dim"] = 192  # gates and values
    if family == "mae":
        told["pool"] = "mean"
    return ViTSize(**(SIZES | told | options))


def theirs(family: str) -> nn.Module:
    _, name, told = (FAMILIES | OTHERS)[family]
    ratio = {} if "mlp_ratio" in told else {"mlp_ratio": 2}
    net = timm.create_model(name, num_classes=5, **(NARROW | ratio | told))
    return randomized(net).eval()


def some_clips() -> Tensor:
    return torch.randn(2, 4, 3, 32, 32, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("family", FAMILIES)
def test_without_shift_each_frame_is_timm_s(family: str, tmp_path: Path) -> None:
    net, clips = theirs(family), some_clips()
    torch.save(net.state_dict(), tmp_path / "timm.pth")
    model = vit(size_of(family), 32, 5).eval()
    load_weights(model, tmp_path / "timm.pth", head_may_differ=False)
    with torch.no_grad():
        expected = net(clips.flatten(0, 1)).unflatten(0, (2, 4))
        # where the last block computes the class token alone, in products of another shape
        assert (model.frame_logits(clips) - expected).abs().max() <= 1e-6
        model.narrows_last_block = False
        assert torch.equal(model.frame_logits(clips), expected)
        assert torch.equal(model(clips), expected.mean(1))


def test_half_precision_is_widened(tmp_path: Path) -> None:
    net = theirs("registers")
    halves = {name: value.half() for name, value in net.state_dict().items()}
    torch.save({"module.module._orig_mod." + k: v for k, v in halves.items()}, tmp_path / "f.pth")
    model = tokshift(size_of("registers"), 32, 5, fold_div=4)
    report = load_weights(model, tmp_path / "f.pth")
    assert report.notes == [f"{len(halves)} tensors of half precision are widened to float32"]
    assert all(value.dtype == torch.float32 for value in model.state_dict().values())
    assert torch.equal(model.pos_embed, halves["pos_embed"].float())


def dinov2_release(state: dict[str, Tensor], chunk: int = 2) -> dict[str, Tensor]:
    """Give our names of a DINOv2 with registers those of facebookresearch's training."""
    theirs = {"mask_token": torch.zeros(1, 48), "dino_head.last_layer.weight": torch.zeros(2, 2)}
    for name, value in state.items():
        parts = name.split(".")
        if parts[0] == "blocks":
            parts.insert(1, str(int(parts[1]) // chunk))
        theirs["backbone." + ".".join(parts).replace("reg_token", "register_tokens")] = value
    own = 0.5 * torch.ones(1, 1, 48)
    theirs["backbone.cls_token"] = state["cls_token"] - own
    theirs["backbone.pos_embed"] = torch.cat([own, state["pos_embed"]], dim=1)
    return theirs


def test_dinov2_s_training_file_loads_chunks_and_positions(tmp_path: Path) -> None:
    source = randomized(vit(size_of("registers"), 32, 5))
    state = dinov2_release(source.state_dict())
    torch.save({"teacher": state, "student": state, "iteration": 5}, tmp_path / "teacher.pth")
    model = vit(size_of("registers"), 32, 5)
    report = load_weights(model, tmp_path / "teacher.pth")
    for name, value in source.state_dict().items():
        torch.testing.assert_close(model.state_dict()[name], value, atol=1e-7, rtol=0)
    assert sorted(report.ignored) == ["dino_head.last_layer.weight", "mask_token"]
    assert report.renamed["blocks.2.norm1.weight"] == "blocks.1.2.norm1.weight"
    assert "the positions of the first 1 tokens were added to cls_token" in report.notes


def dinov2_classifier(source: VisionTransformer) -> dict[str, Tensor]:
    """Give a DINOv2 of ours the names of facebookresearch's with a linear head."""
    return {
        f"linear_{name}" if name.startswith("head.") else f"backbone.{name}": value
        for name, value in source.state_dict().items()
    }


def test_dinov2_s_linear_head_sees_class_token_and_patches(tmp_path: Path) -> None:
    source = randomized(vit(size_of("dinov2", pool="both"), 32, 5)).eval()
    torch.save(dinov2_classifier(source), tmp_path / "dinov2_vitb14_lc.pth")
    model = vit(size_of("dinov2", pool="both"), 32, 5).eval()
    load_weights(model, tmp_path / "dinov2_vitb14_lc.pth", head_may_differ=False)
    with torch.no_grad():
        x = source.norm(encode(source.embed(some_clips()), source.blocks, recomputes=False))
        seen = torch.cat([x[:, :, 0], x[:, :, 1:].mean(2)], dim=-1)
        torch.testing.assert_close(model.frame_logits(some_clips()), source.head(seen))


def test_linear_head_of_dinov2_on_four_blocks_is_refused_with_the_reason(tmp_path: Path) -> None:
    source = vit(size_of("dinov2", pool="both"), 32, 5)
    source.head = nn.Linear(5 * 48, 5)
    torch.save(dinov2_classifier(source), tmp_path / "lc4.pth")
    model = vit(size_of("dinov2"), 32, 5)
    with pytest.raises(ValueError, match="the file's classifier takes 5 tokens, as DINOv2's on fo"):
        load_weights(model, tmp_path / "lc4.pth", head_may_differ=False)
    report = load_weights(model, tmp_path / "lc4.pth")
    assert "(5, 240) in the file, (5, 48) in the model" in report.reinitialised["head.weight"]


def test_gated_dinov3_s_release_keeps_gates_and_values_apart(tmp_path: Path) -> None:
    source = randomized(vit(size_of("dinov3 plus"), 32, 5))
    state = {"local_cls_norm.weight": torch.ones(48), "local_cls_norm.bias": torch.zeros(48)}
    for name, value in source.state_dict().items():
        name = name.replace("reg_token", "storage_tokens").replace(".mlp.fc2.", ".mlp.w3.")
        if ".mlp.fc1." in name:
            gate, up = value.chunk(2)
            state |= {name.replace(".fc1.", ".w1."): gate, name.replace(".fc1.", ".w2."): up}
        elif not name.endswith("qkv.bias"):  # as the model of 7 billion parameters
            state[name] = value
    torch.save(state, tmp_path / "dinov3.pth")
    model = vit(size_of("dinov3 plus", qkv_bias=False), 32, 5)
    report = load_weights(model, tmp_path / "dinov3.pth", head_may_differ=False)
    assert torch.equal(model.blocks[1].mlp.fc1.weight, source.blocks[1].mlp.fc1.weight)
    assert report.fused["blocks.1.mlp.fc1.bias"] == [f"blocks.1.mlp.{w}.bias" for w in ("w1", "w2")]
    assert sorted(report.ignored) == ["local_cls_norm.bias", "local_cls_norm.weight"]


def test_gated_mlp_of_hugging_face_is_joined_gates_first() -> None:
    gate, up, down = torch.zeros(8, 4), torch.ones(8, 4), torch.ones(4, 8)
    state = {"embeddings.cls_token": torch.zeros(1, 1, 4)}
    for name, value in (("gate", gate), ("up", up), ("down", down)):
        state[f"layer.0.mlp.{name}_proj.weight"] = value
    made = from_hugging_face_vit(state, "model.safetensors").state
    assert torch.equal(made["blocks.0.mlp.fc1.weight"], torch.cat([gate, up]))
    assert torch.equal(made["blocks.0.mlp.fc2.weight"], down)


def test_rotary_vit_without_a_class_token_is_refused() -> None:
    net = timm.create_model("vit_medium_patch16_rope_reg1_gap_256", depth=1, num_heads=8)
    with pytest.raises(ValueError, match="without a class token"):
        weights_of(net.state_dict(), "rope", vit(size_of("dinov3"), 32, 5))


def test_dinov3_release_masks_the_biases_of_keys(tmp_path: Path) -> None:
    source = randomized(vit(size_of("dinov3"), 32, 5))
    state = {n.replace("reg_token", "storage_tokens"): v for n, v in source.state_dict().items()}
    state |= {f"blocks.{i}.attn.qkv.bias_mask": torch.full((144,), torch.nan) for i in range(3)}
    state["rope_embed.periods"] = torch.ones(3)
    torch.save(state, tmp_path / "dinov3.pth")
    model = vit(size_of("dinov3"), 32, 5)
    report = load_weights(model, tmp_path / "dinov3.pth")
    bias, theirs = model.blocks[1].attn.qkv.bias, source.blocks[1].attn.qkv.bias
    assert not bias[48:96].any()
    assert torch.equal(bias[:48], theirs[:48])
    assert torch.equal(bias[96:], theirs[96:])
    assert report.filled["blocks.1.attn.qkv.bias"].startswith("zeros, in the part of the keys")
    assert report.pixels == ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])


def open_clip(source: VisionTransformer) -> dict[str, Tensor]:
    """Give a CLIP of ours the names of open_clip, on a ViT of timm, with texts."""
    state = {f"visual.trunk.{name}": value for name, value in source.state_dict().items()}
    state |= {f"transformer.resblocks.{i}.ln_1.weight": torch.ones(3) for i in range(40)}
    return state | {"logit_scale": torch.ones(()), "token_embedding.weight": torch.ones(2, 2)}


def test_open_clip_on_a_vit_of_timm_leaves_the_texts_out(tmp_path: Path) -> None:
    source = randomized(vit(size_of("openclip"), 32, 5))
    torch.save(
        {"state_dict": {f"module.{k}": v for k, v in open_clip(source).items()}},
        tmp_path / "epoch_1.pt",
    )
    model = vit(size_of("openclip"), 32, 5)
    report = load_weights(model, tmp_path / "epoch_1.pt", head_may_differ=False)
    assert all(map(torch.equal, model.parameters(), source.parameters()))
    assert len(report.ignored) == 42
    assert str(report).count("resblocks") == 12  # the rest is counted
    assert "and 30 more" in str(report)


WRONG: list[tuple[str, dict[str, Any], str]] = [
    ("clip", {"pre_norm": False}, "the file has PRE_NORM True, the model False: set MODEL.VIT.PRE"),
    ("dinov2", {"layer_scale": False}, "set MODEL.VIT.LAYER_SCALE True"),
    ("plain", {"layer_scale": True}, "set MODEL.VIT.LAYER_SCALE False"),
    ("registers", {"num_registers": 0}, "set MODEL.VIT.NUM_REGISTERS 4"),
    ("registers", {"positions": "all"}, "set MODEL.VIT.POSITIONS patches"),
    ("deit3", {"positions": "all"}, "set MODEL.VIT.POSITIONS patches"),
    ("plain", {"positions": "patches"}, "set MODEL.VIT.POSITIONS all"),
    ("plain", {"positions": "rotary"}, "set MODEL.VIT.POSITIONS all"),
    ("dinov3", {"positions": "all"}, "set MODEL.VIT.POSITIONS rotary"),
    ("mae", {"pool": "token"}, "set MODEL.VIT.POOL mean"),
    ("mae", {"pool": "both"}, "set MODEL.VIT.POOL mean"),
    (
        "reg4 with positions",
        {"positions": "patches"},
        "pos_embed: (1, 21, 48) in the file, (1, 16,",
    ),
    ("giant", {"activation": "gelu"}, "set MODEL.VIT.ACTIVATION swiglu"),
    (
        "dinov2",
        {"patch_size": 16},
        "the file has PATCH_SIZE 8, the model 16: set MODEL.VIT, or a MODEL.BACKBONE that stands "
        "for it; the kernels of patches, too, are taken as they are",
    ),
    (
        "plain",
        {"num_layers": 2, "mlp_dim": 48},
        "the file has MLP_DIM 96, NUM_LAYERS 3, the model 48, 2: set MODEL.VIT",
    ),
    ("dinov3", {"norm_eps": 1e-6}, "trained with MODEL.VIT.NORM_EPS 1e-05, the model has 1e-06"),
]


@pytest.mark.parametrize(("family", "options", "text"), WRONG)
def test_option_that_differs_is_named(
    family: str, options: dict[str, Any], text: str, tmp_path: Path
) -> None:
    torch.save(theirs(family).state_dict(), tmp_path / "timm.pth")
    model = vit(size_of(family, **options), 32, 5)
    with pytest.raises(ValueError, match=re.escape(text)) as caught:
        load_weights(model, tmp_path / "timm.pth")
    assert str(tmp_path / "timm.pth") in str(caught.value)


def test_mean_of_patches_starts_from_weights_of_the_class_token(tmp_path: Path) -> None:
    source = randomized(vit(size_of("mae", pool="token"), 32, 7))
    torch.save(
        {"model": source.state_dict() | {"decoder_pos_embed": torch.zeros(1)}},
        tmp_path / "mae_pretrain.pth",
    )
    model = vit(size_of("mae"), 32, 5)
    report = load_weights(model, tmp_path / "mae_pretrain.pth")
    assert {*report.ignored} == {"decoder_pos_embed", "norm.weight", "norm.bias"}
    assert report.reinitialised["fc_norm.weight"] == "as drawn, not in the file"
    assert torch.equal(model.fc_norm.weight, torch.ones(48))


@pytest.mark.parametrize(
    ("backbone", "how"),
    [
        ("clip", "4x4 to 2x2 patches, bicubic with antialias"),
        ("dinov2", "4x4 to 2x2 patches, bicubic as the DINOv2 release's"),
        ("deit3", "4x4 to 2x2 patches, bicubic with antialias"),
        ("plain", "4x4 to 2x2 patches, bilinear with aligned corners"),
    ],
)
def test_positions_are_resized_as_the_family_s(backbone: str, how: str, tmp_path: Path) -> None:
    net = theirs(backbone)
    torch.save(net.state_dict(), tmp_path / "timm.pth")
    model = vit(size_of(backbone), 16, 5)
    report = load_weights(model, tmp_path / "timm.pth")
    assert report.resized == {"pos_embed": how}
    if "antialias" in how:
        has_class = backbone != "deit3"
        expected = timm.layers.resample_abs_pos_embed(
            net.pos_embed.detach(), [2, 2], num_prefix_tokens=int(has_class)
        )
        torch.testing.assert_close(model.pos_embed, expected, atol=1e-6, rtol=0)


def hugging_face_clip(**config: Any) -> dict[str, Any]:
    weights = {"embeddings.class_embedding": torch.zeros(48)}
    return {"state_dict": weights, "hub": {"config": config, "preprocessor": {}}}


@pytest.mark.parametrize(
    ("content", "options", "text"),
    [
        (hugging_face_clip(), {"norm_eps": 1e-6}, "NORM_EPS 1e-05"),
        (hugging_face_clip(hidden_act="gelu"), {}, "ACTIVATION gelu, the model has quick_gelu"),
        (
            hugging_face_clip(vision_config={"hidden_act": "gelu"}),
            {},
            "ACTIVATION gelu, the model has quick_gelu",
        ),
        (
            {"visual.class_embedding": torch.zeros(48), "input_resolution": torch.tensor(224)},
            {"activation": "gelu"},
            "ACTIVATION quick_gelu, the model has gelu: set MODEL.VIT.ACTIVATION quick_gelu",
        ),
    ],
)
def test_what_weights_do_not_show_is_compared_where_the_file_tells_it(
    content: dict[str, Any], options: dict[str, Any], text: str
) -> None:
    with pytest.raises(ValueError, match=text):
        weights_of(content, "clip", vit(size_of("clip", **options), 32, 5))


def test_two_tensors_of_one_name_are_an_error() -> None:
    state = {"cls_token": torch.zeros(1, 1, 48), "register_tokens": torch.zeros(1, 4, 48)}
    state["reg_token"] = torch.zeros(1, 4, 48)
    with pytest.raises(ValueError, match="two tensors for reg_token: register_tokens and reg_tok"):
        from_timm(state, "file")


def test_a_model_with_registers_and_their_positions_takes_its_own_file(tmp_path: Path) -> None:
    source = randomized(vit(size_of("registers", positions="all"), 32, 5))
    torch.save(source.state_dict(), tmp_path / "own.pth")
    model = vit(size_of("registers", positions="all"), 32, 5)
    load_weights(model, tmp_path / "own.pth", head_may_differ=False)
    assert torch.equal(model.pos_embed, source.pos_embed)
    assert torch.equal(model.cls_token, source.cls_token)


def test_names_of_an_unknown_part_are_left_over(tmp_path: Path) -> None:
    state = theirs("dinov2").state_dict() | {"blocks.0.adapter.weight": torch.zeros(2)}
    model = vit(size_of("dinov2"), 32, 5)
    found: Callable[..., Any] = weights_of
    with pytest.raises(ValueError, match=r"left over: blocks\.0\.adapter\.weight \(2,\)"):
        fit_weights(model, *found({"state_dict": state}, "file", model))
