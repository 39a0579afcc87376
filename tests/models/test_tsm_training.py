"""A TSM learns as the released one does: groups, learning rates, gradients, steps."""

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
from engine.checkpoints import resume
from engine.distributed import World
from engine.learner import Learner, build_learner, build_optimizer
from engine.objective import Target
from engine.parameter_groups import parameter_groups
from engine.schedule import build_schedule
from models import build_model
from models.pretrained import load_weights
from models.resnet_tsm import ResNetTSM, TSMOptions
from models.weights.paddle import tsm_from_paddle
from tests.one_batch import accumulate

POLICIES = [
    '{"arch": "resnet50", "fc_lr5": true, "partial_bn": true}',
    '{"arch": "resnet50", "fc_lr5": true, "partial_bn": false}',
    '{"arch": "resnet50", "fc_lr5": false, "partial_bn": true}',
    '{"arch": "resnet50", "fc_lr5": false, "partial_bn": false}',
    '{"arch": "resnet18", "fc_lr5": true, "partial_bn": false}',
]


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
    options = TSMOptions(partial_bn=setting["partial_bn"])
    depth = int(setting["arch"].removeprefix("resnet"))
    num_classes = 27
    with torch.device("meta"):
        model = ResNetTSM(depth, num_classes, options=options)
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


@pytest.mark.parametrize("name", ["kinetics_8f", "ucf_finetune", "cos50"])
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


def golden_model(facts: dict[str, Any]) -> ResNetTSM:
    kwargs = facts["kwargs"]
    options = TSMOptions(dropout=0.0, partial_bn=kwargs["partial_bn"])
    return ResNetTSM(
        int(facts["arch"].removeprefix("resnet")),
        27,
        kwargs.get("shift_div", 8),
        kwargs.get("shift_place", "blockres"),
        options,
    )


@pytest.mark.parametrize(
    "name", ["r50_eval", "r50_train", "r50_train_pbn", "r50_block4_eval", "r18_train"]
)
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
    model = filled_like(golden_model(facts)).train(facts["mode"] == "train")
    logits = model(normalised(arrays[f"{name}.clip_u8"]))
    loss = F.cross_entropy(logits, torch.tensor(facts["labels"]))
    loss.backward()
    # float32 noise, measured by the golden's float64 columns; doubled, ours has its own
    atol = 2 * facts["max_abs_logit_fp32_vs_fp64"] + 1e-5
    np.testing.assert_allclose(logits.detach(), arrays[f"{name}.logits"], rtol=0, atol=atol)
    assert loss.item() == pytest.approx(facts["loss"], abs=1e-4)
    rtol = 2 * facts["max_rel_fp32_vs_fp64_grad_norm"]
    gradients = {official(n, model): p.grad for n, p in model.named_parameters()}
    assert {n for n, gradient in gradients.items() if gradient is None} == set(facts["no_grad"])
    for parameter, norm in facts["grad_norms_fp64"].items():
        assert gradients[parameter].norm().item() == pytest.approx(norm, rel=rtol), parameter


@pytest.mark.parametrize("name", ["r18_3steps", "r18_clip_binding", "r50_2steps"])
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
    cfg = config(
        *("OPTIM.LR", str(facts["lr"]), "OPTIM.WEIGHT_DECAY", str(facts["wd"])),
        *("OPTIM.MILESTONES", str(facts["lr_steps"]), "OPTIM.CLIP_GRAD_NORM", str(facts["clip"])),
        *("OPTIM.BOOSTS_HEAD", str(facts["fc_lr5"]), "MODEL.BACKBONE", facts["arch"]),
        *("MODEL.PARTIAL_BN", str(facts["kwargs"]["partial_bn"])),
    )
    model = filled_like(build_model(cfg))
    start = {name: p.detach().clone() for name, p in model.named_parameters()}
    learner, rate = build_learner(cfg, model, world), build_schedule(cfg)
    clips, labels = normalised(arrays[f"{name}.clip_u8"]), torch.tensor(facts["labels"])
    N = facts["N"]
    model.train()
    pairs = zip(facts["steps"], facts["steps_fp64"], strict=True)
    for step, (fp32, fp64) in enumerate(pairs):
        learner.set_rate(rate(step))
        batch = slice(step * N, (step + 1) * N)
        loss, _ = accumulate(learner, clips[batch], Target(labels[batch]).loss, 1.0, True)
        norm = learner.step()
        for ours, key in ((loss, "loss"), (norm, "pre_clip_norm")):
            noise = abs(fp32[key] - fp64[key]) + 1e-4 * abs(fp64[key])
            assert ours.item() == pytest.approx(fp64[key], abs=2 * noise), (step, key)
    moved = facts["param_norms_after_fp64"]
    for key, parameter in model.named_parameters():
        there = official(key, model)
        noise = abs(facts["param_norms_after"][there] - moved[there]) + 1e-6
        assert parameter.norm().item() == pytest.approx(moved[there], abs=4 * noise, rel=1e-5)
        update = (parameter.detach() - start[key]).norm().item()
        # the update goes with the gradient, whose noise is up to 3e-3 (README), over all steps
        assert update == pytest.approx(facts["delta_norms"][there], rel=0.02, abs=1e-6), key


def test_paddle_steps(
    golden: Callable, golden_root: Path, golden_json: Callable, world: World
) -> None:
    name = "paddlevideo/models/tsm_mini_b_4f_nowd"
    arrays, steps = golden(f"{name}/io.npz"), golden(f"{name}/optim.npz")
    paddle = golden_json(f"{name}/config.json")
    cfg = config(
        *("MODEL.BACKBONE", "resnet50", "MODEL.TSM.LAYERS", "[2, 1, 1, 1]"),
        *("MODEL.TSM.WIDTH", "12", "MODEL.NUM_CLASSES", "5", "MODEL.TSM.RATIO", "0.25"),
        *("MODEL.TSM.ORDER", "past_first", "OPTIM.GROUPS", "paddle", "OPTIM.LR", "0.02"),
        *("OPTIM.MILESTONES", "[1, 2]", "OPTIM.CLIP_GRAD_NORM", "1.0"),
    )
    assert "weight_decay" not in paddle["optimizer"]
    model = build_model(cfg)
    load_weights(model, golden_root / name / "weights.pdparams", head_may_differ=False)
    learner, rate = build_learner(cfg, model, world), build_schedule(cfg)
    model.train()
    clips, labels = torch.from_numpy(arrays["x"]), torch.from_numpy(arrays["y"])[:, 0]
    for step in range(3):
        learner.set_rate(rate(step))
        assert rate(step) == pytest.approx(steps["lrs"][step], rel=1e-12)
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


def test_release_checkpoint_is_resumed_with_its_momentum(golden_root: Path, world: World) -> None:
    path = golden_root / "tsm/e2e/ckpt.pth.tar"
    if not path.exists():
        pytest.skip("tsm/e2e/ckpt.pth.tar is not in the part of the golden data that is here")
    tiny = ("MODEL.BACKBONE", "resnet50", "MODEL.TSM.LAYERS", "[2, 2, 2, 2]")
    cfg = config(
        *tiny, "MODEL.TSM.WIDTH", "8", "MODEL.NUM_CLASSES", "6", *("MODEL.PARTIAL_BN", "True")
    )
    learner = build_learner(cfg, build_model(cfg), world)
    assert resume(learner, str(path), world) == (3, 0.0)
    content = torch.load(path, weights_only=False)
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
