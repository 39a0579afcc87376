"""Image ViTs of Hugging Face, OpenAI and facebookresearch: their own outputs from their names."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from config import load_cfg_text
from models import build_model
from models.feature_extractor import FeatureExtractor
from models.loaded_model import load_model
from models.pretrained import describe, fit_weights, weights_of
from models.vit import VisionTransformer, ViTSize, encode, vit
from models.weights.load_report import LoadReport
from tests.conftest import golden_content
from tests.other_libraries import weights_by_rule

HUB = golden_content("other/hf/index.json").get("cases", {})
IMAGE_MODELS = ("vit", "deit", "dinov2", "dinov2_with_registers", "clip_vision_model", "dinov3_vit")
HUB_CASES = [name for name, case in HUB.items() if case["config"]["model_type"] in IMAGE_MODELS]
ORIGINAL = golden_content("other/original/index.json").get("cases", {})
# Hugging Face's ViT and DeiT have an eps of 1e-12, which ours makes 1e-6
TOLERANCES = {"vit": 1e-4, "deit": 1e-4}

Read = Callable[[str], Any]
Loaded = tuple[VisionTransformer, dict[str, Any], LoadReport]


def pixels(case: dict[str, Any], images: Any) -> Tensor:
    mean, std = (torch.tensor(case[key]).view(3, 1, 1) for key in ("mean", "std"))
    return ((torch.from_numpy(images).float() / 255 - mean) / std)[:, None]  # clips of a frame


def tokens(model: VisionTransformer, clips: Tensor) -> Tensor:
    """All tokens behind the last block, before the last norm."""
    with torch.no_grad():
        return encode(model.embed(clips), model.blocks, recomputes=False)[:, 0]


def hub_content(name: str, read: Read, in_memory: bool = False) -> dict[str, Any]:
    state = weights_by_rule(read(f"other/hf/{name}.keys.json"))
    if in_memory:
        names = HUB[name]["file_to_memory_names"]
        state = {names.get(key) or key: value for key, value in state.items()}
    return {"state_dict": state, "hub": {"config": HUB[name]["config"], "preprocessor": {}}}


def loaded(name: str, golden: Read, read: Read, in_memory: bool = False) -> Loaded:
    arrays, content = golden(f"other/hf/{name}.npz"), hub_content(name, read, in_memory)
    said = describe(content, name)
    assert said
    said.values.setdefault("MODEL.NUM_CLASSES", 5)
    model = build_model(load_cfg_text(said.yml(), name)).eval()
    assert isinstance(model, VisionTransformer)
    report = fit_weights(model, *weights_of(content, name, model))
    return model, arrays, report


@pytest.mark.parametrize("in_memory", [False, True], ids=["file", "memory"])
@pytest.mark.parametrize("name", HUB_CASES)
def test_hugging_face(name: str, in_memory: bool, golden: Read, golden_json: Read) -> None:
    if in_memory and not HUB[name]["file_to_memory_names"]:
        pytest.skip("one naming")
    model, arrays, _ = loaded(name, golden, golden_json, in_memory)
    clips = pixels(HUB[name], arrays["images_u8"])
    kind = HUB[name]["config"]["model_type"]
    close = {"atol": TOLERANCES.get(kind, 1e-5), "rtol": 0}
    x = tokens(model, clips)
    with torch.no_grad():
        normed = model.norm(x)
        last = x if kind == "clip_vision_model" else normed
        expected = torch.from_numpy(arrays["last_hidden_state"])
        torch.testing.assert_close(last, expected, **close)
        if "image_embeds" in arrays:
            embeds = torch.from_numpy(arrays["image_embeds"])
            torch.testing.assert_close(model(clips), embeds, **close)
        if "logits" in arrays:
            logits = torch.from_numpy(arrays["logits"])
            torch.testing.assert_close(model(clips), logits, **close)
        if kind.startswith("clip") and "pooler_output" in arrays:
            pooled = torch.from_numpy(arrays["pooler_output"])
            torch.testing.assert_close(normed[:, 0], pooled, **close)


@pytest.mark.parametrize("name", [n for n in HUB_CASES if re.match("dinov2.*_classification", n)])
def test_classifier_of_class_and_patches_is_told_by_its_width(
    name: str, golden: Read, golden_json: Read
) -> None:
    model, _, report = loaded(name, golden, golden_json)
    assert (model.size.pool, model.head.in_features) == ("both", 2 * model.size.hidden_size)
    assert "head.weight" in report.loaded
    content = hub_content(name, golden_json)
    other = vit(replace(model.size, pool="token"), model.image_size, model.head.out_features)
    with pytest.raises(ValueError, match="the file has POOL both, the model token"):
        fit_weights(other, *weights_of(content, name, other), head_may_differ=False)


def original(name: str, read: Read, **options: Any) -> Loaded:
    shapes = read(f"other/original/{name}.keys.json")
    state = weights_by_rule(shapes)
    is_clip = "visual.proj" in shapes
    image_size = ORIGINAL[name]["image"]
    patch = next(shape[-1] for key, shape in shapes.items() if shape[1:2] == [3])
    width = shapes["visual.class_embedding"][0] if is_clip else shapes["cls_token"][-1]
    blocks = {
        key.split(".resblocks." if is_clip else "blocks.")[1].split(".")[0]
        for key in shapes
        if ("visual.transformer.resblocks." if is_clip else "blocks.") in key
    }
    mlp = next(
        s[0]
        for k, s in shapes.items()
        if k.endswith(
            (
                "visual.transformer.resblocks.0.mlp.c_fc.weight",
                "blocks.0.mlp.fc1.weight",
                "blocks.0.mlp.w12.weight",
            )
        )
    )
    size = ViTSize(patch, width, mlp, width // 64 if is_clip else 4, len(blocks), **options)
    model = vit(size, image_size, 20).eval()
    report = fit_weights(model, *weights_of(state, name, model))
    return model, {}, report


ORIGINAL_OPTIONS = {
    "openai_clip_visual": {"norm_eps": 1e-5, "activation": "quick_gelu", "pre_norm": True},
    "dinov2": {"layer_scale": True, "pos_resize": "dinov2"},
    "dinov2_other_size": {"layer_scale": True, "pos_resize": "dinov2"},
    "dinov2_reg4": {"layer_scale": True, "num_registers": 4, "positions": "patches"},
    "dinov2_swiglu": {"layer_scale": True, "activation": "swiglu"},
}


@pytest.mark.parametrize("name", ORIGINAL_OPTIONS)
def test_original(name: str, golden: Read, golden_json: Read) -> None:
    arrays = golden(f"other/original/{name}.npz")
    model, _, report = original(name, golden_json, **ORIGINAL_OPTIONS[name])
    clips = pixels(ORIGINAL[name], arrays["images_u8"])
    with torch.no_grad():
        x = model.norm(tokens(model, clips))
    close = {"atol": 1e-5, "rtol": 0}
    if "image_features" in arrays:
        torch.testing.assert_close(
            model(clips), torch.from_numpy(arrays["image_features"]), **close
        )
        return
    parts = x.split([1, model.num_prefix - 1, x.shape[1] - model.num_prefix], dim=1)
    for part, key in zip(parts, ("clstoken", "regtokens", "patchtokens"), strict=True):
        expected = torch.from_numpy(arrays[f"x_norm_{key}"]).reshape(part.shape)
        torch.testing.assert_close(part, expected, **close)
    assert ("pos_embed" in report.resized) == (name == "dinov2_other_size")


def test_a_folder_is_opened_without_a_yml(golden_json: Read, golden: Read, tmp_path: Path) -> None:
    name = "clip_vision_with_projection"
    safetensors = pytest.importorskip("safetensors.torch")
    state = weights_by_rule(golden_json(f"other/hf/{name}.keys.json"))
    safetensors.save_file(state, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(HUB[name]["config"]))
    opened = load_model(tmp_path)
    clips = pixels(HUB[name], golden(f"other/hf/{name}.npz")["images_u8"])
    embeds = torch.from_numpy(golden(f"other/hf/{name}.npz")["image_embeds"])
    with torch.no_grad():
        torch.testing.assert_close(opened.model(clips), embeds, atol=1e-5, rtol=0)
    cfg = opened.cfg
    assert (cfg.MODEL.VIT.ACTIVATION, cfg.MODEL.VIT.NORM_EPS) == ("quick_gelu", 1e-5)
    assert pytest.approx(HUB[name]["mean"], abs=1e-7) == cfg.DATA.PIXEL_MEAN


@pytest.mark.parametrize(
    "name", [n for n in HUB_CASES if not re.search("classification|projection", n)]
)
def test_a_folder_without_a_head_has_features(
    name: str, golden: Read, golden_json: Read, tmp_path: Path
) -> None:
    safetensors = pytest.importorskip("safetensors.torch")
    state = weights_by_rule(golden_json(f"other/hf/{name}.keys.json"))
    safetensors.save_file(state, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(HUB[name]["config"]))
    said = {"image_mean": HUB[name]["mean"], "image_std": HUB[name]["std"]}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(said))
    with pytest.raises(ValueError, match=r"MODEL\.NUM_CLASSES"):
        load_model(tmp_path)
    model = load_model(tmp_path, needs_head=False).model
    arrays = golden(f"other/hf/{name}.npz")
    with torch.no_grad():
        seen = FeatureExtractor(model)(pixels(HUB[name], arrays["images_u8"]))[:, 0]
    kind = HUB[name]["config"]["model_type"]
    expected = torch.from_numpy(arrays["last_hidden_state"][:, 0])
    if kind == "clip_vision_model":
        expected = torch.from_numpy(arrays["pooler_output"])
    torch.testing.assert_close(seen, expected, atol=TOLERANCES.get(kind, 1e-5), rtol=0)


def test_a_folder_that_does_not_tell_the_pixels_says_so(golden_json: Read, tmp_path: Path) -> None:
    safetensors = pytest.importorskip("safetensors.torch")
    state = weights_by_rule(golden_json("other/hf/vit_classification.keys.json"))
    safetensors.save_file(state, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(HUB["vit_classification"]["config"]))
    with pytest.raises(ValueError, match=r"does not say DATA\.PIXEL_MEAN, DATA\.PIXEL_STD"):
        load_model(tmp_path)
    said = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3, "size": {"height": 32, "width": 32}}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(said))
    assert load_model(tmp_path).cfg.DATA.IMAGE_SIZE == 32
