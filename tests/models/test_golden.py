"""The released models: what they compute and what they make of ImageNet-21k weights."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from models.pretrained import load_weights
from models.tokshift import tokshift
from models.vit import VisionTransformer, ViTSize, vit
from models.weights.released_tokshift import from_released, to_released
from tests.conftest import golden_arrays, golden_names, released_sizes

Golden = Callable[[str], dict[str, Any]]

MODELS = golden_names("tokshift/b_model_*.npz")
# The release's float32 logits move by 1.3e-6 with the number of threads and by 2.5e-6 in float64.
LOGITS_ATOL = 1e-5
# Of the largest entry of a tensor's gradient; 1e-6 between float32 and float64 in the release.
GRADIENT_SHARE = 1e-5
# Mathematically zero (softmax does not see a shift of its inputs): rounding noise of order 1e-8.
KEY_BIAS_ATOL = 1e-6


def model_of(data: dict[str, Any]) -> VisionTransformer:
    """Build the model of a file and load its weights, in their released form, strictly."""
    meta = data["meta"]
    size = ViTSize(**released_sizes(meta["arch"]))
    image_size, num_classes = data["input"].shape[-1], data["logits_eval"].shape[-1]
    shift = re.search(r"tokshift_div(\d+)", meta["yml"])
    if shift:
        fold_div = meta["over"].get("SHIFT_DIV", int(shift[1]))
        model = tokshift(size, image_size, num_classes, fold_div)
    else:
        model = vit(size, image_size, num_classes)
    model.load_state_dict(from_released(tensors(data, "sd.")))
    return model


def tensors(data: dict[str, Any], prefix: str) -> dict[str, Tensor]:
    return {
        key.removeprefix(prefix): torch.from_numpy(array)
        for key, array in data.items()
        if key.startswith(prefix)
    }


def assert_near(ours: Tensor, theirs: Any, atol: float, name: str) -> None:
    theirs = torch.as_tensor(theirs)
    difference = (ours.detach() - theirs).abs().max().item()
    assert ours.shape == theirs.shape
    assert difference <= atol, f"{name}: {difference} > {atol}"


def test_golden_models_are_here() -> None:
    if not golden_names("tokshift/*"):
        pytest.skip("nothing of the release is in the part of the golden data that is here")
    assert MODELS


@pytest.mark.parametrize("name", MODELS)
def test_logits_equal_the_release(name: str, golden: Golden) -> None:
    data = golden(name)
    model, clips = model_of(data), torch.from_numpy(data["input"])
    for is_training, key in ((False, "logits_eval"), (True, "logits_train")):
        model.train(is_training)
        assert_near(model(clips), data[key], LOGITS_ATOL, key)
        with torch.no_grad():  # the second shift then writes in place
            assert_near(model(clips), data[key], LOGITS_ATOL, key)


@pytest.mark.parametrize("name", MODELS)
def test_logits_in_double_precision_equal_the_release(name: str, golden: Golden) -> None:
    data = golden(name)
    logits = model_of(data).double()(torch.from_numpy(data["input"]).double())
    # what is left is the release's own rounding, 2.5e-6
    assert_near(logits, data["logits_eval"], 4e-6, "logits in float64")


@pytest.mark.parametrize("records", [True, False])
@pytest.mark.parametrize("name", MODELS)
def test_activations_equal_the_release(name: str, records: bool, golden: Golden) -> None:
    data = golden(name)
    model = model_of(data).eval()
    seen: dict[str, Tensor] = {}

    def keep(key: str) -> Callable[..., None]:
        return lambda module, inputs, output: seen.update({key: output})

    for index, block in enumerate(model.blocks):
        block.register_forward_hook(keep(f"act.block{index}"))
        if not index:
            block.register_forward_pre_hook(
                lambda module, inputs: seen.update({"act.embeddings": inputs[0]})
            )
    with torch.set_grad_enabled(records):
        seen["act.frame_logits"] = model.frame_logits(torch.from_numpy(data["input"]))
        seen["act.encoder_norm"] = model.norm(seen[f"act.block{len(model.blocks) - 1}"])
    assert seen.keys() == {key for key in data if key.startswith("act.")}
    for key, activation in seen.items():
        assert_near(activation.flatten(0, 1), data[key], LOGITS_ATOL, key)


@pytest.mark.parametrize(("kind", "smoothing"), [("ls", 0.1), ("ce", 0.0)])
@pytest.mark.parametrize("name", MODELS)
def test_loss_and_gradients_equal_the_release(
    name: str, kind: str, smoothing: float, golden: Golden
) -> None:
    data = golden(name)
    model, clips = model_of(data), torch.from_numpy(data["input"]).requires_grad_()
    labels = torch.from_numpy(data["labels"])
    loss = F.cross_entropy(model(clips), labels, label_smoothing=smoothing)
    loss.backward()
    assert_near(loss, data[f"loss_{kind}"], LOGITS_ATOL, "loss")
    ours = {name: parameter.grad for name, parameter in model.named_parameters()}
    gradients = to_released(ours) | {"input": clips.grad}
    expected = tensors(data, f"grad_{kind}.")
    assert len(expected) >= 3
    expected["input"] = torch.from_numpy(data[f"grad_{kind}_input"])
    for key, theirs in expected.items():
        atol = GRADIENT_SHARE * theirs.abs().max().item()
        if key.endswith("attn.key.bias"):
            atol = KEY_BIAS_ATOL
        assert_near(gradients[key], theirs, atol, f"gradient of {key}")


def test_some_model_has_the_gradient_of_every_parameter() -> None:
    missing = [
        {*golden_arrays(name, r"sd\.(.+)")} - {*golden_arrays(name, r"grad_ls\.(.+)")}
        for name in MODELS
    ]
    if len(missing) < 2:
        pytest.skip("too few models are in the part of the golden data that is here")
    assert not all(missing)


@pytest.mark.parametrize("name", MODELS)
def test_state_dict_in_released_form_has_the_released_names_in_order(
    name: str, golden: Golden
) -> None:
    data = golden(name)
    expected = tensors(data, "sd.")
    ours = to_released(model_of(data).state_dict())
    assert list(ours) == list(expected)
    assert all(torch.equal(ours[key], expected[key]) for key in expected)


@pytest.mark.parametrize(
    ("name", "net", "image_size"),
    [
        (name, *case)
        for name in golden_names("tokshift/c_loaded_*.npz")
        for case in golden_arrays(name, r"(ViT|TokShift)_(\d+):logits")
    ],
)
def test_imagenet_weights_load_as_in_the_release(
    name: str, net: str, image_size: int, golden: Golden, golden_path: Callable[[str], Path]
) -> None:
    data = golden(name)
    meta = data["meta"]
    assert image_size in meta["sizes"]
    size, num_classes = ViTSize(**released_sizes(meta["arch"])), meta["num_class"]
    if net == "TokShift":
        model = tokshift(size, image_size, num_classes, fold_div=meta["shift_div"])
    else:
        model = vit(size, image_size, num_classes)
    report = load_weights(model, golden_path(name.replace("c_loaded", "c_in21k")))

    # entries that are not stored for a net and size equal those of the first
    expected = tensors(data, f"ViT_{meta['sizes'][0]}.") | tensors(data, f"{net}_{image_size}.")
    ours = to_released(model.state_dict())
    assert list(ours) == list(expected) == meta["keys"]
    for key, theirs in expected.items():
        if key.endswith("position_embeddings") and report.resized:
            assert_near(ours[key], theirs, 1e-6, key)  # interpolated: float32 rounding
        else:
            assert torch.equal(ours[key], theirs), key  # weights only move
    grid = meta["grid"] * size.patch_size
    assert list(report.resized) == ([] if image_size == grid else ["pos_embed"])
    assert not model.head.weight.any()
    assert not model.head.bias.any()
    assert list(report.reinitialised) == ["head.weight", "head.bias"]

    head = {"weight": data["head_weight_used"], "bias": data["head_bias_used"]}
    model.head.load_state_dict({key: torch.from_numpy(array) for key, array in head.items()})
    clips = torch.from_numpy(data[f"{net}_{image_size}:input"]).float()
    assert_near(model(clips), data[f"{net}_{image_size}:logits"], LOGITS_ATOL, "logits")
