"""What a TimeSformer takes from files of its own kind, of image ViTs, and of other lengths."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from config import load_cfg_text
from models import build_model
from models.pretrained import load_weights
from models.timesformer import TimeSformer
from models.tokshift import tokshift
from models.vit import VisionTransformer, ViTSize, vit
from models.weights.embeddings import resize_pos_embed, resize_time_embed
from tests.models.conftest import randomized
from tests.models.test_pretrained import flax_arrays
from tests.models.weights.test_paddle import paddle_arrays

SIZES = {"patch_size": 8, "hidden_size": 12, "mlp_dim": 20, "num_heads": 3, "num_layers": 2}
SIZE = ViTSize(**SIZES)


def toy(num_frames: int = 4, image_size: int = 24, seed: int = 0, **options: Any) -> TimeSformer:
    model = TimeSformer(
        image_size=image_size, num_frames=num_frames, num_classes=5, **SIZES, **options
    )
    return randomized(model, seed)


def toy_image_vit(seed: int = 1, qkv_bias: bool = True) -> VisionTransformer:
    return randomized(vit(ViTSize(**SIZES, qkv_bias=qkv_bias), 24, 5), seed)


def weights(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def saved(content: Any, path: Path) -> Path:
    torch.save(content, path)
    return path


def official(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"model.{name}": value for name, value in state.items()}


def wrapped(kind: str, state: dict[str, Tensor]) -> dict[str, Any]:
    if kind == "official":
        optimizer = {"state": {}, "param_groups": [{"lr": np.float64(0.005)}]}
        content = {"model_state": official(state), "cfg": "TIMESFORMER: {}", "epoch": 14}
        return content | {"optimizer_state": optimizer}
    if kind == "official, by DDP":
        return {"model_state": {f"module.{n}": value for n, value in official(state).items()}}
    if kind in ("state_dict", "model", "module"):
        return {kind: official(state), "cfg": "TIMESFORMER: {}"}
    assert kind == "weights alone"
    return official(state)


KINDS = ("official", "official, by DDP", "state_dict", "model", "module", "weights alone")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("attention", ["divided", "joint", "space_only"])
def test_official_checkpoint_gives_every_weight(attention: str, kind: str, tmp_path: Path) -> None:
    source, model = toy(attention=attention, seed=1), toy(attention=attention, seed=2)
    path = saved(wrapped(kind, weights(source)), tmp_path / "TimeSformer_K400.pyth")
    report = load_weights(model, path, head_may_differ=False)
    assert report.loaded == list(weights(source))
    assert all(torch.equal(a, b) for a, b in zip(*map(parameters, (model, source)), strict=True))
    is_official = kind.startswith("official") and attention != "space_only"
    assert report.kind.startswith("official TimeSformer") is is_official
    assert any("std [0.225" in note for note in report.notes) is is_official


def parameters(model: nn.Module) -> list[Tensor]:
    return list(model.parameters())


def test_safetensors_of_every_torch_kind_load(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    source = toy(seed=1)
    for state in (weights(source), official(weights(source))):
        save_file(state, path)
        model = toy(seed=2)
        load_weights(model, path, head_may_differ=False)
        assert all(
            torch.equal(a, b) for a, b in zip(*map(parameters, (model, source)), strict=True)
        )


IMAGE_FILES = ("npz", "ours", "torchvision", "paddle", "safetensors")


def image_file(kind: str, model: VisionTransformer, folder: Path) -> Path:
    if kind == "npz":
        np.savez(folder / "ViT.npz", **flax_arrays(model))
        return folder / "ViT.npz"
    if kind == "paddle":
        path = folder / "ViT.pdparams"
        path.write_bytes(pickle.dumps(paddle_arrays(model, prefix=""), protocol=4))
        return path
    if kind == "safetensors":
        save_file(weights(model), folder / "ViT.safetensors")
        return folder / "ViT.safetensors"
    state = weights(model)
    return saved(as_torchvision(state) if kind == "torchvision" else state, folder / "ViT.pth")


def as_torchvision(state: dict[str, Tensor]) -> dict[str, Tensor]:
    names = {
        "cls_token": "class_token",
        "pos_embed": "encoder.pos_embedding",
        "patch_embed.proj.": "conv_proj.",
        "attn.qkv.": "self_attention.in_proj_",
        "attn.proj.": "self_attention.out_proj.",
        "norm1.": "ln_1.",
        "norm2.": "ln_2.",
        "mlp.fc1.": "mlp.0.",
        "mlp.fc2.": "mlp.3.",
        "head.": "heads.head.",
        "blocks.": "encoder.layers.encoder_layer_",
    }
    renamed = {}
    for name, value in state.items():
        theirs = f"encoder.ln.{name[5:]}" if name.startswith("norm.") else name
        for ours, other in names.items():
            theirs = theirs.replace(ours, other)
        renamed[theirs] = value
    return renamed


@pytest.mark.parametrize("kind", IMAGE_FILES)
def test_image_vit_starts_a_timesformer_that_computes_the_same_on_still_clips(
    kind: str, tmp_path: Path
) -> None:
    image, model = toy_image_vit(), toy()
    report = load_weights(model, image_file(kind, image, tmp_path))
    own = weights(model)
    expected_copies = {
        f"blocks.{i}.temporal_{part}": f"blocks.{i}.{part}"
        for i in range(2)
        for part in (
            *("norm1.weight", "norm1.bias", "attn.qkv.weight", "attn.qkv.bias"),
            *("attn.proj.weight", "attn.proj.bias"),
        )
    }
    assert report.copied == expected_copies
    for name, source in expected_copies.items():
        assert torch.equal(own[name], own[source])
        assert own[name].any()
    zeros = ["time_embed"]
    zeros += [f"blocks.{i}.temporal_fc.{what}" for i in range(2) for what in ("weight", "bias")]
    zeros += ["head.weight", "head.bias"] if kind == "npz" else []
    assert report.reinitialised == dict.fromkeys(zeros, "zeros, not in the file")
    assert not any(own[name].any() for name in zeros)
    accounted = [*report.loaded, *report.resized, *report.copied, *report.reinitialised]
    assert sorted(accounted) == sorted(own)
    assert "  copied: blocks.1.temporal_norm1.bias: from blocks.1.norm1.bias" in str(report)

    frame = torch.randn(2, 1, 3, 24, 24, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        clips = frame.expand(-1, 4, -1, -1, -1)
        # the same sums, in batches of another size
        torch.testing.assert_close(
            model.eval().features(clips), image.eval().features(frame)[:, 0], atol=1e-5, rtol=0
        )


@pytest.mark.parametrize("kind", IMAGE_FILES)
@pytest.mark.parametrize("attention", ["divided", "joint"])
def test_image_vit_is_no_timesformer_to_test(attention: str, kind: str, tmp_path: Path) -> None:
    path = image_file(kind, toy_image_vit(), tmp_path)
    with pytest.raises(ValueError, match="do not fit the model") as caught:
        load_weights(toy(attention=attention), path, head_may_differ=False)
    text = str(caught.value)
    assert "time_embed: not in the file" in text
    if attention == "divided":
        assert "blocks.1.temporal_attn.qkv.weight: not in the file" in text
        assert "the file is no divided TimeSformer's; to train one from it: --tune_from" in text


def test_image_vit_starts_joint_attention_too(tmp_path: Path) -> None:
    path = image_file("ours", toy_image_vit(), tmp_path)
    report = load_weights(toy(attention="joint"), path)
    assert report.reinitialised == {"time_embed": "zeros, not in the file"}
    assert not report.copied


def test_timesformer_file_with_a_hole_is_an_error_even_to_train_from(tmp_path: Path) -> None:
    for name in ("blocks.1.temporal_norm1.bias", "blocks.0.temporal_fc.weight", "time_embed"):
        state = weights(toy(seed=1))
        del state[name]
        with pytest.raises(ValueError, match=rf"{name}: not in the file"):
            load_weights(toy(), saved(state, tmp_path / "hole.pth"))


def test_divided_weights_do_not_fit_a_model_without_time(tmp_path: Path) -> None:
    path = saved(weights(toy()), tmp_path / "model.pth")
    for model in (tokshift(SIZE, 24, 5, fold_div=4), toy(attention="joint")):
        with pytest.raises(ValueError, match="do not fit the model") as caught:
            load_weights(model, path)
        text = str(caught.value)
        assert "left over: blocks.0.temporal_attn.proj.bias (12,)" in text
        assert "set MODEL.NAME timesformer and MODEL.TIMESFORMER.ATTENTION divided" in text


@pytest.mark.parametrize("file_has", [True, False])
@pytest.mark.parametrize("net", ["timesformer", "vit"])
def test_biases_of_the_attention_in_one_of_file_and_model_are_an_error(
    net: str, file_has: bool, tmp_path: Path
) -> None:
    build = toy if net == "timesformer" else toy_image_vit
    path = saved(weights(build(qkv_bias=file_has)), tmp_path / "model.pth")
    with pytest.raises(ValueError, match=f"set MODEL.VIT.QKV_BIAS {file_has}") as caught:
        load_weights(build(qkv_bias=not file_has), path)
    which = "left over: blocks.1.attn.qkv.bias (36,)"
    assert (which if file_has else "blocks.1.attn.qkv.bias: not in the file") in str(caught.value)


def test_image_weights_with_biases_are_not_dropped_in_silence(tmp_path: Path) -> None:
    path = image_file("npz", toy_image_vit(), tmp_path)
    with pytest.raises(ValueError, match=r"set MODEL\.VIT\.QKV_BIAS True"):
        load_weights(toy(qkv_bias=False), path)


@pytest.mark.parametrize("mode", ["nearest", "linear"])
@pytest.mark.parametrize(("old", "new"), [(4, 8), (8, 4), (4, 6), (4, 1)])
def test_time_embedding_of_another_length_is_resized_and_reported(
    old: int, new: int, mode: str, tmp_path: Path
) -> None:
    source, model = toy(old, seed=1), toy(new, seed=2, time_resize=mode)
    path = saved(weights(source), tmp_path / "model.pth")
    report = load_weights(model, path, head_may_differ=False)
    assert torch.equal(model.time_embed, resize_time_embed(source.time_embed, new, mode))
    assert report.resized == {"time_embed": f"{old} to {new} frames, {mode}"}
    assert "time_embed" not in report.loaded
    assert model.time_embed.any()


def test_both_embeddings_are_resized_at_once(tmp_path: Path) -> None:
    source, model = toy(4, 24, seed=1), toy(8, 32)
    load_weights(model, saved(weights(source), tmp_path / "model.pth"), head_may_differ=False)
    assert torch.equal(model.pos_embed, resize_pos_embed(source.pos_embed.detach(), 17))
    assert torch.equal(model.time_embed, resize_time_embed(source.time_embed, 8))


def test_time_embedding_of_another_width_is_an_error(tmp_path: Path) -> None:
    state = weights(toy()) | {"time_embed": torch.zeros(1, 4, 8)}
    with pytest.raises(ValueError, match=r"time_embed: \(1, 4, 8\) in the file, \(1, 4, 12\)"):
        load_weights(toy(), saved(state, tmp_path / "model.pth"))


CONFIG = """
DATA: {IMAGE_SIZE: 24, TEST_SHORT_SIDE: 24, NUM_FRAMES: 8}
MODEL:
  BACKBONE: tiny
  NUM_CLASSES: 5
  VIT: {PATCH_SIZE: 8, HIDDEN_SIZE: 12, MLP_DIM: 20, NUM_HEADS: 3, NUM_LAYERS: 2}
"""


@pytest.mark.parametrize("mode", ["nearest", "linear"])
@pytest.mark.parametrize("name", ["timesformer", "tokshift"])
def test_one_key_tests_an_8_frame_checkpoint_with_16_frames(
    name: str, mode: str, tmp_path: Path
) -> None:
    keys = ["MODEL.NAME", name, "MODEL.TIMESFORMER.TIME_RESIZE", mode]
    short = randomized(build_model(load_cfg_text(CONFIG, "test", keys)))
    path = saved({"state_dict": weights(short)}, tmp_path / "best.pth")
    model = build_model(load_cfg_text(CONFIG, "test", [*keys, "DATA.NUM_FRAMES", "16"]))
    report = load_weights(model, path, head_may_differ=False)
    how = {"time_embed": f"8 to 16 frames, {mode}"}
    assert report.resized == (how if name == "timesformer" else {})
    clips = torch.randn(2, 16, 3, 24, 24, generator=torch.Generator().manual_seed(0))
    logits = model.eval()(clips)
    assert logits.isfinite().all()
    if name == "timesformer" and mode == "nearest":
        twice = clips[:, ::2].repeat_interleave(2, dim=1)  # what repeated frames show is the same
        torch.testing.assert_close(model(twice), short.eval()(clips[:, ::2]), atol=1e-4, rtol=0)
