from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from yacs.config import CfgNode

from models import build_model
from models.tokshift import tokshift
from models.vit import VisionTransformer, ViTSize
from models.weights.released_tokshift import (
    from_released,
    is_released,
    momentum_from_released,
    momentum_to_released,
    to_released,
)
from tests.models.conftest import randomized

SIZE = ViTSize(patch_size=8, hidden_size=12, mlp_dim=20, num_heads=3, num_layers=2)


def toy_model() -> VisionTransformer:
    return randomized(tokshift(SIZE, 24, 5, fold_div=4))


def weights(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def test_released_names_are_known_by_their_first_word() -> None:
    assert is_released(["base_model.head.weight"])
    assert is_released(["module.base_model.head.weight"])
    assert not is_released(["head.weight", "module.cls_token"])
    assert not is_released([])


def test_renaming_to_released_and_back_changes_nothing() -> None:
    state = weights(toy_model())
    released = to_released(state)
    assert len(released) == 8 + 16 * SIZE.num_layers
    again = from_released(released)
    assert again.keys() == state.keys()
    assert all(torch.equal(again[name], value) for name, value in state.items())
    twice = to_released(again)
    assert list(twice) == list(released)
    assert all(torch.equal(twice[name], value) for name, value in released.items())


def test_query_key_and_value_are_thirds_of_one_tensor_in_this_order() -> None:
    state = weights(toy_model())
    released = to_released(state)
    prefix = "base_model.transformer.encoder.layer.1.attn."
    parts = [released[f"{prefix}{part}.weight"] for part in ("query", "key", "value")]
    assert torch.equal(torch.cat(parts), state["blocks.1.attn.qkv.weight"])
    assert all(part.shape == (12, 12) for part in parts)
    storages = {part.untyped_storage().data_ptr() for part in parts}
    assert len(storages) == 3  # a saved file would else hold the whole three times


def trained_optimizer(model: nn.Module) -> torch.optim.Optimizer:
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    model(torch.randn(2, 3, 3, 24, 24)).square().sum().backward()
    optimizer.step()
    return optimizer


def test_momentum_goes_to_the_release_and_back_unchanged() -> None:
    model = toy_model()
    states = trained_optimizer(model).state_dict()["state"]
    names = list(to_released(weights(model)))
    released = momentum_to_released(states, model)
    assert list(released) == list(range(len(names)))
    # each buffer has the shape of the parameter that the release counts by the same number
    shapes = [value.shape for value in to_released(weights(model)).values()]
    assert [state["momentum_buffer"].shape for state in released.values()] == shapes
    content = {"state_dict": dict.fromkeys(names), "optimizer": {"state": released}}
    again = momentum_from_released(content, model)
    assert again.keys() == states.keys()
    for index, state in states.items():
        assert torch.equal(again[index]["momentum_buffer"], state["momentum_buffer"])


def test_momentum_of_frozen_parameters_may_be_missing() -> None:
    model = toy_model()
    model.blocks[1].norm2.requires_grad_(False)
    states = trained_optimizer(model).state_dict()["state"]
    released = momentum_to_released(states, model)
    names = list(to_released(weights(model)))
    missing = [name for index, name in enumerate(names) if index not in released]
    prefix = "base_model.transformer.encoder.layer.1.ffn_norm."
    assert missing == [f"{prefix}weight", f"{prefix}bias"]
    content = {"state_dict": dict.fromkeys(names), "optimizer": {"state": released}}
    assert momentum_from_released(content, model).keys() == states.keys()


def test_momentum_of_the_released_checkpoint_reaches_its_parameters(
    released_checkpoint: Path, released_cfg: Callable[..., CfgNode]
) -> None:
    content = torch.load(released_checkpoint, map_location="cpu", weights_only=True)
    model = build_model(released_cfg())
    ours = momentum_from_released(content, model)
    names = [name.removeprefix("module.base_model.") for name in content["state_dict"]]
    theirs = {
        name: content["optimizer"]["state"][index]["momentum_buffer"]
        for index, name in enumerate(names)
    }
    buffers = {
        name: ours[index]["momentum_buffer"]
        for index, (name, _) in enumerate(model.named_parameters())
    }
    last = len(model.blocks) - 1
    layer = f"transformer.encoder.layer.{last}."
    assert torch.equal(buffers["head.weight"], theirs["head.weight"])
    assert torch.equal(buffers[f"blocks.{last}.norm2.bias"], theirs[f"{layer}ffn_norm.bias"])
    parts = [theirs[f"{layer}attn.{part}.weight"] for part in ("query", "key", "value")]
    assert torch.equal(buffers[f"blocks.{last}.attn.qkv.weight"], torch.cat(parts))
    assert len(ours) == len(list(model.parameters()))
