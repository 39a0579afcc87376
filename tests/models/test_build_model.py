from pathlib import Path

import pytest
import torch
from torch import nn
from yacs.config import CfgNode

from config import load_cfg, load_cfg_text
from config.checks import CHOICES
from config.model_checks import MODEL_RULES
from models import MODELS, build_model
from models.pretrained import load_weights
from models.timesformer import TimeSformer
from models.vit import VisionTransformer
from ops.token_shift import TokenShift

TEXT = """
DATA: {IMAGE_SIZE: 16, NUM_FRAMES: 4}
MODEL:
  BACKBONE: tiny
  NUM_CLASSES: 7
  VIT: {PATCH_SIZE: 8, HIDDEN_SIZE: 16, MLP_DIM: 24, NUM_HEADS: 2, NUM_LAYERS: 3, DROPOUT: 0.25}
"""


def cfg_of(*overrides: str) -> CfgNode:
    return load_cfg_text(TEXT, "test", overrides)


def shifts_of(model: nn.Module) -> list[TokenShift]:
    return [module for module in model.modules() if isinstance(module, TokenShift)]


@pytest.mark.parametrize("name", sorted(MODELS))
def test_every_model_goes_from_clips_to_logits(name: str) -> None:
    backbone = "resnet18" if name == "tsm" else "toy"
    model = build_model(cfg_of("MODEL.NAME", name, "MODEL.BACKBONE", backbone))
    assert model(torch.zeros(2, 4, 3, 16, 16)).shape == (2, 7)


def test_sizes_are_those_of_the_config() -> None:
    model = build_model(cfg_of("MODEL.DROP_PATH", "0.5", "MODEL.CHECKPOINTS_BLOCKS", "True"))
    assert isinstance(model, VisionTransformer)
    assert model.patch_embed.proj.weight.shape == (16, 3, 8, 8)
    assert model.pos_embed.shape == (1, 5, 16)
    assert model.blocks[0].mlp.fc1.weight.shape == (24, 16)
    assert [block.attn.num_heads for block in model.blocks] == [2, 2, 2]
    assert [block.drop_path for block in model.blocks] == [0, 0.25, 0.5]
    assert model.dropout.p == model.blocks[2].mlp.dropout.p == 0.25
    assert model.checkpoints_blocks
    assert not build_model(cfg_of()).checkpoints_blocks


def test_tokshift_takes_the_shift_of_the_config_and_vit_none() -> None:
    keys = ["MODEL.SHIFT.FOLD_DIV", "8", "MODEL.SHIFT.DIRECTION", "past"]
    model = build_model(cfg_of(*keys, "MODEL.SHIFT.ON_RESIDUAL", "False"))
    assert len(shifts_of(model)) == 6
    assert {(shift.fold_div, shift.direction) for shift in shifts_of(model)} == {(8, "past")}
    assert not any(block.shifts_residual for block in model.blocks)
    assert all(block.shifts_residual for block in build_model(cfg_of()).blocks)
    assert not shifts_of(build_model(cfg_of(*keys, "MODEL.NAME", "vit")))


def test_vit_takes_drop_path_and_recomputation_too() -> None:
    keys = ["MODEL.NAME", "vit", "MODEL.DROP_PATH", "0.5", "MODEL.CHECKPOINTS_BLOCKS", "True"]
    model = build_model(cfg_of(*keys))
    assert [block.drop_path for block in model.blocks] == [0, 0.25, 0.5]
    assert model.checkpoints_blocks


def test_unknown_model_is_an_error_that_lists_the_known_ones() -> None:
    known = "'timesformer', 'tokshift', 'tsm', 'vit'"
    with pytest.raises(ValueError, match=rf"MODEL\.NAME='tokshfit'; .*{known}"):
        cfg_of("MODEL.NAME", "tokshfit")


def test_every_model_has_its_rules_in_the_config() -> None:
    assert MODELS.keys() == MODEL_RULES.keys()


def test_partial_bn_freezes_every_layer_norm_but_the_first() -> None:
    model = build_model(cfg_of("MODEL.PARTIAL_BN", "True"))
    frozen = [name for name, p in model.named_parameters() if not p.requires_grad]
    norms = [f"blocks.{i}.{norm}" for i in range(3) for norm in ("norm1", "norm2")] + ["norm"]
    expected = [f"{norm}.{what}" for norm in norms[1:] for what in ("weight", "bias")]
    assert sorted(frozen) == sorted(expected)
    assert all(p.requires_grad for p in build_model(cfg_of()).parameters())


def test_timesformer_takes_every_key_of_its_own() -> None:
    keys = ["MODEL.NAME", "timesformer", "MODEL.DROP_PATH", "0.5", "MODEL.VIT.QKV_BIAS", "False"]
    model = build_model(cfg_of(*keys, "MODEL.CHECKPOINTS_BLOCKS", "True", "DATA.NUM_FRAMES", "6"))
    assert isinstance(model, TimeSformer)
    assert (model.attention, model.time_resize, model.checkpoints_blocks) == (
        *("divided", "nearest"),
        True,
    )
    assert model.time_embed.shape == (1, 6, 16)
    assert model.pos_embed.shape == (1, 5, 16)
    assert model.patch_embed.proj.weight.shape == (16, 3, 8, 8)
    assert model.blocks[0].mlp.fc1.weight.shape == (24, 16)
    assert [block.temporal_attn.num_heads for block in model.blocks] == [2, 2, 2]
    assert [block.drop_path for block in model.blocks] == [0, 0.25, 0.5]
    assert model.dropout.p == model.blocks[2].mlp.dropout.p == 0.25
    assert not any(name.endswith("qkv.bias") for name in model.state_dict())
    keys = ["MODEL.NAME", "timesformer", "MODEL.TIMESFORMER.TIME_RESIZE", "linear"]
    assert build_model(cfg_of(*keys)).time_resize == "linear"


def test_every_attention_of_the_config_is_known_to_the_timesformer() -> None:
    for attention in CHOICES["MODEL.TIMESFORMER.ATTENTION"]:
        keys = ["MODEL.NAME", "timesformer", "MODEL.TIMESFORMER.ATTENTION", attention]
        model = build_model(cfg_of(*keys))
        assert model.attention == attention
        assert model(torch.zeros(1, 4, 3, 16, 16)).shape == (1, 7)


@pytest.mark.parametrize("name", ["vit", "tokshift"])
def test_image_vit_can_do_without_biases_of_the_attention(name: str) -> None:
    with_biases, without = (
        build_model(cfg_of("MODEL.NAME", name, "MODEL.VIT.QKV_BIAS", flag)).state_dict()
        for flag in ("True", "False")
    )
    missing = [f"blocks.{i}.attn.qkv.bias" for i in range(3)]
    assert sorted(with_biases.keys() - without.keys()) == missing


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ("MODEL.NAME timesformer MODEL.VIT.QKV_BIAS False", 121_511_056),
        ("MODEL.NAME timesformer MODEL.VIT.QKV_BIAS False DATA.NUM_FRAMES 16", 121_517_200),
        ("MODEL.NAME timesformer", 121_566_352),
        ("MODEL.NUM_CLASSES 101 DATA.IMAGE_SIZE 256 DATA.TEST_SHORT_SIDE 256", 85_922_405),
    ],
)
def test_models_have_paddlevideos_number_of_parameters(keys: str, expected: int) -> None:
    with torch.device("meta"):
        model = build_model(load_cfg_text("", "test", keys.split()))
    assert sum(parameter.numel() for parameter in model.parameters()) == expected


def test_partial_bn_freezes_the_norms_of_a_timesformer_too() -> None:
    model = build_model(cfg_of("MODEL.NAME", "timesformer", "MODEL.PARTIAL_BN", "True"))
    learning = [name for name, p in model.named_parameters() if "norm" in name and p.requires_grad]
    assert learning == ["blocks.0.temporal_norm1.weight", "blocks.0.temporal_norm1.bias"]


def test_every_direction_of_the_config_is_known_to_the_shift() -> None:
    for direction in CHOICES["MODEL.SHIFT.DIRECTION"]:
        model = build_model(cfg_of("MODEL.SHIFT.DIRECTION", direction))
        assert model(torch.zeros(1, 4, 3, 16, 16)).isfinite().all()


def test_head_is_zeroed_or_drawn_where_weights_are_of_other_classes(tmp_path: Path) -> None:
    sizes = ["MODEL.BACKBONE", "custom", "MODEL.VIT.PATCH_SIZE", "16", "MODEL.VIT.HIDDEN_SIZE"]
    sizes += ["256", "MODEL.VIT.MLP_DIM", "8", "MODEL.VIT.NUM_HEADS", "2"]
    sizes += ["MODEL.VIT.NUM_LAYERS", "1", "DATA.IMAGE_SIZE", "32", "DATA.TEST_SHORT_SIDE", "32"]
    path = tmp_path / "image.pth"
    torch.save(
        build_model(load_cfg_text("", "test", [*sizes, "MODEL.NUM_CLASSES", "5"])).state_dict(),
        path,
    )
    for name in ("vit", "tokshift", "timesformer"):
        plain, drawn = (
            build_model(
                load_cfg_text("", "t", [*sizes, "MODEL.NAME", name, "MODEL.HEAD_INIT", start])
            )
            for start in ("zeros", "normal")
        )
        for model in (plain, drawn):
            assert model.head.bias.shape == (400,)
            report = load_weights(model, path)
            assert len(report.reinitialised) >= 2
        assert not plain.head.weight.any()
        weight = drawn.head.weight
        assert weight.std().item() == pytest.approx(0.02, rel=0.02)  # of 102400
        assert abs(weight.mean().item()) < 3e-4
        assert weight.abs().max() < 0.12
        assert not drawn.head.bias.any()


@pytest.mark.parametrize("backbone", ["clip", "dinov2"])
@pytest.mark.parametrize("end", ["", "_frozen"])
def test_recipe_of_other_weights_takes_them_and_trains_what_it_says(
    repository: Path, tmp_path: Path, backbone: str, end: str
) -> None:
    sizes = {"HIDDEN_SIZE": 16, "MLP_DIM": 24, "NUM_HEADS": 2, "NUM_LAYERS": 2}
    small = [word for key, size in sizes.items() for word in (f"MODEL.VIT.{key}", str(size))]
    small += ["DATA.IMAGE_SIZE", "112", "DATA.TEST_SHORT_SIDE", "112"]
    recipe = repository / f"config/k400/k400_{backbone}_tokshift_div4_8x32_base_224{end}.yml"
    cfg = load_cfg(recipe, [*small, "MODEL.SHIFT.ON_RESIDUAL", "False"])
    weights = build_model(load_cfg(recipe, [*small, "MODEL.NAME", "vit"])).state_dict()
    torch.save(weights, tmp_path / "weights.pth")
    model = build_model(cfg)
    report = load_weights(model, tmp_path / "weights.pth", drops_head=cfg.TRAIN.TUNE_DROPS_HEAD)
    assert {*report.loaded} == {name for name in weights if not name.startswith("head.")}
    assert not any(block.shifts_residual for block in model.blocks)
    learning = {name for name, value in model.named_parameters() if value.requires_grad}
    assert learning == ({"head.weight", "head.bias"} if end else weights.keys())
