from pathlib import Path

import pytest
import torch

from config import load_cfg
from datasets.protocols import describe_protocol
from models import build_model

CONFIG = Path(__file__).parents[2] / "config"
RECIPES = {
    "k400/pptimesformer_8_base_224": 121_511_056,
    "k400/timesformer_8_base_224": 121_566_352,
    "ucf101/tokshift_paddle_8_base_256": 85_922_405,
}


@pytest.mark.parametrize("name", RECIPES)
def test_each_recipe_has_the_published_size(name: str) -> None:
    cfg = load_cfg(CONFIG / f"{name}.yml")
    with torch.device("meta"):
        model = build_model(cfg)
    assert sum(parameter.numel() for parameter in model.parameters()) == RECIPES[name]


def test_recipes_are_tested_as_published() -> None:
    protocols = [describe_protocol(load_cfg(CONFIG / f"{name}.yml")) for name in RECIPES]
    assert protocols == [
        "1x3 views, linspace 8, short side 224, crop 224, probabilities averaged",
        "1x3 views, linspace 8, short side 224, crop 224, logits averaged",
        "1x3 views, paddle_dense 8, short side 256, crop 256, logits averaged",
    ]


def test_one_key_makes_the_16_frame_test_of_pp_timesformer() -> None:
    path = CONFIG / "k400/pptimesformer_8_base_224.yml"
    cfg = load_cfg(path, ["DATA.NUM_FRAMES", "16"])
    with torch.device("meta"):
        model = build_model(cfg)
    assert sum(parameter.numel() for parameter in model.parameters()) == 121_517_200
    assert "linspace 16" in describe_protocol(cfg)


def test_the_averaging_that_the_recipe_proposes_is_a_valid_config() -> None:
    path = CONFIG / "k400/pptimesformer_8_base_224.yml"
    words = ["TRAIN.SWA.START_EPOCH", "16", "TRAIN.SWA.LR", "2.5e-4"]
    assert " ".join(words) in path.read_text()
    assert load_cfg(path, words).TRAIN.SWA.LR == 2.5e-4
