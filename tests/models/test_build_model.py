import pytest
import torch
from torch import nn
from yacs.config import CfgNode

from config import load_cfg_text
from config.checks import CHOICES
from models import MODELS, build_model
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
    cfg = cfg_of("MODEL.NAME", "tokshfit")
    with pytest.raises(ValueError, match=r"MODEL\.NAME='tokshfit'; .*'tokshift', 'tsm', 'vit'"):
        build_model(cfg)


def test_partial_bn_freezes_every_layer_norm_but_the_first() -> None:
    model = build_model(cfg_of("MODEL.PARTIAL_BN", "True"))
    frozen = [name for name, p in model.named_parameters() if not p.requires_grad]
    norms = [f"blocks.{i}.{norm}" for i in range(3) for norm in ("norm1", "norm2")] + ["norm"]
    expected = [f"{norm}.{what}" for norm in norms[1:] for what in ("weight", "bias")]
    assert sorted(frozen) == sorted(expected)
    assert all(p.requires_grad for p in build_model(cfg_of()).parameters())


def test_every_direction_of_the_config_is_known_to_the_shift() -> None:
    for direction in CHOICES["MODEL.SHIFT.DIRECTION"]:
        model = build_model(cfg_of("MODEL.SHIFT.DIRECTION", direction))
        model(torch.zeros(1, 4, 3, 16, 16))
