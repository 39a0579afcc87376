from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torchvision import models as torchvision_models

from models.loaded_model import load_model
from models.pretrained import describe, load_weights
from models.resnet_tsm import ResNetTSM
from models.vit import ViTSize, vit
from tests.models.conftest import randomized

timm = pytest.importorskip("timm")

NAME = "vit_base_patch16_clip_quickgelu_224.openai"
NARROW: dict[str, Any] = {"embed_dim": 48, "depth": 2, "num_heads": 4, "mlp_ratio": 2}
NARROW |= {"patch_size": 8, "img_size": 32, "num_classes": 5}
OPTIONS = {"norm_eps": 1e-5, "activation": "quick_gelu", "pre_norm": True}


@pytest.fixture
def clip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> nn.Module:
    """A narrow CLIP of timm, whose weights lie in a file that timm takes for the download."""
    net = randomized(timm.create_model(NAME, pretrained=False, **NARROW))
    torch.save(net.state_dict(), tmp_path / "download.pth")
    local = {"file": str(tmp_path / "download.pth"), "num_classes": 5}
    create = partial(timm.create_model, pretrained_cfg_overlay=local, **NARROW)
    monkeypatch.setattr(timm, "create_model", create)
    return net


def model_of(**options: Any) -> nn.Module:
    sizes = {"patch_size": 8, "hidden_size": 48, "mlp_dim": 96, "num_heads": 4, "num_layers": 2}
    return vit(ViTSize(**(sizes | OPTIONS | options)), 32, 5)


def test_name_of_timm_loads_what_timm_does(clip: nn.Module) -> None:
    model = model_of().eval()
    report = load_weights(model, f"timm:{NAME}", head_may_differ=False)
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        expected = clip.eval()(images)
        assert (model(images[:, None]) - expected).abs().max() <= 1e-6
    assert report.source == f"timm:{NAME}"
    assert report.pixels == (
        [0.48145466, 0.4578275, 0.40821073],
        [0.26862954, 0.26130258, 0.27577711],
    )


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"activation": "gelu"}, "ACTIVATION quick_gelu, the model has gelu"),
        ({"norm_eps": 1e-6}, "NORM_EPS 1e-05, the model has 1e-06"),
        ({"num_heads": 8}, "NUM_HEADS 4, the model has 8"),
        ({"pre_norm": False}, r"set MODEL\.VIT\.PRE_NORM True"),
    ],
)
def test_what_timm_computes_is_compared(
    options: dict[str, Any], text: str, clip: nn.Module
) -> None:
    with pytest.raises(ValueError, match=text):
        load_weights(model_of(**options), f"timm:{NAME}")


def test_names_that_cannot_be_had_are_errors_of_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("timm:nonsense", "torchvision:nonsense", "torchvision:resnet18.NONE", "timm:"):
        with pytest.raises(ValueError, match=f"^{name} cannot be had from") as caught:
            load_weights(model_of(), name)
        assert "\n" not in str(caught.value)

    def unreachable(*args: Any, **kwargs: Any) -> None:
        raise ConnectionError("no network\nhere")

    monkeypatch.setattr(timm, "create_model", unreachable)
    with pytest.raises(ValueError, match="timm:x cannot be had from timm: no network; a file of"):
        load_weights(model_of(), "timm:x")
    with pytest.raises(ValueError, match="'timm:x' is not a file"):
        load_model("timm:x")


def test_library_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "timm", None)
    with pytest.raises(ValueError, match="timm:x takes a library: pip install timm"):
        load_weights(model_of(), "timm:x")


def test_name_of_torchvision_gives_its_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    net, urls = randomized(torchvision_models.resnet18()), []

    def download(url: str, **kwargs: Any) -> dict[str, Any]:
        urls.append(url)
        return net.state_dict()

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", download)
    model = ResNetTSM(18, 5)
    report = load_weights(model, "torchvision:resnet18.IMAGENET1K_V1")
    assert urls == [torchvision_models.ResNet18_Weights.IMAGENET1K_V1.url]
    assert torch.equal(model.conv1.weight, net.conv1.weight)
    assert report.pixels == ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])


def test_network_of_timm_that_has_a_name_here_goes_by_it() -> None:
    with torch.device("meta"):
        net = timm.create_model("vit_base_patch16_clip_quickgelu_224.openai")
    pixels = {"mean": [0.5] * 3, "std": [0.5] * 3}
    content = {"state_dict": net.state_dict(), "preprocessing": pixels}
    told = {"num_heads": 12, "norm_eps": 1e-5, "activation": "quick_gelu"}
    said = describe(content | {"computes": told}, "timm:a")
    assert said
    assert said.values["MODEL.BACKBONE"] == "clip_vit_b16"
    assert said.values["DATA.IMAGE_SIZE"] == 224
    assert said.pixels() == ([0.5] * 3, [0.5] * 3)
    other = describe(content | {"computes": told | {"num_heads": 6}}, "timm:a")
    assert other
    assert (other.values["MODEL.BACKBONE"], other.values["MODEL.VIT.NUM_HEADS"]) == ("custom", 6)
    assert describe(content, "a.pth") is None
