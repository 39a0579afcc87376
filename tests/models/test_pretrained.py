from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from yacs.config import CfgNode

from models import build_model
from models.pretrained import fit_weights, load_weights, read_weights
from models.tokshift import tokshift
from models.vit import VisionTransformer, ViTSize, vit
from models.weights.embeddings import resize_pos_embed
from models.weights.load_report import LoadReport
from models.weights.released_tokshift import to_released
from tests.conftest import RELEASED_CHECKPOINTS, golden_arrays, golden_names
from tests.models.conftest import randomized

SIZE = ViTSize(patch_size=8, hidden_size=12, mlp_dim=20, num_heads=3, num_layers=2)


def toy_model(
    image_size: int = 24, num_classes: int = 5, num_layers: int = 2, seed: int = 0
) -> VisionTransformer:
    size = ViTSize(**(vars(SIZE) | {"num_layers": num_layers}))
    return randomized(tokshift(size, image_size, num_classes, fold_div=4), seed)


def weights(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def assert_equal(ours: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert list(ours) == list(expected)
    assert all(torch.equal(ours[name], value) for name, value in expected.items())


def saved(content: Any, folder: Path, name: str = "model.pth") -> Path:
    torch.save(content, folder / name)
    return folder / name


def flax_arrays(model: VisionTransformer) -> dict[str, np.ndarray]:
    """Write the weights as an ImageNet-21k file holds them: kernels (in, out), HWIO."""
    state = {name: value.numpy() for name, value in weights(model).items()}
    C, heads = SIZE.hidden_size, SIZE.num_heads
    arrays = {
        "cls": state["cls_token"],
        "Transformer/posembed_input/pos_embedding": state["pos_embed"],
        "embedding/kernel": np.transpose(state["patch_embed.proj.weight"], (2, 3, 1, 0)),
        "embedding/bias": state["patch_embed.proj.bias"],
        "Transformer/encoder_norm/scale": state["norm.weight"],
        "Transformer/encoder_norm/bias": state["norm.bias"],
        "head/kernel": np.ones((C, 30), np.float32),
        "head/bias": np.ones(30, np.float32),
        "pre_logits/kernel": np.ones((C, C), np.float32),
        "pre_logits/bias": np.ones(C, np.float32),
    }
    for layer in range(len(model.blocks)):
        block, flax = f"blocks.{layer}.", f"Transformer/encoderblock_{layer}/"
        for ours, theirs in (("norm1", "LayerNorm_0"), ("norm2", "LayerNorm_2")):
            arrays[f"{flax}{theirs}/scale"] = state[f"{block}{ours}.weight"]
            arrays[f"{flax}{theirs}/bias"] = state[f"{block}{ours}.bias"]
        for ours, theirs in (("fc1", "Dense_0"), ("fc2", "Dense_1")):
            arrays[f"{flax}MlpBlock_3/{theirs}/kernel"] = state[f"{block}mlp.{ours}.weight"].T
            arrays[f"{flax}MlpBlock_3/{theirs}/bias"] = state[f"{block}mlp.{ours}.bias"]
        attention = f"{flax}MultiHeadDotProductAttention_1/"
        kernels = np.split(state[f"{block}attn.qkv.weight"], 3)
        biases = np.split(state[f"{block}attn.qkv.bias"], 3)
        for part, kernel, bias in zip(("query", "key", "value"), kernels, biases, strict=True):
            arrays[f"{attention}{part}/kernel"] = kernel.T.reshape(C, heads, C // heads)
            arrays[f"{attention}{part}/bias"] = bias.reshape(heads, C // heads)
        out = state[f"{block}attn.proj.weight"].T.reshape(heads, C // heads, C)
        arrays[f"{attention}out/kernel"] = out
        arrays[f"{attention}out/bias"] = state[f"{block}attn.proj.bias"]
    return arrays


def saved_npz(arrays: dict[str, np.ndarray], folder: Path) -> Path:
    np.savez(folder / "ViT.npz", **arrays)
    return folder / "ViT.npz"


@pytest.mark.parametrize("separator", ["/", "\\"], ids=["as-published", "saved-on-windows"])
def test_imagenet_npz_gives_every_weight_but_the_head(separator: str, tmp_path: Path) -> None:
    source, model = toy_model(seed=1), toy_model(seed=2)
    arrays = {name.replace("/", separator): a for name, a in flax_arrays(source).items()}
    report = load_weights(model, saved_npz(arrays, tmp_path))
    expected = weights(source)
    expected["head.weight"].zero_()
    expected["head.bias"].zero_()
    assert_equal(weights(model), expected)
    assert report.kind == "ImageNet-21k .npz"
    assert report.loaded == [name for name in expected if not name.startswith("head.")]
    assert report.reinitialised == {
        "head.weight": "zeros, not in the file",
        "head.bias": "zeros, not in the file",
    }
    assert report.resized == {}
    names = {f"{part}/{what}" for part in ("head", "pre_logits") for what in ("kernel", "bias")}
    assert set(report.ignored) == names


def wrapped(kind: str, state: dict[str, Tensor]) -> Any:
    if kind == "released":
        return {"epoch": 18, "best_acc1": 77.3, "state_dict": to_released(state)}
    if kind == "released, by DDP":
        released = {f"module.{name}": value for name, value in to_released(state).items()}
        return {"epoch": 18, "state_dict": released, "optimizer": {}}
    if kind == "released, weights alone":
        return to_released(state)
    if kind == "ours":
        return {"epoch": 3, "state_dict": state, "optimizer": {}, "config": "", "rng": []}
    if kind == "ours, by DDP":
        return {"state_dict": {f"module.{name}": value for name, value in state.items()}}
    if kind == "ours, compiled":
        return {"state_dict": {f"_orig_mod.{name}": value for name, value in state.items()}}
    assert kind == "ours, weights alone"
    return state


KINDS = {
    "released": "released TokShift checkpoint, its state_dict",
    "released, by DDP": "released TokShift checkpoint, its state_dict",
    "released, weights alone": "released TokShift state dict",
    "ours": "checkpoint, its state_dict",
    "ours, by DDP": "checkpoint, its state_dict",
    "ours, compiled": "checkpoint, its state_dict",
    "ours, weights alone": "state dict",
}


@pytest.mark.parametrize("kind", KINDS)
def test_torch_file_gives_every_weight(kind: str, tmp_path: Path) -> None:
    source, model = toy_model(seed=1), toy_model(seed=2)
    path = saved(wrapped(kind, weights(source)), tmp_path)
    report = load_weights(model, path, head_may_differ=False)
    assert_equal(weights(model), weights(source))
    assert report.kind == KINDS[kind]
    assert report.source == str(path)
    assert report.loaded == list(weights(source))
    assert not report.resized
    assert not report.reinitialised
    assert not report.ignored


def test_image_vit_and_tokshift_load_each_others_weights(tmp_path: Path) -> None:
    image = randomized(vit(SIZE, 24, 5), seed=3)
    video = toy_model()
    load_weights(video, saved(weights(image), tmp_path))
    assert_equal(weights(video), weights(image))


def test_averaged_weights_are_preferred(tmp_path: Path) -> None:
    trained, averaged, model = (toy_model(seed=seed) for seed in (1, 2, 3))
    content = {"state_dict": weights(trained), "ema": weights(averaged), "ema_steps": 3}
    report = load_weights(model, saved(content, tmp_path))
    assert_equal(weights(model), weights(averaged))
    assert report.kind == "checkpoint, its ema"


def test_weights_of_half_precision_become_those_of_the_model(tmp_path: Path) -> None:
    source, model = toy_model(seed=1), toy_model(seed=2)
    half = {name: value.half() for name, value in weights(source).items()}
    load_weights(model, saved(half, tmp_path))
    assert_equal(weights(model), {name: value.float() for name, value in half.items()})


@pytest.mark.parametrize("name", RELEASED_CHECKPOINTS)
def test_released_checkpoint_loads_whole_on_a_machine_without_gpu(
    name: str, golden_path: Callable[[str], Path], released_cfg: Callable[..., CfgNode]
) -> None:
    path, model = golden_path(name), build_model(released_cfg())
    report = load_weights(model, path, head_may_differ=False)
    assert report.loaded == list(model.state_dict())
    stored = torch.load(path, map_location="cpu", weights_only=True)["state_dict"]
    ours = {f"module.{name}": value for name, value in to_released(model.state_dict()).items()}
    assert_equal(ours, dict(stored))


def test_head_for_other_classes_is_zeroed_and_reported(tmp_path: Path) -> None:
    source, model = toy_model(num_classes=7, seed=1), toy_model(num_classes=5)
    report = load_weights(model, saved(weights(source), tmp_path))
    assert not model.head.weight.any()
    assert not model.head.bias.any()
    assert report.reinitialised == {
        "head.weight": "zeros, (7, 12) in the file, (5, 12) in the model",
        "head.bias": "zeros, (7,) in the file, (5,) in the model",
    }
    backbone = {name: value for name, value in weights(model).items() if "head" not in name}
    assert_equal(backbone, {name: weights(source)[name] for name in backbone})


@pytest.mark.parametrize("num_classes", [7, None])
def test_head_that_does_not_fit_is_an_error_for_a_test(
    num_classes: int | None, tmp_path: Path
) -> None:
    state = weights(toy_model(num_classes=num_classes or 5, seed=1))
    if num_classes is None:
        del state["head.weight"], state["head.bias"]
        expected = "head.bias: not in the file\n  head.weight: not in the file"
    else:
        expected = "head.weight: (7, 12) in the file, (5, 12) in the model"
    with pytest.raises(ValueError, match="do not fit the model") as caught:
        load_weights(toy_model(), saved(state, tmp_path), head_may_differ=False)
    assert expected in str(caught.value)


def test_every_backbone_tensor_that_does_not_fit_is_named_and_nothing_is_loaded(
    tmp_path: Path,
) -> None:
    state, model = weights(toy_model(seed=1)), toy_model(seed=2)
    before = weights(model)
    state["blocks.1.extra.weight"] = torch.zeros(3, 4)
    del state["blocks.0.norm1.bias"]
    state["norm.weight"] = torch.zeros(13)
    path = saved(state, tmp_path)
    with pytest.raises(ValueError, match="do not fit the model") as caught:
        load_weights(model, path)
    assert str(caught.value) == (
        f"the weights of {path} (state dict) do not fit the model:\n"
        "  blocks.0.norm1.bias: not in the file\n"
        "  left over: blocks.1.extra.weight (3, 4)\n"
        "  norm.weight: (13,) in the file, (12,) in the model"
    )
    assert_equal(weights(model), before)


@pytest.mark.parametrize(
    ("num_layers", "text"),
    [(1, "blocks.1.attn.qkv.weight: not in the file"), (3, "left over: blocks.2.mlp.fc1.bias")],
)
@pytest.mark.parametrize("kind", ["npz", "released", "ours"])
def test_file_of_another_depth_is_an_error(
    kind: str, num_layers: int, text: str, tmp_path: Path
) -> None:
    source = toy_model(num_layers=num_layers)
    if kind == "npz":
        path = saved_npz(flax_arrays(source), tmp_path)
    else:
        path = saved(wrapped(kind, weights(source)), tmp_path)
    with pytest.raises(ValueError, match="do not fit the model") as caught:
        load_weights(toy_model(), path)
    assert text in str(caught.value)


def test_released_tensor_without_a_place_or_without_its_siblings_is_named(tmp_path: Path) -> None:
    released = to_released(weights(toy_model()))
    released["base_model.extra.weight"] = torch.zeros(2)
    layer = "base_model.transformer.encoder.layer.1.attn."
    del released[f"{layer}key.bias"]
    with pytest.raises(ValueError, match="do not fit the model") as caught:
        load_weights(toy_model(), saved(released, tmp_path))
    text = str(caught.value)
    assert "left over: extra.weight (2,)" in text
    assert "blocks.1.attn.qkv.bias: not in the file" in text
    assert "left over: transformer.encoder.layer.1.attn.query.bias (12,)" in text


def test_npz_tensor_that_is_missing_or_has_no_place_is_named(tmp_path: Path) -> None:
    arrays = flax_arrays(toy_model())
    arrays["Transformer/extra"] = np.zeros(3, np.float32)
    with pytest.raises(ValueError, match=r"left over: Transformer/extra \(3,\)"):
        load_weights(toy_model(), saved_npz(arrays, tmp_path))
    missing = "Transformer/encoderblock_1/MultiHeadDotProductAttention_1/key/bias"
    for name in (missing, "cls", "Transformer/posembed_input/pos_embedding"):
        fewer = {key: array for key, array in flax_arrays(toy_model()).items() if key != name}
        with pytest.raises(ValueError, match=rf"ViT\.npz is not an ImageNet-21k ViT.*{name}"):
            load_weights(toy_model(), saved_npz(fewer, tmp_path))


def test_file_for_another_image_size_is_resized_and_reported(tmp_path: Path) -> None:
    for old, new, how in ((24, 32, "3x3 to 4x4"), (32, 24, "4x4 to 3x3")):
        source, model = toy_model(old, seed=1), toy_model(new)
        report = load_weights(model, saved(weights(source), tmp_path), head_may_differ=False)
        expected = resize_pos_embed(source.pos_embed.detach(), model.pos_embed.shape[1])
        assert torch.equal(model.pos_embed, expected)
        how = f"{how} patches, bilinear with aligned corners"
        assert report.resized == {"pos_embed": how}
        assert "pos_embed" not in report.loaded


def test_file_with_a_grid_that_is_not_square_is_an_error(tmp_path: Path) -> None:
    state = weights(toy_model())
    state["pos_embed"] = torch.zeros(1, 1 + 6, 12)
    with pytest.raises(ValueError, match="of 6 patches is not a square grid"):
        load_weights(toy_model(), saved(state, tmp_path))


def test_position_embedding_of_another_width_is_an_error(tmp_path: Path) -> None:
    state = weights(toy_model())
    state["pos_embed"] = torch.zeros(1, 17, 8)
    with pytest.raises(ValueError, match=r"pos_embed: \(1, 17, 8\) in the file, \(1, 10, 12\)"):
        load_weights(toy_model(), saved(state, tmp_path))


def test_report_shows_a_line_for_each_kind_of_outcome(tmp_path: Path) -> None:
    path = saved_npz(flax_arrays(toy_model(image_size=32)), tmp_path)
    report = load_weights(toy_model(), path)
    first, resized, *reinitialised, ignored = str(report).splitlines()
    assert first == f"weights from {path} (ImageNet-21k .npz): {len(report.loaded)} tensors loaded"
    assert resized == ("  resized: pos_embed: 4x4 to 3x3 patches, bilinear with aligned corners")
    assert reinitialised == [
        "  re-initialised: head.weight: zeros, not in the file",
        "  re-initialised: head.bias: zeros, not in the file",
    ]
    assert ignored == "  ignored: head/kernel, head/bias, pre_logits/kernel, pre_logits/bias"


def test_report_accounts_for_every_tensor_of_the_model() -> None:
    model = toy_model()
    report = fit_weights(model, weights(toy_model(32, 7, seed=1)), LoadReport("memory", "test"))
    accounted = [*report.loaded, *report.resized, *report.reinitialised]
    assert sorted(accounted) == sorted(model.state_dict())


@pytest.mark.parametrize(
    "content",
    [{"conv1.weight": torch.zeros(1), "fc.bias": torch.zeros(1)}, {}, {"state_dict": {}}],
)
def test_torch_file_of_another_model_is_an_error_that_shows_what_it_holds(
    content: dict[str, Any], tmp_path: Path
) -> None:
    path = saved(content, tmp_path)
    with pytest.raises(ValueError, match="holds no weights that this model knows") as caught:
        load_weights(toy_model(), path)
    assert str(path) in str(caught.value)
    assert ("conv1.weight, fc.bias" if "fc.bias" in content else "nothing") in str(caught.value)


def test_missing_file_is_an_error_that_names_it(tmp_path: Path) -> None:
    for name in ("absent.npz", "absent.pth"):
        with pytest.raises(ValueError, match=name):
            load_weights(toy_model(), tmp_path / name)


def test_text_file_is_an_error_that_names_it(tmp_path: Path) -> None:
    for name in ("model.npz", "model.pth", "model.pdparams"):
        (tmp_path / name).write_text("<html>404: not found</html>")
        with pytest.raises(ValueError, match=f"{name} is not a readable"):
            load_weights(toy_model(), tmp_path / name)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_npz_that_is_cut_short_is_an_error_that_names_it(share: float, tmp_path: Path) -> None:
    path = saved_npz(flax_arrays(toy_model()), tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(ValueError, match=r"ViT\.npz is not a readable \.npz file"):
        load_weights(toy_model(), path)


def test_single_array_under_the_name_of_an_npz_is_an_error_that_names_it(tmp_path: Path) -> None:
    with (tmp_path / "ViT.npz").open("wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(ValueError, match=r"ViT\.npz is not a readable \.npz file"):
        read_weights(tmp_path / "ViT.npz")


def test_npz_of_another_model_is_an_error(tmp_path: Path) -> None:
    path = saved_npz({"conv/kernel": np.zeros((2, 2), np.float32)}, tmp_path)
    with pytest.raises(ValueError, match=r"ViT\.npz is not an ImageNet-21k ViT: it has no 'cls'"):
        load_weights(toy_model(), path)


def test_npz_with_objects_in_it_is_refused(tmp_path: Path) -> None:
    path = saved_npz({"cls": np.array([{"a": 1}], dtype=object)}, tmp_path)
    with pytest.raises(ValueError, match=r"ViT\.npz is not a readable \.npz file"):
        load_weights(toy_model(), path)


@pytest.mark.parametrize("name", golden_names("tokshift/c_in21k_*.npz"))
def test_golden_fixture_and_flax_layout_of_these_tests_agree(
    name: str, golden: Callable[[str], dict[str, Any]]
) -> None:
    num_layers = len(golden_arrays(name, r"(Transformer/encoderblock_\d+)/LayerNorm_0/bias"))
    assert set(flax_arrays(toy_model(num_layers=num_layers))) == set(golden(name))


@pytest.mark.parametrize(
    "prefix",
    [
        *("module.", "module.module.", "_orig_mod.module.", "module._orig_mod.", "backbone."),
        *("model._orig_mod.", "model.", "net.", "model.backbone.", "module.model.module.model."),
    ],
)
@pytest.mark.parametrize("wrapper", ["", "state_dict", "model_state_dict", "net"])
def test_weights_are_found_whatever_wrapped_the_model(
    prefix: str, wrapper: str, tmp_path: Path
) -> None:
    source, model = toy_model(seed=1), toy_model(seed=2)
    state = {f"{prefix}{name}": value for name, value in weights(source).items()}
    path = saved({wrapper: state, "epoch": 3} if wrapper else state, tmp_path)
    report = load_weights(model, path, head_may_differ=False)
    assert report.loaded == list(weights(source))
    assert not report.notes
    assert all(torch.equal(a, weights(source)[n]) for n, a in weights(model).items())


def test_two_sets_of_weights_under_one_name_are_an_error(tmp_path: Path) -> None:
    state = weights(toy_model())
    both = {f"model.{name}": value for name, value in state.items()} | state
    with pytest.raises(ValueError, match=r"two sets of weights in one: model\..* and "):
        load_weights(toy_model(), saved(both, tmp_path))


@pytest.mark.parametrize("other", ["state_dict_ema", "model_ema", "teacher"])
def test_other_weights_beside_those_that_are_taken_are_said(other: str, tmp_path: Path) -> None:
    state = weights(toy_model())
    average = {f"module.{name}": 0 * value for name, value in state.items()}
    content = {other: average, "state_dict": state, "optimizer": {"state": {0: torch.zeros(1)}}}
    report = load_weights(toy_model(), saved(content, tmp_path))
    assert report.notes == [f"the file holds other weights, too: {other}; not used"]


@pytest.mark.parametrize("dtype", [torch.int8, torch.int64, torch.bool])
def test_whole_numbers_are_no_weights(dtype: torch.dtype, tmp_path: Path) -> None:
    state = {name: (10 * value).to(dtype) for name, value in weights(toy_model()).items()}
    kind = str(dtype).removeprefix("torch.")
    with pytest.raises(
        ValueError, match=rf"whole numbers for weights: \w+ \({kind}\), .* more ten"
    ):
        load_weights(toy_model(), saved({"state_dict": state}, tmp_path))
