"""ResNet weights of every origin load with a full account, and what does not fit is named."""

import importlib.util
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from torch import Tensor

from models.pretrained import load_weights
from models.resnet_tsm import ResNetTSM, TSMOptions
from models.weights.checkpoint_file import read_checkpoint
from models.weights.paddle import tsm_from_paddle
from tests.conftest import golden_content, paddle_names
from tests.models.conftest import tsm_of, tsm_of_shapes

CASES: dict[str, Any] = golden_content("tsm/models/index.json")
PADDLE_SMALL = paddle_names("Recognizer2D", "weights.pdparams")


def build(
    depth: int = 18, num_classes: int = 6, fold_div: int = 8, placement: str = "blockres", **options
) -> ResNetTSM:
    return ResNetTSM(depth, num_classes, fold_div, placement, TSMOptions(**options)).eval()


def tiny(fold_div: int = 8) -> ResNetTSM:
    """ResNet-50's blocks, two in each stage, and its widths over 8."""
    return build(50, fold_div=fold_div, layers=(2, 2, 2, 2), width=8)


def saved(path: Path, content: object) -> Path:
    torch.save(content, path)
    return path


def weights(num_classes: int = 6) -> dict[str, Tensor]:
    """A torchvision ResNet-18's state dict with random norms."""
    state = torchvision.models.resnet18(num_classes=num_classes).state_dict()
    return {
        name: value if value.dtype == torch.long else torch.rand_like(value) + 0.1
        for name, value in state.items()
    }


def released(state: dict[str, Tensor], placement: str, head: str = "new_fc") -> dict[str, Tensor]:
    names = {}
    for name in state:
        ours = name.replace("fc.", f"{head}.")
        if name.startswith("layer") and placement == "blockres":
            ours = ours.replace(".conv1.", ".conv1.net.")
        elif name.startswith("layer") and placement == "block":
            stage, index, rest = ours.split(".", 2)
            ours = f"{stage}.{index}.net.{rest}"
        prefix = "" if ours.startswith("new_fc") else "base_model."
        names[name] = f"module.{prefix}{ours}"
    return {names[name]: value for name, value in state.items()}


def test_torchvision_weights_load_but_for_the_head(tmp_path: Path) -> None:
    state = weights(num_classes=1000)
    # the files of torchvision's first weights lack the counters
    state = {name: v for name, v in state.items() if not name.endswith("num_batches_tracked")}
    model = build()
    head = model.fc.weight.clone()
    report = load_weights(model, saved(tmp_path / "resnet18.pth", state))
    own = model.state_dict()
    assert all(torch.equal(own[name], state[name]) for name in report.loaded)
    assert len(report.loaded) == len(state) - 2
    assert set(report.reinitialised) == {"fc.weight", "fc.bias"}
    assert torch.equal(model.fc.weight, head)
    assert "as drawn, (1000, 512) in the file, (6, 512) in the model" in str(report)


@pytest.mark.parametrize("head", ["new_fc", "base_model.fc"])
@pytest.mark.parametrize("placement", ["blockres", "block", "none"])
@pytest.mark.parametrize("fold_div", [8, 0])
def test_released_checkpoints_load_with_and_without_shift(
    placement: str, head: str, fold_div: int, tmp_path: Path
) -> None:
    state = weights()
    content = {"epoch": 3, "state_dict": released(state, placement, head.split(".")[-1])}
    model = build(fold_div=fold_div)
    report = load_weights(model, saved(tmp_path / "ckpt.pth.tar", content), head_may_differ=False)
    assert len(report.loaded) == len(state)
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    how = "no shift" if placement == "none" else f"shift placed {placement}"
    assert how in report.kind


def test_a_checkpoint_without_shift_loads_into_a_model_with_and_back(tmp_path: Path) -> None:
    plain, shifted = tiny(fold_div=0), tiny()
    load_weights(shifted, saved(tmp_path / "tsn.pth", plain.state_dict()), head_may_differ=False)
    clips = torch.randn(1, 4, 3, 32, 32)
    with torch.no_grad():
        still = clips[:, :1].expand(-1, 4, -1, -1, -1)
        assert not torch.equal(shifted(still), plain(still))
        load_weights(plain, saved(tmp_path / "tsm.pth", shifted.state_dict()))
    assert all(
        torch.equal(a, b) for a, b in zip(plain.parameters(), shifted.parameters(), strict=True)
    )


def test_release_checkpoint_of_the_step_schedule(
    golden_path: Callable, golden_json: Callable
) -> None:
    path, keys = golden_path("tsm/e2e/ckpt.pth.tar"), golden_json("tsm/e2e/ckpt_keys.json")
    model = tsm_of_shapes(keys).eval()
    report = load_weights(model, path, head_may_differ=False)
    assert len(report.loaded) == len(keys) == len(model.state_dict())
    content = read_checkpoint(path)
    assert content["epoch"] == golden_json("tsm/e2e/notes.json")["ckpt_meta"]["epoch"]
    [first] = [key for key in keys if "layer1.0." in key and "conv1" in key]
    assert torch.equal(model.layer1[0].conv1.weight, content["state_dict"][first])


def test_numpy_scalars_load_without_running_code(tmp_path: Path) -> None:
    groups = [{"lr": np.float64(0.02), "params": [0]}]
    path = saved(tmp_path / "ckpt.pth.tar", {"optimizer": {"param_groups": groups}})
    assert read_checkpoint(path)["optimizer"]["param_groups"][0]["lr"] == 0.02
    with pytest.raises(ValueError, match="not a readable checkpoint"):
        read_checkpoint(saved(tmp_path / "code.pth", {"path": tmp_path}))


@pytest.mark.parametrize("name", [name for name in CASES if CASES[name]["cfg"].get("nl")])
def test_non_local_checkpoint_loads_under_our_names(
    name: str, golden_json: Callable, fill: Callable, tmp_path: Path
) -> None:
    facts = golden_json("tsm/models/index.json")[name]
    state = fill(golden_json(f"tsm/models/{name}.keys.json"))
    path = saved(tmp_path / "nl.pth", {"state_dict": state})
    model = tsm_of(facts["cfg"])
    report = load_weights(model, path, head_may_differ=False)
    assert len(report.loaded) == facts["n_keys"]
    blocks = [key.removesuffix(".nl.W.0.weight") for key in state if key.endswith(".nl.W.0.weight")]
    assert blocks
    for block in blocks:
        out = model.get_submodule(block.removeprefix("base_model.")).non_local.out
        assert torch.equal(out.weight, state[f"{block}.nl.W.0.weight"])
    first = blocks[0].removeprefix("base_model.").replace(".", r"\.")
    with pytest.raises(ValueError, match=rf"left over: {first}\.non_local\.g\.weight"):
        load_weights(tsm_of(facts["cfg"] | {"nl": False}), path)


def test_new_temporal_modules_are_reported_and_needed_for_a_test(tmp_path: Path) -> None:
    path = saved(tmp_path / "resnet18.pth", weights())
    model = build(op="depthwise_conv", non_local=True)
    report = load_weights(model, path)
    assert {name.split(".")[2] for name in report.reinitialised} == {"temporal", "non_local"}
    with pytest.raises(ValueError, match=r"layer1\.0\.temporal\.conv\.weight: not in the file"):
        load_weights(model, path, head_may_differ=False)


def test_image_stem_becomes_a_flow_stem(tmp_path: Path) -> None:
    state = weights()
    model = build(modality="Flow")
    report = load_weights(model, saved(tmp_path / "resnet18.pth", state))
    mean = state["conv1.weight"].mean(1)
    assert all(torch.equal(model.conv1.weight[:, c], mean) for c in range(10))
    assert "mean over RGB" in report.resized["conv1.weight"]


def test_head_can_be_left_out_where_it_fits(tmp_path: Path) -> None:
    model = build()
    head = model.fc.weight.clone()
    report = load_weights(model, saved(tmp_path / "r.pth", weights()), drops_head=True)
    assert torch.equal(model.fc.weight, head)
    assert report.ignored == ["fc.weight", "fc.bias"]


@pytest.mark.parametrize(
    ("name", "network"),
    [
        ("module.base_model.features.0.0.weight", "a MobileNetV2"),
        ("features.0.0.weight", "a MobileNetV2"),
        ("module.base_model.conv1_7x7_s2.weight", "a BNInception"),
    ],
)
def test_other_networks_of_the_release_are_named(name: str, network: str, tmp_path: Path) -> None:
    path = saved(tmp_path / "ckpt.pth.tar", {"state_dict": {name: torch.zeros(1)}})
    with pytest.raises(ValueError, match=f"holds {network}; of the TSM release only ResNets"):
        load_weights(build(), path)


def test_another_depth_is_named(tmp_path: Path) -> None:
    state = {f"base_model.{k}": v for k, v in torchvision.models.resnet101().state_dict().items()}
    path = saved(tmp_path / "TSM_R101.pth", {"state_dict": state})
    with pytest.raises(ValueError, match=r"holds ResNet-101 .*; the model is ResNet-50 "):
        load_weights(build(50), path)
    with pytest.raises(ValueError, match=r"the model is ResNet-18 .* two convolutions"):
        load_weights(build(18), path)


# --- PaddleVideo ---------------------------------------------------------------------------------


def paddle_tsm(config: dict[str, Any], order: str) -> ResNetTSM:
    """Build the model of a golden config; without width and layers it is a whole ResNet."""
    backbone, head = config["model"]["backbone"], config["model"]["head"]
    T = backbone["num_seg"]
    options = TSMOptions(
        order=order,
        ratio=1 / T,
        dropout=0.0,
        layers=backbone.get("layers", (0, 0, 0, 0)),
        width=backbone.get("width", 64),
    )
    if order == "future_first" and options.width % T:
        pytest.skip(f"groups of 1/{T} of the channels have unequal sizes and cannot be swapped")
    return ResNetTSM(backbone.get("depth", 50), head["num_classes"], options=options).eval()


def paddle_name(name: str) -> str:
    return next(iter(tsm_from_paddle({name: np.zeros((1, 1))})))


@pytest.mark.parametrize("order", ["past_first", "future_first"])
@pytest.mark.parametrize("name", PADDLE_SMALL)
def test_paddle_weights_compute_paddles_logits(
    name: str, order: str, golden: Callable, golden_json: Callable, golden_path: Callable
) -> None:
    folder = f"paddlevideo/models/{name}"
    arrays = golden(f"{folder}/io.npz")
    model = paddle_tsm(golden_json(f"{folder}/config.json"), order)
    path = golden_path(f"{folder}/weights.pdparams")
    report = load_weights(model, path, head_may_differ=False)
    with torch.no_grad():
        logits = model(torch.from_numpy(arrays["x"])).numpy()
    scale = np.abs(arrays["logits"]).max()  # logits of 5 to 35: relative to the largest (README)
    np.testing.assert_allclose(logits, arrays["logits"], rtol=0, atol=1e-5 * scale)
    assert ("groups swapped" in str(report)) == (order == "future_first")
    assert "PaddleVideo shifts 1/T of the channels" in str(report)


@pytest.mark.parametrize("name", PADDLE_SMALL)
def test_paddle_gradients(
    name: str, golden: Callable, golden_json: Callable, golden_path: Callable
) -> None:
    folder = f"paddlevideo/models/{name}"
    arrays, config = golden(f"{folder}/io.npz"), golden_json(f"{folder}/config.json")
    model = paddle_tsm(config, "past_first")
    load_weights(model, golden_path(f"{folder}/weights.pdparams"))
    loss = torch.nn.functional.cross_entropy(
        model.train()(torch.from_numpy(arrays["x"])), torch.from_numpy(arrays["y"])[:, 0]
    )
    loss.backward()
    assert loss.item() == pytest.approx(float(arrays["train_loss"]), rel=1e-4)
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    keys = [key.removeprefix("grad/") for key in arrays if key.startswith("grad/")]
    assert sorted(keys) == sorted(config["grad_keys"])
    for key in keys:
        ours, theirs = gradients[paddle_name(key)].numpy(), arrays[f"grad/{key}"]
        theirs = theirs.T if theirs.ndim == 2 else theirs
        # through batch statistics of tiny maps: up to 1e-3 between frameworks (spec, section 0)
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=3e-3 * np.abs(theirs).max())


@pytest.mark.parametrize("order", ["past_first", "future_first"])
@pytest.mark.parametrize("name", paddle_names("Recognizer2D", "state_dict_layout.json"))
def test_paddle_resnet50(
    name: str,
    order: str,
    golden: Callable,
    golden_json: Callable,
    golden_path: Callable,
    tmp_path: Path,
) -> None:
    folder = f"paddlevideo/models/{name}"
    arrays, config = golden(f"{folder}/io.npz"), golden_json(f"{folder}/config.json")
    layout = golden_json(f"{folder}/state_dict_layout.json")
    script = golden_path("paddlevideo/formula_weights.py")
    spec = importlib.util.spec_from_file_location("formula_weights", script)
    formula = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(formula)
    seed = config["seed"]
    state = {key: formula.tsm_formula(key, shape, seed) for key, (shape, _) in layout.items()}
    state["StructuredToParameterName@@"] = {key: name for key, (_, name) in layout.items()}
    path = tmp_path / "TSM_k400.pdparams"
    path.write_bytes(pickle.dumps(state, protocol=4))
    model = paddle_tsm(config, order)
    report = load_weights(model, path, head_may_differ=False)
    assert len(report.loaded) == len(layout)
    with torch.no_grad():
        logits = model(torch.from_numpy(arrays["x"])).numpy()
    scale = np.abs(arrays["logits"]).max()
    np.testing.assert_allclose(logits, arrays["logits"], rtol=0, atol=1e-5 * scale)


@pytest.mark.parametrize("name", PADDLE_SMALL)
def test_paddle_image_weights_load_but_for_the_head(
    name: str, golden_json: Callable, golden_path: Callable, tmp_path: Path
) -> None:
    folder = f"paddlevideo/models/{name}"
    state = pickle.loads(golden_path(f"{folder}/weights.pdparams").read_bytes())
    image = {
        name.removeprefix("backbone."): array
        for name, array in state.items()
        if name.startswith("backbone.")
    }
    path = tmp_path / "ResNet50_pretrain.pdparams"
    path.write_bytes(pickle.dumps(image, protocol=2))
    model = paddle_tsm(golden_json(f"{folder}/config.json"), "past_first")
    report = load_weights(model, path)
    assert set(report.reinitialised) == {"fc.weight", "fc.bias"}
    np.testing.assert_array_equal(model.conv1.weight.detach().numpy(), image["conv._conv.weight"])


class _Harmful:
    def __reduce__(self) -> tuple:
        return (exec, ("raise SystemExit('code ran')",))


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ({"a": _Harmful()}, r"asks for builtins\.exec"),
        ({"a": np.array([_Harmful()], dtype=object)}, "array of the type 'O8', not of"),
        ({"a": np.array(["text"])}, "array of the type 'U4', not of numbers"),
        ({"a": 3}, "no array of numbers but int"),
        ([1], "holds a list"),
    ],
)
def test_pdparams_with_anything_but_numbers_is_refused(
    content: object, text: str, tmp_path: Path
) -> None:
    path = tmp_path / "weights.pdparams"
    path.write_bytes(pickle.dumps(content, protocol=4))
    with pytest.raises(ValueError, match=text):
        load_weights(build(), path)


def test_cut_and_missing_pdparams_are_errors(tmp_path: Path) -> None:
    path = tmp_path / "weights.pdparams"
    path.write_bytes(pickle.dumps({"a": np.zeros(9)}, protocol=4)[:-20])
    with pytest.raises(ValueError, match=r"not a readable \.pdparams"):
        load_weights(build(), path)
    with pytest.raises(ValueError, match="not a file"):
        load_weights(build(), tmp_path / "none.pdparams")


def test_groups_of_unequal_size_cannot_be_swapped(tmp_path: Path) -> None:
    path = tmp_path / "weights.pdparams"
    path.write_bytes(pickle.dumps({"conv._conv.weight": np.zeros((64, 3, 7, 7))}, protocol=4))
    with pytest.raises(ValueError, match=r"set MODEL\.TSM\.ORDER past_first"):
        load_weights(build(50, ratio=1 / 12), path)
