"""A TSM learns as the released one does: groups, learning rates, gradients, steps."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from yacs.config import CfgNode

from config import load_cfg_text
from engine.distributed import World
from engine.learner import Learner, build_learner, build_optimizer
from engine.objective import Target
from engine.parameter_groups import parameter_groups
from engine.resuming import best_of, resume
from engine.schedule import build_schedule
from models import build_model
from models.pretrained import load_weights
from models.resnet_tsm import ResNetTSM, TSMOptions
from models.weights.paddle import tsm_from_paddle
from tests.conftest import golden_content, paddle_names
from tests.models.conftest import tsm_words
from tests.one_batch import accumulate

POLICIES = golden_content("tsm/train/policies.json")
RATES = golden_content("tsm/train/lr.json")
RUNS = golden_content("tsm/train/train.json")


def config(*overrides: str) -> CfgNode:
    """A small TSM; the release's settings for its training."""
    text = """
        MODEL: {NAME: tsm, BACKBONE: resnet18, NUM_CLASSES: 27, TSM: {DROPOUT: 0.0}}
        OPTIM: {GROUPS: tsm, MILESTONES: [2], CLIP_GRAD_NORM: 20.0}
        LOSS: {LABEL_SMOOTHING: 0.0}
    """
    return load_cfg_text(text, "the test", overrides)


@pytest.fixture
def world() -> World:
    return World(rank=0, size=1, local_rank=0, device=torch.device("cpu"))


@pytest.mark.parametrize("key", POLICIES)
def test_groups_of_the_release_name_by_name(
    key: str, golden_json: Callable, official: Callable
) -> None:
    facts, setting = golden_json("tsm/train/policies.json")[key], json.loads(key)
    with torch.device("meta"):
        model = released_tsm(setting["arch"], setting, num_classes=5)
    groups = parameter_groups(model, "tsm", 1.0, boosts_head=setting["fc_lr5"])
    names = {id(p): official(name, model) for name, p in model.named_parameters()}
    assert [group["name"] for group in groups] == [group["name"] for group in facts["groups"]]
    for ours, theirs in zip(groups, facts["groups"], strict=True):
        assert [names[id(parameter)] for parameter in ours["params"]] == theirs["params"]
        assert (ours["lr_mult"], ours["weight_decay"]) == (theirs["lr_mult"], theirs["decay_mult"])
    grouped = {id(parameter) for group in groups for parameter in group["params"]}
    left = [name for key, name in names.items() if key not in grouped]
    assert sorted(left) == sorted(facts["not_in_optimizer"])
    model.train()
    frozen = {names[id(p)] for p in model.parameters() if not p.requires_grad}
    assert frozen == set(facts["requires_grad_false_after_train"])
    still = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d) and not m.training]
    in_eval = facts["bn_in_eval_after_train"]
    assert len(still) == (in_eval if isinstance(in_eval, int) else len(in_eval))


def test_flow_learns_its_first_convolution_faster() -> None:
    with torch.device("meta"):
        model = ResNetTSM(18, 5, options=TSMOptions(modality="Flow"))
    groups = {g["name"]: g for g in parameter_groups(model, "tsm", 5e-4, is_flow=True)}
    assert groups["first_conv_weight"]["lr_mult"] == 5
    assert groups["first_conv_bias"]["lr_mult"] == 10


def test_non_local_norms_learn_under_partial_bn() -> None:
    """The release leaves them out of its optimizer, where the block stays the identity."""
    with torch.device("meta"):
        model = ResNetTSM(50, 5, options=TSMOptions(partial_bn=True, non_local=True))
    groups = {g["name"]: g["params"] for g in parameter_groups(model, "tsm", 1e-4)}
    assert len(groups["BN scale/shift"]) == 2 + 2 * 5
    assert len(groups["normal_bias"]) == 4 * 5


def test_a_parameter_without_a_rule_is_an_error() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, kernel_size=1), nn.LayerNorm(4))
    with pytest.raises(
        ValueError, match=r"OPTIM\.GROUPS tsm is for .* no rule for 1\.weight, 1\.bias;"
    ):
        parameter_groups(model, "tsm", 0.0)
    with pytest.raises(ValueError, match="one of"):
        parameter_groups(model, "mit", 0.0)


@pytest.mark.parametrize("name", RATES)
def test_learning_rates_of_the_release_exactly(
    name: str, golden_json: Callable, world: World
) -> None:
    facts = golden_json("tsm/train/lr.json")[name]
    schedule = ["cosine", "OPTIM.COSINE_PER_EPOCH", "True"]
    cfg = config(
        *("OPTIM.LR", str(facts["lr"]), "OPTIM.WEIGHT_DECAY", str(facts["wd"])),
        *("OPTIM.MILESTONES", str(facts["lr_steps"]), "TRAIN.EPOCHS", str(facts["epochs"])),
        *("OPTIM.SCHEDULE", *(schedule if facts["lr_type"] == "cos" else ["multistep"])),
        *("MODEL.TSM.LAYERS", "[1, 1, 1, 1]", "MODEL.TSM.WIDTH", "4"),
    )
    model = build_model(cfg)
    learner = Learner(model, build_optimizer(cfg, model), world)
    rate = build_schedule(cfg)
    groups = {group["name"]: group for group in learner.optimizer.param_groups}
    in_order = ["normal_weight", "normal_bias", "lr5_weight", "lr10_bias", "BN scale/shift"]
    for epoch, *rates, decayed, undecayed in facts["rows"]:
        learner.set_rate(rate(epoch + 0.5))  # the same all through the epoch
        assert [groups[group]["lr"] for group in in_order] == rates
        assert groups["normal_weight"]["weight_decay"] == decayed
        assert groups["normal_bias"]["weight_decay"] == undecayed


def released_tsm(arch: str, kwargs: dict[str, Any], num_classes: int) -> ResNetTSM:
    """Build the model of the release's arguments; what they leave out is its default."""
    return ResNetTSM(
        int(arch.removeprefix("resnet")),
        num_classes,
        kwargs.get("shift_div", 8) if kwargs.get("is_shift", True) else 0,
        kwargs.get("shift_place", "blockres"),
        TSMOptions(dropout=0.0, partial_bn=kwargs.get("partial_bn", True)),
    )


@pytest.mark.parametrize("name", RUNS.get("gradients", []))
def test_gradients_of_the_release(
    name: str,
    golden: Callable,
    golden_json: Callable,
    filled_like: Callable,
    normalised: Callable,
    official: Callable,
) -> None:
    arrays = golden("tsm/train/train.npz")
    facts = golden_json("tsm/train/train.json")["gradients"][name]
    expected = arrays[f"{name}.logits"]
    model = filled_like(released_tsm(facts["arch"], facts["kwargs"], expected.shape[-1]))
    model.train(facts["mode"] == "train")
    clips, labels = normalised(arrays[f"{name}.clip_u8"]), torch.tensor(facts["labels"])
    # float32 noise, measured by the golden's float64 columns; doubled, ours has its own
    atol = 2 * facts["max_abs_logit_fp32_vs_fp64"] + 1e-5
    logits = copy.deepcopy(model)(clips)
    np.testing.assert_allclose(logits.detach(), expected, rtol=0, atol=atol)
    assert F.cross_entropy(logits, labels).item() == pytest.approx(facts["loss"], abs=1e-4)
    # In float32 the norms are good to 1e-4 or 3e-3, whichever kernels the machine has; in float64
    # ours and theirs are alike.
    F.cross_entropy(model.double()(clips.double()), labels).backward()
    gradients = {official(n, model): p.grad for n, p in model.named_parameters()}
    assert {n for n, gradient in gradients.items() if gradient is None} == set(facts["no_grad"])
    for parameter, norm in facts["grad_norms_fp64"].items():
        assert gradients[parameter].norm().item() == pytest.approx(norm, rel=1e-6), parameter


@pytest.mark.parametrize("name", RUNS.get("sgd", []))
def test_steps_of_the_release(
    name: str,
    golden: Callable,
    golden_json: Callable,
    filled_like: Callable,
    normalised: Callable,
    official: Callable,
    world: World,
) -> None:
    arrays = golden("tsm/train/train.npz")
    facts = golden_json("tsm/train/train.json")["sgd"][name]
    kwargs, num_classes = facts["kwargs"], len(facts["logits_eval_after_first_batch"][0])
    cfg = config(
        *("OPTIM.LR", str(facts["lr"]), "OPTIM.WEIGHT_DECAY", str(facts["wd"])),
        *("OPTIM.MILESTONES", str(facts["lr_steps"]), "OPTIM.CLIP_GRAD_NORM", str(facts["clip"])),
        *("OPTIM.BOOSTS_HEAD", str(facts["fc_lr5"]), "MODEL.BACKBONE", facts["arch"]),
    )
    model = filled_like(released_tsm(facts["arch"], kwargs, num_classes)).double()
    start = {name: p.detach().clone() for name, p in model.named_parameters()}
    learner, rate = build_learner(cfg, model, world), build_schedule(cfg)
    clips, labels = normalised(arrays[f"{name}.clip_u8"]).double(), torch.tensor(facts["labels"])
    N = facts["N"]
    model.train()
    for step, expected in enumerate(facts["steps_fp64"]):
        learner.set_rate(rate(step))
        batch = slice(step * N, (step + 1) * N)
        loss, _ = accumulate(learner, clips[batch], Target(labels[batch]).loss, 1.0, True)
        assert loss.item() == pytest.approx(expected["loss"], rel=1e-6), step
        assert learner.step().item() == pytest.approx(expected["pre_clip_norm"], rel=1e-6), step
    for key, parameter in model.named_parameters():
        there = official(key, model)
        moved = facts["param_norms_after_fp64"][there]
        assert parameter.norm().item() == pytest.approx(moved, rel=1e-6), key
        update = (parameter.detach() - start[key]).norm().item()
        # on record in float32 alone: it goes with the gradient, whose noise is up to 3e-3 (README)
        assert update == pytest.approx(facts["delta_norms"][there], rel=0.02, abs=1e-6), key


@pytest.mark.parametrize("name", paddle_names("Recognizer2D", "optim.npz"))
def test_paddle_steps(
    name: str, golden: Callable, golden_json: Callable, golden_path: Callable, world: World
) -> None:
    folder = f"paddlevideo/models/{name}"
    arrays, steps = golden(f"{folder}/io.npz"), golden(f"{folder}/optim.npz")
    paddle = golden_json(f"{folder}/config.json")
    backbone, optimizer = paddle["model"]["backbone"], paddle["optimizer"]
    rates = optimizer["learning_rate"]
    gamma = rates["values"][1] / rates["values"][0]
    cfg = config(
        *("MODEL.BACKBONE", "resnet50", "MODEL.TSM.LAYERS", str(backbone["layers"])),
        *("MODEL.TSM.WIDTH", str(backbone["width"]), "MODEL.TSM.ORDER", "past_first"),
        *("MODEL.NUM_CLASSES", str(paddle["model"]["head"]["num_classes"])),
        *("MODEL.TSM.RATIO", str(1 / backbone["num_seg"]), "OPTIM.GROUPS", "paddle"),
        *("OPTIM.LR", str(rates["values"][0]), "OPTIM.MILESTONES", str(rates["boundaries"])),
        *("OPTIM.GAMMA", str(gamma), "OPTIM.MOMENTUM", str(optimizer["momentum"])),
        *("OPTIM.WEIGHT_DECAY", str(optimizer.get("weight_decay", {}).get("value", 0.0))),
        *("OPTIM.CLIP_GRAD_NORM", str(optimizer["grad_clip"]["value"])),
    )
    model = build_model(cfg)
    weights = golden_path(f"{folder}/weights.pdparams")
    load_weights(model, weights, head_may_differ=False)
    learner, rate = build_learner(cfg, model, world), build_schedule(cfg)
    model.train()
    clips, labels = torch.from_numpy(arrays["x"]), torch.from_numpy(arrays["y"])[:, 0]
    for step, expected in enumerate(steps["lrs"]):
        learner.set_rate(rate(step))
        assert rate(step) == pytest.approx(expected, rel=1e-12)
        loss, _ = accumulate(learner, clips, Target(labels).loss, 1.0, True)
        norm = learner.step()
        # batch statistics of tiny maps: gradients differ by up to 1e-3 between frameworks
        assert loss.item() == pytest.approx(float(steps["losses"][step]), rel=1e-3, abs=1e-3)
        assert norm.item() == pytest.approx(float(steps["grad_norms"][step]), rel=5e-3)
        own = dict(model.named_parameters())
        prefix = f"step{step + 1}/"
        for key in (key for key in steps if key.startswith(prefix)):
            [(ours, theirs)] = tsm_from_paddle({key.removeprefix(prefix): steps[key]}).items()
            torch.testing.assert_close(own[ours].detach(), theirs, rtol=0, atol=1e-4)


def test_release_checkpoint_is_resumed_with_its_momentum(
    golden_path: Callable, golden_json: Callable, world: World
) -> None:
    path = golden_path("tsm/e2e/ckpt.pth.tar")
    cfg = config(
        *("MODEL.BACKBONE", "resnet50", "MODEL.PARTIAL_BN", "True"),
        *tsm_words(golden_json("tsm/e2e/ckpt_keys.json")),
    )
    learner = build_learner(cfg, build_model(cfg), world)
    content = torch.load(path, weights_only=False)
    assert best_of(resume(learner, str(path), world)) == content["best_prec1"]
    names = list(content["state_dict"])
    states = learner.optimizer.state_dict()["state"]
    momentum = {
        id(p): learner.optimizer.state[p]["momentum_buffer"] for p in learner.optimizer.state
    }
    assert len(states) == len(content["optimizer"]["state"])
    head = momentum[id(learner.model.fc.weight)]
    groups = {group["name"]: group for group in content["optimizer"]["param_groups"]}
    [index] = groups["lr5_weight"]["params"]
    assert torch.equal(head, content["optimizer"]["state"][index]["momentum_buffer"])
    assert any("new_fc" in name for name in names)


def test_resuming_with_other_groups_is_an_error(world: World, tmp_path: Path) -> None:
    small = ("MODEL.TSM.LAYERS", "[1, 1, 1, 1]", "MODEL.TSM.WIDTH", "4")
    cfg = config(*small)
    model = build_model(cfg)
    content = build_learner(cfg, model, world).state() | {"epoch": 1}
    torch.save(content, tmp_path / "last.pth")
    other = config(*small, "OPTIM.GROUPS", "one")
    with pytest.raises(ValueError, match=r"--resume needs the OPTIM\.GROUPS"):
        resume(build_learner(other, build_model(other), world), str(tmp_path / "last.pth"), world)


@pytest.mark.parametrize(
    ("overrides", "text"),
    [
        (("MODEL.BACKBONE", "ViT-B_16"), "for tsm choose one of"),
        (("MODEL.TSM.PLACEMENT", "stageres"), r"MODEL\.TSM\.PLACEMENT='stageres'"),
        (("MODEL.TSM.OP", "blend", "MODEL.TSM.PLACEMENT", "block"), "for MODEL.TSM.OP shift alone"),
        (("MODEL.TSM.TEMPORAL_POOL", "True", "DATA.NUM_FRAMES", "5"), "DATA.NUM_FRAMES=5"),
        (("MODEL.TSM.LAYERS", "[1, 2]"), "four counts"),
        (("MODEL.TSM.FOLD_DIV", "0"), "at least 1"),
        (("MODEL.DROP_PATH", "0.1"), "MODEL.DROP_PATH is for transformers"),
        (("TRAIN.CHECKPOINT_LAYOUT", "released"), "for tsm choose 'plain'"),
    ],
)
def test_configs_that_cannot_work_are_refused(overrides: tuple[str, ...], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        config(*overrides)


def test_config_builds_what_it_says() -> None:
    model = build_model(config("MODEL.TSM.SHIFT", "False"))
    assert model.describe_time() == "no temporal shift in any of 8 blocks (TSN)"
    model = build_model(config("MODEL.TSM.FOLD_DIV", "4", "MODEL.TSM.DIRECTION", "past"))
    assert model.describe_time() == (
        "shift (blockres) in 8 of 8 blocks, from the past alone, 1/4 of the channels one way: "
        "16 of 64 to 128 of 512"
    )
