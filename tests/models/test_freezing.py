import copy
import logging
from pathlib import Path

import pytest
import torch
from torch import nn
from yacs.config import CfgNode

from config import load_cfg_text
from engine.distributed import World
from engine.learner import Learner, build_learner
from engine.summary import log_start
from models import build_model
from models.freezing import count_trained, start_training

VIT = """
DATA: {IMAGE_SIZE: 16, NUM_FRAMES: 2}
MODEL: {BACKBONE: custom, NUM_CLASSES: 3, VIT: {PATCH_SIZE: 8, HIDDEN_SIZE: 16, MLP_DIM: 16,
        NUM_HEADS: 2, NUM_LAYERS: 3}}
OPTIM: {LR: 0.1}
"""
TSM = """
DATA: {IMAGE_SIZE: 32, NUM_FRAMES: 2}
MODEL: {NAME: tsm, BACKBONE: resnet18, NUM_CLASSES: 3, TSM: {LAYERS: [1, 1, 1, 1], WIDTH: 8}}
OPTIM: {LR: 0.1}
"""
WORLD = World(rank=0, local_rank=0, size=1, device=torch.device("cpu"))


def cfg_of(text: str, *overrides: str) -> CfgNode:
    return load_cfg_text(text, "test", overrides)


def trained_names(model: nn.Module) -> set[str]:
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


def learn(learner: Learner, cfg: CfgNode) -> dict[str, torch.Tensor]:
    """Take two steps; return the tensors that changed."""
    before = {name: value.clone() for name, value in learner.model.state_dict().items()}
    start_training(learner.model)
    shape = (2, cfg.DATA.NUM_FRAMES, 3, cfg.DATA.IMAGE_SIZE, cfg.DATA.IMAGE_SIZE)
    for _ in range(2):
        logits = learner.parallel(torch.rand(shape))
        learner.backward(logits.square().sum() + logits[:, 0].sum(), share=1.0)
        learner.step()
    after = learner.model.state_dict()
    return {name: value for name, value in after.items() if not torch.equal(value, before[name])}


def test_nothing_is_frozen_by_default() -> None:
    model = build_model(cfg_of(VIT))
    assert trained_names(model) == {name for name, _ in model.named_parameters()}


@pytest.mark.parametrize("name", ["vit", "tokshift", "timesformer"])
def test_rules_leave_what_they_say(name: str) -> None:
    def trained(rule: str) -> set[str]:
        return trained_names(build_model(cfg_of(VIT, "MODEL.NAME", name, "TRAIN.FREEZE", rule)))

    everything = trained("nothing")
    head = {"head.weight", "head.bias"}
    assert trained("backbone") == head
    norm = {"norm.weight", "norm.bias"}
    assert trained("all but last 0") == head | norm
    last = {n for n in everything if n.startswith("blocks.2.")}
    assert trained("all but last 1") == head | norm | last
    blocks = {n for n in everything if n.startswith("blocks.")}
    assert trained("all but last 3") == head | norm | blocks
    assert everything - trained("patch_embed.*, *.norm1.*") == {
        n for n in everything if n.startswith("patch_embed.") or ".norm1." in n
    }


def test_blocks_of_a_resnet_are_its_stages() -> None:
    model = build_model(cfg_of(TSM, "TRAIN.FREEZE", "all but last 1"))
    assert {name.partition(".")[0] for name in trained_names(model)} == {"layer4", "fc"}


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        ("all but last 4", r"TRAIN\.FREEZE='all but last 4'; the model has 3 blocks"),
        ("backbon", r"TRAIN\.FREEZE='backbon': 'backbon' fits no parameter; it takes 'nothing'"),
        ("patch_embed.*, bloks.*", r"'bloks\.\*' fits no parameter"),
        ("", r"'' fits no parameter"),
        ("*", r"freezes all parameters; nothing is left to train"),
    ],
)
def test_a_rule_that_does_not_fit_is_an_error(rule: str, text: str) -> None:
    with pytest.raises(ValueError, match=text) as error:
        build_model(cfg_of(VIT, "TRAIN.FREEZE", rule))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("groups", ["one", "vit", "tsm", "paddle"])
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_frozen_tensors_stay_and_the_others_learn(groups: str, optimizer: str) -> None:
    text = TSM if groups in ("tsm", "paddle") else VIT
    words = ["OPTIM.GROUPS", groups, "OPTIM.NAME", optimizer, "OPTIM.WEIGHT_DECAY", "0.1"]
    words += ["TRAIN.FREEZE", "all but last 1", "TRAIN.EMA_DECAY", "0.5"]
    if groups == "vit":
        words += ["OPTIM.LAYER_DECAY", "0.5"]
    cfg = cfg_of(text, *words)
    learner = build_learner(cfg, build_model(cfg), WORLD)
    changed = learn(learner, cfg)
    trained = trained_names(learner.model)
    parameters = {name for name, _ in learner.model.named_parameters()}
    assert set(changed) & parameters == trained
    frozen_statistics = [n for n in changed if "running" in n and not n.startswith("layer4")]
    assert frozen_statistics == []
    if text is TSM:
        assert any("layer4" in name and "running" in name for name in changed)
    for name, value in learner.evaluated.state_dict().items():
        if name in parameters - trained:
            assert torch.equal(value, learner.model.state_dict()[name]), name


def test_frozen_batch_norms_keep_evaluating_beside_trained_ones() -> None:
    model = build_model(cfg_of(TSM, "TRAIN.FREEZE", "layer1.*"))
    start_training(model)
    evaluating = {
        n for n, m in model.named_modules() if isinstance(m, nn.BatchNorm2d) and not m.training
    }
    assert evaluating
    assert all(name.startswith("layer1.") for name in evaluating)
    learner = build_learner(cfg_of(TSM), model, WORLD)
    learner.accumulate_nothing((2, 3, 32, 32), is_last=True)
    assert not model.layer1[0].bn1.training
    assert model.bn1.training


def test_a_resumed_learner_goes_on_as_if_there_were_no_break() -> None:
    cfg = cfg_of(VIT, "TRAIN.FREEZE", "backbone", "OPTIM.GROUPS", "vit", "TRAIN.EMA_DECAY", "0.9")
    torch.manual_seed(0)
    first = build_learner(cfg, build_model(cfg), WORLD)
    learn(first, cfg)
    second = build_learner(cfg, build_model(cfg), WORLD)
    state = copy.deepcopy(first.state())
    second.model.load_state_dict(state["state_dict"])
    second.load_state(state["optimizer"]["state"], state)
    for learner in (first, second):
        torch.manual_seed(1)
        learn(learner, cfg)
    for name, value in first.model.state_dict().items():
        assert torch.equal(value, second.model.state_dict()[name])
    assert count_trained(first.model) == 3 * 16 + 3


def test_start_line_counts_what_is_trained(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    for rule, words in (
        ("nothing", "parameters; "),
        ("backbone", "parameters, 51 of them trained"),
    ):
        cfg = cfg_of(VIT, "TRAIN.FREEZE", rule, "OUTPUT_DIR", str(tmp_path))
        log_start(cfg, WORLD, build_model(cfg), num_accumulated=1, num_train=1, num_val=1)
        assert words in caplog.text
