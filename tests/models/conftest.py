"""Models with random weights, and those of the TSM golden data: weights by rule, clips."""

import re
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from models.pretrained import fit_weights, weights_of
from models.resnet_tsm import ResNetTSM, TSMOptions

_BLOCK = re.compile(r"^layer(\d)\.(\d+)\.")


def randomized(module: nn.Module, seed: int = 0) -> nn.Module:
    """Give every parameter, zeros and ones of the start included, a random value."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
    return module


def filled(shapes: dict[str, list[int]]) -> dict[str, Tensor]:
    """Weights by the filling rule of the TSM golden data, from official names and shapes."""
    state = {}
    for name, shape in shapes.items():
        rng = np.random.Generator(np.random.PCG64(zlib.crc32(name.encode())))
        n = rng.standard_normal(size=shape)
        if name.endswith("num_batches_tracked"):
            state[name] = torch.zeros(shape, dtype=torch.long)
            continue
        if name.endswith("running_mean"):
            value = 0.1 * n
        elif name.endswith("running_var"):
            value = 1 + 0.1 * np.abs(n)
        elif len(shape) >= 2:
            value = n / np.sqrt(np.prod(shape[1:]))
        else:
            value = 0.1 * n if name.endswith("bias") else 1 + 0.1 * n
        state[name] = torch.from_numpy(np.asarray(value, dtype=np.float32))
    return state


def tsm_of(cfg: dict[str, Any], **options: Any) -> ResNetTSM:
    """Build the model of an entry of golden tsm/models; what it leaves out is the release's."""
    options |= {
        "temporal_pool": cfg.get("tpool", False),
        "non_local": cfg.get("nl", False),
        "modality": cfg.get("modality", "RGB"),
        "dropout": cfg.get("dropout", 0.5),
        "consensus": cfg.get("consensus", "avg"),
    }
    return ResNetTSM(
        int(cfg["arch"].removeprefix("resnet")),
        cfg["C"],
        cfg.get("div", 8) if cfg.get("shift", True) else 0,
        cfg.get("place", "blockres"),
        TSMOptions(**options),
    )


def tsm_sizes(shapes: dict[str, list[int]]) -> dict[str, Any]:
    """Read width, blocks in each stage and number of classes off the tensors of a checkpoint.

    Args:
        shapes: Shapes by the release's names, of a ResNet of bottleneck blocks.
    """
    shapes = {
        key.removeprefix("module.").removeprefix("base_model."): shapes[key] for key in shapes
    }
    blocks = {tuple(map(int, found)) for key in shapes for found in _BLOCK.findall(key)}
    return {
        "layers": [sum(of == stage for of, _ in blocks) for stage in (1, 2, 3, 4)],
        "width": shapes["conv1.weight"][0],
        "num_classes": shapes["new_fc.weight" if "new_fc.weight" in shapes else "fc.weight"][0],
    }


def tsm_of_shapes(shapes: dict[str, list[int]]) -> ResNetTSM:
    sizes = tsm_sizes(shapes)
    num_classes = sizes.pop("num_classes")
    return ResNetTSM(50, num_classes, options=TSMOptions(**sizes))


def tsm_words(shapes: dict[str, list[int]]) -> list[str]:
    """Return the sizes of such a checkpoint's model as overrides of a config."""
    sizes = tsm_sizes(shapes)
    return [
        *("MODEL.NUM_CLASSES", str(sizes["num_classes"])),
        *("MODEL.TSM.LAYERS", str(sizes["layers"]), "MODEL.TSM.WIDTH", str(sizes["width"])),
    ]


def official_name(name: str, model: ResNetTSM) -> str:
    """The release's name of a parameter of a model with shift; without non-local blocks."""
    if name.startswith("fc."):
        return name.replace("fc.", "new_fc.")
    if model.fold_div and name.startswith("layer"):
        stage, index, rest = name.split(".", 2)
        if model.placement == "block":
            rest = f"net.{rest}"
        elif getattr(model, stage)[int(index)].temporal is not None:
            rest = rest.replace("conv1.", "conv1.net.")
        name = f"{stage}.{index}.{rest}"
    return f"base_model.{name}"


@pytest.fixture
def official() -> Callable[[str, ResNetTSM], str]:
    return official_name


@pytest.fixture
def fill() -> Callable[[dict[str, list[int]]], dict[str, Tensor]]:
    return filled


@pytest.fixture
def filled_like() -> Callable[[ResNetTSM], ResNetTSM]:
    """Fill a model by the rule, by way of the release's names."""

    def fill_model(model: ResNetTSM) -> ResNetTSM:
        shapes = {
            official_name(name, model): list(value.shape)
            for name, value in model.state_dict().items()
        }
        state, report = weights_of({"state_dict": filled(shapes)}, "filled")
        fit_weights(model, state, report, head_may_differ=False)
        return model

    return fill_model


@pytest.fixture
def normalised() -> Callable[..., Tensor]:
    def normalise(clip_u8: np.ndarray, is_flow: bool = False) -> Tensor:
        clip = torch.from_numpy(clip_u8).float() / 255
        std = [0.229, 0.224, 0.225]
        if is_flow:
            return (clip - 0.5) / float(np.mean(std))
        mean = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
        return (clip - mean) / torch.tensor(std).view(3, 1, 1)

    return normalise


@pytest.fixture
def golden_tsm(golden_json: Callable[[str], Any]) -> Callable[[str], ResNetTSM]:
    """Build a model of golden tsm/models with its weights, in evaluation."""

    def build(name: str, order: str = "future_first") -> ResNetTSM:
        model = tsm_of(golden_json("tsm/models/index.json")[name]["cfg"], order=order)
        weights = filled(golden_json(f"tsm/models/{name}.keys.json"))
        content = {"state_dict": {f"module.{key}": value for key, value in weights.items()}}
        state, report = weights_of(content, name)
        fit_weights(model, state, report, head_may_differ=False)
        return model.eval()

    return build
