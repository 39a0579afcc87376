"""The models of TokShift's second version, whose names are ours behind ``base_model.``."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from config import load_cfg
from models import build_model
from models.pretrained import load_weights
from models.tokshift import tokshift
from models.vit import VisionTransformer, ViTSize, vit
from models.weights.embeddings import resize_pos_embed
from tests.conftest import golden_names

MODELS = golden_names("laps/m_*.npz")
LOGITS_ATOL = 1e-5
GRADIENT_SHARE = 2e-5  # of a tensor's largest entry

Golden = Callable[[str], dict[str, Any]]


def model_of(meta: dict[str, Any]) -> VisionTransformer:
    timm = meta["timm"]
    C = timm["embed_dim"]
    mlp_dim = int(C * timm["mlp_ratio"])
    size = ViTSize(timm["patch_size"], C, mlp_dim, timm["num_heads"], timm["depth"], dropout=0.0)
    sizes = (size, timm["img_size"], meta["num_class"])
    return tokshift(*sizes, meta["fold_div"]) if meta["net"] == "TokShift" else vit(*sizes)


def tensors(data: dict[str, Any], prefix: str) -> dict[str, Tensor]:
    return {
        name.removeprefix(prefix): torch.from_numpy(array)
        for name, array in data.items()
        if name.startswith(prefix)
    }


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("prefix", ["", "module."])
def test_checkpoint_loads_and_computes_the_releases_logits(
    name: str, prefix: str, golden: Golden, tmp_path: Path
) -> None:
    data = golden(name)
    state = {prefix + key: value for key, value in tensors(data, "sd.").items()}
    path = tmp_path / "ckpt_e1.pth"
    torch.save({"epoch": 2, "state_dict": state, "best_acc1": 1.0}, path)
    model = model_of(data["meta"])
    load_weights(model, path, head_may_differ=False)
    clips, labels = torch.from_numpy(data["input"]), torch.from_numpy(data["labels"])
    frame_logits = model.frame_logits(clips)
    assert (frame_logits - torch.from_numpy(data["frame_logits"])).abs().max() <= LOGITS_ATOL
    logits = model.eval()(clips)
    assert (logits - torch.from_numpy(data["logits"])).abs().max() <= LOGITS_ATOL
    loss = F.cross_entropy(model.train()(clips), labels, label_smoothing=0.1)
    assert loss.item() == pytest.approx(float(data["loss_ls"]), abs=1e-5)
    loss.backward()
    gradients = {f"base_model.{n}": p.grad for n, p in model.named_parameters()}
    for key, expected in tensors(data, "grad.").items():
        ours = gradients[key]
        assert ours is not None
        atol = max(GRADIENT_SHARE * expected.abs().max().item(), 1e-7)
        torch.testing.assert_close(ours, expected, rtol=0, atol=atol)


def test_positions_are_resized_by_the_centres_of_patches(golden: Golden) -> None:
    data = golden("laps/pos_embed.npz")
    names = [name for name in data if name.startswith("in") and name != "init"]
    assert names
    for name in names:
        expected = torch.from_numpy(data[name.replace("in", "out")])
        resized = resize_pos_embed(torch.from_numpy(data[name]), expected.shape[1], "half_pixel")
        torch.testing.assert_close(resized, expected, rtol=0, atol=1e-6)  # 0.0 as measured
        aligned = resize_pos_embed(torch.from_numpy(data[name]), expected.shape[1])
        assert (aligned - expected).abs().max() > 1e-3


def test_drawn_head_is_as_wide_as_the_releases(golden: Golden) -> None:
    mean, std, _ = golden("laps/pos_embed.npz")["init"]["head.weight"]
    cfg = load_cfg(
        "config/k400/k400_v2_tokshift_div4_8x32_base_224.yml",
        ["MODEL.VIT.NUM_LAYERS", "1", "MODEL.VIT.MLP_DIM", "8"],
    )
    head = build_model(cfg).head
    assert not head.bias.any()
    num = 256 * 400  # of which the release's figures are
    assert head.weight.mean().item() == pytest.approx(mean, abs=4 * 0.02 / num**0.5)
    assert head.weight.std().item() == pytest.approx(std, rel=0.01)
