from typing import Any

import pytest
import torch
from yacs.config import CfgNode

from config import load_cfg_text
from engine.checkpoints import TrainingList
from engine.distributed import World
from engine.run_differences import differences, has_same_draws

NAMES = ["walk", "run", "swim"]
LISTED = TrainingList("0" * 64, num_videos=12, class_names=NAMES, clips_per_step=8)
COSINE = ("OPTIM.SCHEDULE", "cosine", "OPTIM.WARMUP_EPOCHS", "0.0")
WORLD = World(rank=0, size=2, local_rank=0, device=torch.device("cpu"))


def cfg_of(*overrides: str) -> CfgNode:
    return load_cfg_text("{MODEL: {NUM_CLASSES: 3}, OPTIM: {LR: 0.05}}", "test", overrides)


def lines_after_five_epochs(before: tuple[str, ...], now: tuple[str, ...]) -> list[str]:
    content = content_of(cfg_of(*COSINE, *before), epoch=5)
    return differences(content, cfg_of(*COSINE, *now), LISTED, WORLD)


def content_of(cfg: CfgNode, **changes: Any) -> dict[str, Any]:
    content = {
        "config": cfg.dump(),
        "class_names": NAMES,
        "training_list": {"sha256": "0" * 64, "num_videos": 12},
        "processes": {"size": 2, "clips_per_step": 8},
        "ema": {},
    }
    return content | changes


def test_same_run_has_no_difference() -> None:
    assert differences(content_of(cfg_of()), cfg_of(), LISTED, WORLD) == []


def test_released_checkpoint_tells_nothing_that_could_differ() -> None:
    assert differences({"epoch": 3}, cfg_of(), LISTED, WORLD) == []


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"processes": {"size": 3, "clips_per_step": 8}}, "3 processes -> 2: the rest"),
        ({"processes": {"size": 2, "clips_per_step": 16}}, "effective batch 16 -> 8, at OPTIM.LR"),
        (
            {"training_list": {"sha256": "1" * 64, "num_videos": 11}},
            "the training list is another: 11 videos -> 12, or",
        ),
    ],
)
def test_each_difference_of_the_run_is_a_line(changes: dict[str, Any], line: str) -> None:
    lines = differences(content_of(cfg_of(), **changes), cfg_of(), LISTED, WORLD)
    assert len(lines) == 1
    assert lines[0].startswith(line)


def test_each_key_that_changed_is_a_line_unless_it_changes_nothing_that_is_learned() -> None:
    words = ("OPTIM.LR", "0.1", "DATA.NUM_FRAMES", "4", "DATA.WORKERS", "9", "TEST.NUM_CLIPS", "3")
    lines = differences(content_of(cfg_of()), cfg_of(*words), LISTED, WORLD)
    assert lines == ["DATA.NUM_FRAMES 8 -> 4", "OPTIM.LR 0.05 -> 0.1"]


def test_average_that_the_checkpoint_lacks_is_said() -> None:
    cfg = cfg_of("TRAIN.EMA_DECAY", "0.9")
    content = content_of(cfg)
    del content["ema"]
    (line,) = differences(content, cfg, LISTED, WORLD)
    assert line == "the checkpoint holds no EMA; it begins from the weights"


def test_key_that_the_checkpoint_is_too_old_to_know_is_no_difference() -> None:
    content = content_of(cfg_of(), config="{OPTIM: {LR: 0.05}, GONE: 3}")
    assert differences(content, cfg_of(), LISTED, WORLD) == []


@pytest.mark.parametrize(
    ("key", "value", "same"),
    [
        ("SEED", "7", False),
        ("AUG.REPEATS", "7", False),
        ("DATA.BALANCE", "0.5", False),
        ("OPTIM.LR", "1.0", True),
    ],
)
def test_draws_are_the_same_for_the_same_seed_repeats_and_balance(
    key: str, value: str, same: bool
) -> None:
    cfg = cfg_of(key, value)
    assert has_same_draws(content_of(cfg_of()), cfg) == same
    older = content_of(cfg_of(), config="{OPTIM: {LR: 0.05}}")  # it drew by the defaults
    assert has_same_draws(older, cfg) == same


def test_longer_schedule_says_how_far_the_learning_rate_goes_up() -> None:
    lines = lines_after_five_epochs(("TRAIN.EPOCHS", "5"), ("TRAIN.EPOCHS", "10"))
    assert lines == [
        "TRAIN.EPOCHS 5 -> 10",
        "the learning rate goes up from 0 to 0.025 after epoch 5, by TRAIN.EPOCHS; what is learned "
        "may suffer at first",
    ]


@pytest.mark.parametrize(
    ("before", "now"),
    [
        (("TRAIN.EPOCHS", "10"), ("TRAIN.EPOCHS", "10")),
        (("OPTIM.GAMMA", "0.1"), ("OPTIM.GAMMA", "0.2")),  # no part of the cosine
    ],
)
def test_rate_that_stays_is_no_line(before: tuple[str, ...], now: tuple[str, ...]) -> None:
    assert not [line for line in lines_after_five_epochs(before, now) if "learning rate" in line]
