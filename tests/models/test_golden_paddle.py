"""PaddleVideo's transformers: what they compute, how they learn, what image weights become."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.pretrained import load_weights
from models.timesformer import TimeSformer
from models.tokshift import tokshift
from models.vit import VisionTransformer, ViTSize
from models.weights.paddle import read_pdparams, vit_from_paddle
from tests.conftest import golden_names, paddle_names

Golden = Callable[[str], dict[str, Any]]
Net = TimeSformer | VisionTransformer

NAMES = paddle_names("RecognizerTransformer", "io.npz")
ATTENTIONS = {
    "divided_space_time": "divided",
    "joint_space_time": "joint",
    "space_only": "space_only",
}
# Logits of order 2 between two frameworks' float32 kernels, measured 1.3e-6; features 3.6e-6.
LOGITS_ATOL = 1e-5
# Of the largest entry of a tensor's gradient; measured 3e-6.
GRADIENT_SHARE = 1e-5
# After steps of at most 0.1 times a gradient of norm 1; measured 1.2e-7.
STEP_ATOL = 1e-6


def model_of(backbone: dict[str, Any], num_classes: int) -> Net:
    C = backbone["embed_dim"]
    sizes: dict[str, Any] = {
        "patch_size": backbone["patch_size"],
        "hidden_size": C,
        "mlp_dim": C * backbone["mlp_ratio"],
        "num_heads": backbone["num_heads"],
        "num_layers": backbone["depth"],
        "qkv_bias": backbone["qkv_bias"],
    }
    if backbone["name"] == "TokenShiftVisionTransformer":
        return tokshift(ViTSize(**sizes), backbone["img_size"], num_classes, fold_div=4)
    return TimeSformer(
        image_size=backbone["img_size"],
        num_frames=backbone["num_seg"],
        num_classes=num_classes,
        attention=ATTENTIONS[backbone["attention_type"]],
        **sizes,
    )


@pytest.fixture
def loaded(
    golden_json: Callable[[str], Any], golden_path: Callable[[str], Path]
) -> Callable[[str], tuple[Net, dict[str, Any]]]:
    """Build a golden model with its weights; its config besides."""

    def load(name: str) -> tuple[Net, dict[str, Any]]:
        folder = f"paddlevideo/models/{name}"
        config = golden_json(f"{folder}/config.json")
        head = config["model"]["head"]
        model = model_of(config["model"]["backbone"], head["num_classes"])
        report = load_weights(
            model, golden_path(f"{folder}/weights.pdparams"), head_may_differ=False
        )
        assert report.loaded == list(model.state_dict())
        return model, config

    return load


def clips_of(x: Any) -> Tensor:
    return torch.from_numpy(x).transpose(1, 2)  # (B, 3, T, H, W) to (B, T, 3, H, W)


def renamed(arrays: dict[str, Any], prefix: str) -> dict[str, Tensor]:
    """The arrays below a prefix under our names, linear weights turned."""
    below = {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}
    return vit_from_paddle(below)


def assert_near(ours: Tensor, theirs: Any, atol: float, name: str) -> None:
    theirs = torch.as_tensor(theirs)
    assert ours.shape == theirs.shape, name
    difference = (ours.detach() - theirs).abs().max().item()
    assert difference <= atol, f"{name}: {difference} > {atol}"


def test_golden_models_are_here() -> None:
    if not golden_names("paddlevideo/models/*"):
        pytest.skip("nothing of PaddleVideo is in the part of the golden data that is here")
    assert NAMES


@pytest.mark.parametrize("name", NAMES)
def test_logits_and_features_equal_paddles(name: str, golden: Golden, loaded: Callable) -> None:
    data = golden(f"paddlevideo/models/{name}/io.npz")
    model, _ = loaded(name)
    clips = clips_of(data["x"])
    with torch.no_grad():
        for is_training in (False, True):  # nothing is dropped in either
            model.train(is_training)
            features = model.features(clips)
            features = features.flatten(0, 1) if features.dim() == 3 else features  # (B*T, C)
            assert_near(features, data["feature"], LOGITS_ATOL, "feature")
            assert_near(model(clips), data["logits"], LOGITS_ATOL, "logits")


@pytest.mark.parametrize("name", NAMES)
def test_views_average_to_paddles_scores(name: str, golden: Golden, loaded: Callable) -> None:
    data = golden(f"paddlevideo/models/{name}/io.npz")
    model, config = loaded(name)
    views = clips_of(data["x_views"])  # (B, V*T, 3, H, W)
    T = config["model"]["backbone"]["num_seg"]
    with torch.no_grad():
        logits = torch.stack([model.eval()(view) for view in views.split(T, dim=1)])  # (V, B, K)
    assert_near(logits.mean(0), data["test_score"], LOGITS_ATOL, "score")
    assert_near(logits.softmax(-1).mean(0), data["test_prob"], LOGITS_ATOL, "prob")


@pytest.mark.parametrize("name", NAMES)
def test_losses_equal_paddles(name: str, golden: Golden, loaded: Callable) -> None:
    data = golden(f"paddlevideo/models/{name}/io.npz")
    model, config = loaded(name)
    smoothing = config["model"]["head"]["ls_eps"]
    logits = model(clips_of(data["x"]))
    y, y_a, y_b = (torch.from_numpy(data[key])[:, 0] for key in ("y", "y_a", "y_b"))
    assert_near(F.cross_entropy(logits, y), data["valid_loss"], LOGITS_ATOL, "valid")
    loss = F.cross_entropy(logits, y, label_smoothing=smoothing)
    assert_near(loss, data["train_loss"], LOGITS_ATOL, "train")
    loss_a, loss_b = (F.cross_entropy(logits, y, label_smoothing=smoothing) for y in (y_a, y_b))
    share = float(data["lam"][0])
    mixed = share * loss_a + (1 - share) * loss_b
    assert_near(mixed, data["mix_loss"], LOGITS_ATOL, "mixed")


@pytest.mark.parametrize("name", NAMES)
def test_gradients_equal_paddles(name: str, golden: Golden, loaded: Callable) -> None:
    data = golden(f"paddlevideo/models/{name}/io.npz")
    model, config = loaded(name)
    loss_of(model.train(), config, data).backward()
    expected = renamed(data, "grad/")
    assert len(expected) == len(config["grad_keys"])
    own = dict(model.named_parameters())
    for key, theirs in expected.items():
        atol = GRADIENT_SHARE * theirs.abs().max().item()
        assert_near(own[key].grad, theirs, atol, f"gradient of {key}")


@pytest.mark.parametrize("name", NAMES)
def test_optimizer_steps_equal_paddles(name: str, golden: Golden, loaded: Callable) -> None:
    data = golden(f"paddlevideo/models/{name}/io.npz")
    steps = golden(f"paddlevideo/models/{name}/optim.npz")
    model, config = loaded(name)
    optimizer, most = optimizer_of(model.train(), config), config["optimizer"]["grad_clip"]["value"]
    for step, rate in enumerate(steps["lrs"].tolist()):
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.zero_grad()
        loss = loss_of(model, config, data)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(model.parameters(), most)
        optimizer.step()
        assert_near(loss, steps["losses"][step], LOGITS_ATOL, "loss")
        assert norm.item() == pytest.approx(float(steps["grad_norms"][step]), rel=1e-5)
        own = dict(model.named_parameters())
        for key, theirs in renamed(steps, f"step{step + 1}/").items():
            assert_near(own[key], theirs, STEP_ATOL, f"{key} after step {step + 1}")


def loss_of(model: nn.Module, config: dict[str, Any], data: dict[str, Any]) -> Tensor:
    labels = torch.from_numpy(data["y"])[:, 0]
    smoothing = config["model"]["head"]["ls_eps"]
    return F.cross_entropy(model(clips_of(data["x"])), labels, label_smoothing=smoothing)


def optimizer_of(model: nn.Module, config: dict[str, Any]) -> torch.optim.SGD:
    """SGD with PaddleVideo's decay: PP-TimeSformer spares the embeddings and the head's bias."""
    settings = config["optimizer"]
    decay = settings.get("weight_decay", {}).get("value", 0.0)
    is_pp = config["model"]["backbone"]["name"] == "VisionTransformer_tweaks"
    spared = ("cls_token", "pos_embed", "time_embed", "head.bias") if is_pp else ()
    groups: list[dict[str, Any]] = [
        {"params": [p for n, p in model.named_parameters() if n not in spared]},
        {"params": [p for n, p in model.named_parameters() if n in spared], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    rest = {"momentum": settings["momentum"], "nesterov": settings["use_nesterov"]}
    return torch.optim.SGD(groups, weight_decay=decay, **rest)


def backbone_of(state: dict[str, Tensor]) -> dict[str, Any]:
    """What a config would say of a transformer with such weights."""
    C, _, side, _ = state["patch_embed.proj.weight"].shape
    is_timesformer = "time_embed" in state
    return {
        "name": "VisionTransformer" if is_timesformer else "TokenShiftVisionTransformer",
        "embed_dim": C,
        "patch_size": side,
        "img_size": side * grid_side(state),
        "mlp_ratio": len(state["blocks.0.mlp.fc1.bias"]) // C,
        "num_heads": 1,  # no matter to what becomes of the weights
        "depth": len([key for key in state if key.endswith("mlp.fc1.bias")]),
        "num_seg": state["time_embed"].shape[1] if is_timesformer else 1,
        "qkv_bias": "blocks.0.attn.qkv.bias" in state,
        "attention_type": "divided_space_time" if is_timesformer else "space_only",
    }


def grid_side(state: dict[str, Tensor]) -> int:
    return math.isqrt(state["pos_embed"].shape[1] - 1)


@pytest.mark.parametrize("net", ["timesformer", "tokenshift"])
def test_image_weights_become_what_paddle_makes_of_them(
    net: str, golden: Golden, golden_path: Callable[[str], Path]
) -> None:
    expected = renamed(golden("paddlevideo/pretrain/converted.npz"), f"{net}/")
    path = golden_path("paddlevideo/pretrain/vit_src.pdparams")
    source = vit_from_paddle(read_pdparams(path))
    model = model_of(backbone_of(expected), num_classes=len(source["head.bias"]) + 1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(7.0)  # whatever the file does not give must still be set
    report = load_weights(model, path)
    own = model.state_dict()
    assert own.keys() - expected.keys() == {"head.weight", "head.bias"}
    for key, theirs in expected.items():
        atol = 1e-6 if key == "pos_embed" else 0  # interpolated; the others only move
        assert_near(own[key], theirs, atol, key)
    assert report.kind == "Paddle image ViT, .pdparams"
    before, after = grid_side(source), grid_side(expected)
    how = f"{before}x{before} to {after}x{after} patches, bilinear with aligned corners"
    assert report.resized == ({} if before == after else {"pos_embed": how})
    assert {*report.copied} == {key for key in own if ".temporal_" in key and "_fc" not in key}
    accounted = [*report.loaded, *report.resized, *report.copied, *report.reinitialised]
    assert sorted(accounted) == sorted(own)
