from typing import Any

import pytest
import torch
from torch import nn

from config import load_cfg_text
from config.checks import CHOICES
from engine.learner import build_optimizer
from engine.parameter_groups import (
    LAYERED_POLICIES,
    POLICIES,
    layer_of,
    parameter_groups,
)
from models.resnet_tsm import ResNetTSM
from models.tokshift import tokshift
from models.vit import ViTSize, transformer_layer_names

SIZE = ViTSize(patch_size=8, hidden_size=8, mlp_dim=16, num_heads=2, num_layers=3)
DECAY = 0.25


def toy_transformer() -> nn.Module:
    """A TokShift with what a TimeSformer has beside it."""
    torch.manual_seed(0)
    model = tokshift(SIZE, image_size=16, num_classes=5, fold_div=4)
    model.time_embed = nn.Parameter(torch.zeros(1, 4, 8))
    for block in model.blocks:
        block.temporal_norm1 = nn.LayerNorm(8)
        block.temporal_fc = nn.Linear(8, 8)
    return model


def by_name(model: nn.Module, policy: str, **kwargs: Any) -> dict[str, tuple[float, float]]:
    """Name of each grouped parameter to its factor on the rate and its decay."""
    groups = parameter_groups(model, policy, DECAY, **kwargs)
    of = {id(p): (g["lr_mult"], g["weight_decay"]) for g in groups for p in g["params"]}
    return {name: of[id(p)] for name, p in model.named_parameters() if id(p) in of}


def undecayed(model: nn.Module, policy: str) -> set[str]:
    return {name for name, (_, decay) in by_name(model, policy).items() if not decay}


def test_pp_timesformer_spares_three_embeddings_and_one_bias_and_nothing_else() -> None:
    names = {"cls_token", "pos_embed", "time_embed", "head.bias"}
    assert undecayed(toy_transformer(), "pp_timesformer") == names
    plain = tokshift(SIZE, image_size=16, num_classes=5, fold_div=4)
    assert undecayed(plain, "pp_timesformer") == names - {"time_embed"}


def test_vit_spares_what_is_a_vector_or_an_embedding() -> None:
    model = toy_transformer()
    names = undecayed(model, "vit")
    assert {"cls_token", "pos_embed", "time_embed"} < names
    for name, _ in model.named_parameters():
        is_matrix = name.endswith("weight") and "norm" not in name
        assert (name not in names) == is_matrix, name


@pytest.mark.parametrize("policy", ["vit", "pp_timesformer"])
def test_without_layer_decay_there_are_two_groups_of_one_rate(policy: str) -> None:
    groups = parameter_groups(toy_transformer(), policy, DECAY)
    assert sorted((group["lr_mult"], group["weight_decay"]) for group in groups) == [
        *((1, 0.0), (1, DECAY)),
    ]


def test_one_group_is_every_parameter_in_the_model_s_order() -> None:
    model = toy_transformer()
    (group,) = parameter_groups(model, "one", DECAY)
    assert [id(p) for p in group["params"]] == [id(p) for p in model.parameters()]
    assert group.keys() == {"params", "weight_decay"}


def test_rates_of_the_layers_worked_by_hand() -> None:
    rates = {
        name: rate for name, (rate, _) in by_name(toy_transformer(), "vit", layer_decay=0.5).items()
    }
    for name in ("cls_token", "pos_embed", "time_embed", "patch_embed.proj.weight"):
        assert rates[name] == 0.5**4  # three blocks and the head above
    assert rates["blocks.0.attn.qkv.weight"] == 0.5**3
    assert rates["blocks.1.temporal_fc.bias"] == rates["blocks.1.norm1.weight"] == 0.5**2
    assert rates["blocks.2.mlp.fc2.weight"] == 0.5
    for name in ("norm.weight", "norm.bias", "head.weight", "head.bias"):
        assert rates[name] == 1


def test_layers_of_a_resnet_are_its_stages() -> None:
    with torch.device("meta"):
        model = ResNetTSM(18, 5)
    rates = {name: rate for name, (rate, _) in by_name(model, "vit", layer_decay=0.5).items()}
    assert len(model.layer_names) == 1 + 4
    for name, layer in (
        *(("conv1.weight", 0), ("bn1.bias", 0), ("layer1.0.conv1.weight", 1)),
        *(("layer4.1.bn2.weight", 4), ("fc.weight", 5), ("fc.bias", 5)),
    ):
        assert rates[name] == 0.5 ** (5 - layer), name


def test_layer_of_a_two_digit_block_is_its_number() -> None:
    names = transformer_layer_names(12)
    assert layer_of("blocks.11.norm1.weight", names) == 12
    assert layer_of("blocks.1.norm1.weight", names) == 2


@pytest.mark.parametrize("policy", LAYERED_POLICIES)
@pytest.mark.parametrize("layer_decay", [1.0, 0.75])
def test_every_parameter_that_learns_is_in_one_group(policy: str, layer_decay: float) -> None:
    model = toy_transformer()
    if policy != "one":
        model.blocks[1].norm1.requires_grad_(False)
    groups = parameter_groups(model, policy, 0.0, layer_decay=layer_decay)
    grouped = [id(p) for group in groups for p in group["params"]]
    assert len(grouped) == len(set(grouped))
    assert set(grouped) == {id(p) for p in model.parameters() if p.requires_grad}


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_steps_equal_those_of_an_optimizer_for_each_parameter(name: str) -> None:
    text = f"""
        OPTIM: {{NAME: {name}, GROUPS: vit, LAYER_DECAY: 0.5, LR: 0.1, WEIGHT_DECAY: 0.25,
            NESTEROV: True}}
    """
    cfg = load_cfg_text(text, "test")
    grouped, alone = toy_transformer().double(), toy_transformer().double()
    together = build_optimizer(cfg, grouped)
    for group in together.param_groups:
        group["lr"] = 0.1 * group["lr_mult"]
    kinds = {"adamw": (torch.optim.AdamW, {"betas": (0.9, 0.999)})}
    kind, kwargs = kinds.get(name, (torch.optim.SGD, {"momentum": 0.9, "nesterov": True}))
    settings = by_name(alone, "vit", layer_decay=0.5)
    each = [
        kind([p], lr=0.1 * settings[n][0], weight_decay=settings[n][1], **kwargs)
        for n, p in alone.named_parameters()
    ]
    for step in range(3):
        generator = torch.Generator().manual_seed(step)
        for ours, theirs in zip(grouped.parameters(), alone.parameters(), strict=True):
            ours.grad = torch.randn(ours.shape, generator=generator, dtype=torch.float64)
            theirs.grad = ours.grad.clone()
        together.step()
        for optimizer in each:
            optimizer.step()
    for ours, theirs in zip(grouped.parameters(), alone.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-15, rtol=0)  # float64


def test_published_groups_have_no_layer_decay() -> None:
    with torch.device("meta"):
        model = ResNetTSM(18, 5)
    for policy in ("tsm", "paddle"):
        with pytest.raises(ValueError, match=rf"GROUPS {policy} has its own learning rates; for "):
            parameter_groups(model, policy, 0.0, layer_decay=0.5)


def test_every_policy_of_the_config_is_known_here() -> None:
    assert set(CHOICES["OPTIM.GROUPS"]) == set(POLICIES)
