import copy
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from config import load_cfg_text
from engine.compiling import is_compiled
from engine.distributed import World
from engine.learner import Learner, amp_dtype, build_learner, build_optimizer
from engine.objective import Target, build_objective
from engine.schedule import build_schedule
from models import build_model
from models.weights.released_tokshift import from_released, momentum_to_released, to_released
from tests.conftest import golden_names, released_words
from tests.one_batch import accumulate

CPU = torch.device("cpu")
WORLD = World(rank=0, size=1, local_rank=0, device=CPU)
# Two processes with half a batch each, two batches a step. Rank 0 also trains alone, on all of it.
DDP = """
import json, os, sys
import torch
from torch import nn
from engine.distributed import World, LaunchOptions, launch
from engine.learner import Learner
from engine.objective import Target
from tests.one_batch import accumulate

def train(world, clips, labels):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3)).double()
    learner = Learner(model, torch.optim.SGD(model.parameters(), 0.5, 0.9), world,
                      max_grad_norm=0.1, swa_epochs=range(1, 4))
    norms = []
    for step in range(3):
        for i in range(2):
            loss = Target(labels[i]).loss
            accumulate(learner, clips[i], loss, 0.5, is_last=i == 1)
        norms.append(learner.step().item())
        learner.end_epoch(step + 1)
    weights = [*model.parameters(), *learner.swa.module.parameters()]
    return [p.tolist() for p in weights], norms

def run(world, path):
    torch.manual_seed(1)
    clips, labels = torch.randn(2, 4, 6, dtype=torch.float64), torch.randint(3, (2, 4))
    mine = slice(2 * world.rank, 2 * world.rank + 2)
    together = train(world, clips[:, mine], labels[:, mine])
    alone = train(World(0, 1, 0, world.device), clips, labels)
    with open(f"{path}/{world.rank}.json", "w") as file:
        json.dump([together, alone], file)

if __name__ == "__main__":
    launch(run, LaunchOptions(), sys.argv[1])
"""


def toy_model(seed: int = 0, dtype: torch.dtype = torch.float64) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 8), nn.LayerNorm(8), nn.Linear(8, 3)).to(dtype)


def toy_batch(
    size: int = 4, seed: int = 1, dtype: torch.dtype = torch.float64
) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    clips = torch.randn(size, 6, generator=generator, dtype=dtype)
    return clips, torch.randint(3, (size,), generator=generator)


def toy_learner(seed: int = 0, dtype: torch.dtype = torch.float64, **kwargs: Any) -> Learner:
    model = toy_model(seed, dtype)
    return Learner(model, torch.optim.SGD(model.parameters(), 0.1, momentum=0.9), WORLD, **kwargs)


def train_step(learner: Learner, *batches: tuple[Tensor, Tensor]) -> Tensor:
    for i, (clips, labels) in enumerate(batches):
        is_last = i + 1 == len(batches)
        accumulate(learner, clips, Target(labels).loss, 1 / len(batches), is_last)
    return learner.step()


def max_difference(a: nn.Module, b: nn.Module) -> float:
    pairs = zip(a.parameters(), b.parameters(), strict=True)
    return max((p - q).abs().max().item() for p, q in pairs)


def cfg_of_trajectory(meta: dict[str, Any]) -> Any:
    return load_cfg_text(
        f"""
        NET: {meta["net"]}
        SHIFT_DIV: {meta["shift_div"]}
        NUM_CLASS: {meta["num_class"]}
        T_SIZE: {meta["T"]}
        TRN_PATCH_SIZE: {meta["img"]}
        EPOCH: {meta["epochs"]}
        LR: {meta["lr"]}
        LR_STEPS: {meta["milestones"]}
        MOMENTUM: {meta["momentum"]}
        WEIGHT_DECAY: {meta["weight_decay"]}
        CLIP_GD: {meta["clip_gd"]}
        GRADIENT_ACCUMULATION_STEPS: {meta["accumulation"]}
        BASE_NET: ViT-Ti_16
        """,
        "the trajectory's meta",
        ["LOSS.LABEL_SMOOTHING", str(meta["label_smoothing"]), *released_words(meta["arch"])],
    )


def released(data: dict[str, Any], prefix: str) -> dict[str, Tensor]:
    return {
        key.removeprefix(prefix): torch.from_numpy(array)
        for key, array in data.items()
        if key.startswith(prefix)
    }


def assert_near(ours: dict[str, Tensor], theirs: dict[str, Tensor], atol: float) -> None:
    assert theirs
    for name, expected in theirs.items():
        torch.testing.assert_close(ours[name], expected, atol=atol, rtol=0, msg=name)


# The release in float64 differs from its float32 record by 1.8e-6 in the loss and 3.4e-7 in the
# weights: losses within 1e-5 and weights within 5e-6 are equal up to float32 rounding. The learning
# rate is exact.
@pytest.mark.parametrize("name", golden_names("tokshift/g_traj_*.npz"))
def test_training_follows_the_released_trajectory(
    name: str, golden: Callable[[str], dict[str, Any]]
) -> None:
    data = golden(name)
    cfg = cfg_of_trajectory(data["meta"])
    group, B = cfg.TRAIN.ACCUMULATION, data["meta"]["batch"]
    model = build_model(cfg)
    model.load_state_dict(from_released(released(data, "init.")))
    model.train()
    learner = build_learner(cfg, model, WORLD)
    schedule = build_schedule(cfg)
    clips = torch.from_numpy(data["clips"]).float().split(B)
    labels = torch.from_numpy(data["labels"]).split(B)
    objective = build_objective(cfg)
    norms, head_biases = [], []
    for epoch in range(cfg.TRAIN.EPOCHS):
        assert schedule(epoch) == data["lr"][epoch]
        losses, hits = [], []
        for i in range(len(clips)):
            learner.set_rate(schedule(epoch + i / len(clips)))
            is_last = (i + 1) % group == 0 or i + 1 == len(clips)
            # the last, smaller group is divided by the full one's size: as released
            target = objective(labels[i])
            value, logits = accumulate(learner, clips[i], target.loss, 1 / group, is_last)
            losses.append(value.item())
            hits.append(100 * (logits.argmax(-1) == labels[i]).double().mean().item())
            if is_last:
                norms.append(learner.step().item())
                head_biases.append(model.get_parameter("head.bias").tolist())
        np.testing.assert_allclose(losses, data["loss"][epoch], atol=1e-5, rtol=0)
        np.testing.assert_allclose(hits, data["prec1"][epoch], atol=1e-4)  # float32 percents
        weights = to_released(model.state_dict())
        assert_near(weights, released(data, f"after_ep{epoch}."), atol=5e-6)
    assert_near(to_released(model.state_dict()), released(data, "final."), atol=5e-6)
    np.testing.assert_allclose(head_biases, data["head_bias_after_each_step"], atol=5e-6)
    assert len(norms) == data["steps_per_epoch"].sum()
    if cfg.OPTIM.CLIP_GRAD_NORM:  # relative: the norms are of order 10
        np.testing.assert_allclose(norms, data["grad_norm_preclip"], rtol=1e-5)
    states = momentum_to_released(learner.optimizer.state_dict()["state"], model)
    names = list(to_released(model.state_dict()))
    momentum = {names[index]: state["momentum_buffer"] for index, state in states.items()}
    # a buffer is a sum of up to six gradients, each good to 1e-5 of its largest entry
    for key, expected in released(data, "momentum.").items():
        atol = 1e-5 * expected.abs().max().item()
        torch.testing.assert_close(momentum[key], expected, atol=atol, rtol=0)


def test_one_step_worked_by_hand() -> None:
    model = nn.Linear(1, 2, bias=False).double()
    nn.init.zeros_(model.weight)
    learner = Learner(model, torch.optim.SGD(model.parameters(), 0.5), WORLD)
    clips, target = torch.ones(1, 1, dtype=torch.float64), Target(torch.tensor([0]))
    value, logits = accumulate(learner, clips, target.loss, 1.0, is_last=True)
    assert value.item() == pytest.approx(np.log(2))  # two classes, equal logits
    assert logits.tolist() == [[0, 0]]
    assert not value.requires_grad
    assert not logits.requires_grad
    # the gradient is probability minus target: (-1/2, 1/2)
    assert learner.step().item() == pytest.approx(np.sqrt(0.5))
    assert model.weight.flatten().tolist() == pytest.approx([0.25, -0.25])


def test_two_half_batches_equal_one_batch() -> None:
    clips, labels = toy_batch(8)
    halves, whole = toy_learner(), toy_learner()
    for _ in range(3):
        train_step(halves, (clips[:4], labels[:4]), (clips[4:], labels[4:]))
        train_step(whole, (clips, labels))
    # float64: only the order of sums differs
    assert max_difference(halves.model, whole.model) < 1e-14
    assert max_difference(halves.model, toy_model()) > 0.1


def test_gradients_do_not_outlive_their_step() -> None:
    learner = toy_learner()
    train_step(learner, toy_batch())
    assert all(parameter.grad is None for parameter in learner.model.parameters())


@pytest.mark.parametrize("limit", [0.01, 1e6, 0.0])
def test_step_returns_the_norm_before_the_limit_and_moves_by_no_more(limit: float) -> None:
    model = toy_model()
    learner = Learner(model, torch.optim.SGD(model.parameters(), 1.0), WORLD, max_grad_norm=limit)
    loss = F.cross_entropy(model(toy_batch()[0]), toy_batch()[1])
    grads = torch.autograd.grad(loss, list(model.parameters()))
    norm = torch.cat([grad.flatten() for grad in grads]).norm().item()
    before = nn.utils.parameters_to_vector(model.parameters()).detach()
    assert train_step(learner, toy_batch()).item() == pytest.approx(norm, rel=1e-12)  # float64
    moved = (nn.utils.parameters_to_vector(model.parameters()) - before).norm().item()
    # torch adds 1e-6 to the norm before it divides
    assert moved == pytest.approx(min(norm, limit or norm), rel=1e-5)


def test_set_rate_reaches_the_optimizer() -> None:
    learner = toy_learner()
    learner.set_rate(0.0)
    train_step(learner, toy_batch())
    assert max_difference(learner.model, toy_model()) == 0
    learner.set_rate(0.25)
    assert {group["lr"] for group in learner.optimizer.param_groups} == {0.25}


def test_average_of_the_weights_equals_a_hand_loop() -> None:
    learner, decay = toy_learner(ema_decay=0.75), 0.75
    average: list[Tensor] = []
    for step in range(4):
        train_step(learner, toy_batch(seed=step))
        weights = [parameter.detach().clone() for parameter in learner.model.parameters()]
        if not average:  # the average begins with the weights after the first step
            average = weights
        else:
            pairs = zip(average, weights, strict=True)
            average = [decay * mean + (1 - decay) * new for mean, new in pairs]
    for parameter, expected in zip(learner.evaluated.parameters(), average, strict=True):
        torch.testing.assert_close(parameter, expected, atol=1e-14, rtol=0)  # float64
    assert learner.evaluated is not learner.model
    assert max_difference(learner.evaluated, learner.model) > 1e-3


def test_without_average_the_model_itself_is_evaluated() -> None:
    learner = toy_learner()
    assert learner.evaluated is learner.model
    assert "ema" not in learner.state()


def test_mean_of_the_weights_equals_a_hand_loop_beside_the_moving_average() -> None:
    learner = toy_learner(ema_decay=0.75, swa_epochs=range(2, 8, 2))
    plain = toy_learner(ema_decay=0.75)
    taken: list[list[Tensor]] = []
    for epoch in range(1, 8):
        for one in (learner, plain):
            train_step(one, toy_batch(seed=epoch))
            one.end_epoch(epoch)
        if epoch in (2, 4, 6):
            taken.append([parameter.detach().clone() for parameter in learner.model.parameters()])
    assert learner.swa is not None
    assert learner.swa.n_averaged == 3
    for parameter, *weights in zip(learner.swa.module.parameters(), *taken, strict=True):
        expected = torch.stack(weights).mean(0)
        torch.testing.assert_close(parameter, expected, atol=1e-14, rtol=0)  # float64
    assert max_difference(learner.swa.module, learner.model) > 1e-3
    for ours, theirs in ((learner.model, plain.model), (learner.evaluated, plain.evaluated)):
        assert max_difference(ours, theirs) == 0  # the mean changes nothing else


def test_frozen_weights_stay_as_they_are_in_the_mean() -> None:
    model = toy_model(dtype=torch.float32)
    for parameter in model[0].parameters():
        parameter.requires_grad_(False)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], 0.1)
    learner = Learner(model, optimizer, WORLD, swa_epochs=range(1, 8))
    for epoch in range(1, 8):
        train_step(learner, toy_batch(seed=epoch, dtype=torch.float32))
        learner.end_epoch(epoch)
    assert learner.swa is not None
    assert max_difference(learner.swa.module[0], toy_model(dtype=torch.float32)[0]) == 0
    assert max_difference(learner.swa.module[2], model[2]) > 1e-3


def test_mean_is_kept_from_its_first_epoch_on() -> None:
    learner = toy_learner(swa_epochs=range(2, 4))
    learner.end_epoch(1)
    assert "swa" not in learner.state()
    learner.end_epoch(2)
    assert learner.state()["swa_epochs"] == [2]
    other = toy_learner()
    other.end_epoch(2)
    assert other.swa is None
    assert "swa" not in other.state()


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ("START_EPOCH: 0, LR: 0.05, CYCLE_EPOCHS: 2", []),
        ("START_EPOCH: 3", [3, 4, 5, 6, 7]),
        ("START_EPOCH: 7", [7]),
        ("START_EPOCH: 2, LR: 0.05, CYCLE_EPOCHS: 2", [2, 4, 6]),
    ],
)
def test_epochs_that_enter_the_mean_are_those_of_the_config(keys: str, expected: list[int]) -> None:
    cfg = load_cfg_text(f"TRAIN: {{EPOCHS: 7, SWA: {{{keys}}}}}", "test")
    learner = build_learner(cfg, toy_model(), WORLD)
    assert list(learner.swa_epochs) == expected
    assert (learner.swa is None) == (not expected)


@pytest.mark.parametrize(
    ("amp", "expected"), [("none", None), ("auto", torch.bfloat16), ("bf16", torch.bfloat16)]
)
def test_precision_on_the_cpu(amp: str, expected: torch.dtype | None) -> None:
    assert amp_dtype(amp, CPU) is expected


@pytest.mark.parametrize(
    ("has_bf16", "amp", "expected"),
    [
        (True, "auto", torch.bfloat16),
        (False, "auto", torch.float16),
        (True, "fp16", torch.float16),
        (True, "none", None),
    ],
)
def test_precision_on_a_gpu_is_bf16_where_it_has_it(
    has_bf16: bool,
    amp: str,
    expected: torch.dtype | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: has_bf16)
    assert amp_dtype(amp, torch.device("cuda", 0)) is expected


def test_fp16_on_the_cpu_is_an_error_that_says_what_to_choose() -> None:
    with pytest.raises(ValueError, match="fp16 needs a GPU; on the CPU choose bf16 or none"):
        toy_learner(amp="fp16")


def test_every_precision_of_the_config_is_known_here() -> None:
    from config.checks import CHOICES

    for amp in set(CHOICES["TRAIN.AMP"]) - {"fp16"}:
        toy_learner(amp=amp)


def test_bf16_computes_in_bf16_and_keeps_weights_and_loss_in_float32() -> None:
    plain = toy_learner(dtype=torch.float32)
    mixed = toy_learner(dtype=torch.float32, amp="bf16")
    clips, labels = toy_batch(dtype=torch.float32)
    values = []
    for learner in (plain, mixed):
        value, logits = accumulate(learner, clips, Target(labels).loss, 1.0, is_last=True)
        values.append(value)
    assert logits.dtype is torch.bfloat16
    assert value.dtype is torch.float32
    # bf16 keeps 8 bits: losses around 1 agree to some 1 %, and are not equal
    assert 0 < abs(values[0] - values[1]) < 0.05
    mixed.step()
    assert {parameter.dtype for parameter in mixed.model.parameters()} == {torch.float32}
    assert not mixed.scaler.is_enabled()


def test_compiled_model_trains_the_weights_of_the_plain_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    compiled, plain = (toy_learner(compiles=flag, swa_epochs=range(1, 2)) for flag in (True, False))
    assert is_compiled(compiled.model)
    assert compiled.swa is not None
    assert is_compiled(compiled.swa.module)
    for learner in (compiled, plain):
        train_step(learner, toy_batch())
        learner.end_epoch(1)
    assert max_difference(compiled.model, plain.model) < 1e-14  # float64
    for key in ("state_dict", "swa"):
        assert list(compiled.state()[key]) == list(plain.model.state_dict())


def resumed(learner: Learner, seed: int, **kwargs: Any) -> Learner:
    """Return another learner that took up the state of the first."""
    content = copy.deepcopy(learner.state())  # as a file would
    other = toy_learner(seed, **kwargs)
    other.model.load_state_dict(content["state_dict"])
    other.load_state(content["optimizer"]["state"], content)
    return other


def test_learner_goes_on_from_its_state_to_the_last_bit() -> None:
    averages: dict[str, Any] = {"ema_decay": 0.5, "swa_epochs": range(1, 5)}
    unbroken = toy_learner(**averages)
    for seed in (0, 1):
        train_step(unbroken, toy_batch(seed=seed))
        unbroken.end_epoch(seed + 1)
    broken = resumed(unbroken, seed=9, **averages)
    for seed in (2, 3):
        for learner in (unbroken, broken):
            train_step(learner, toy_batch(seed=seed))
            learner.end_epoch(seed + 1)
    assert max_difference(broken.model, unbroken.model) == 0
    assert max_difference(broken.evaluated, unbroken.evaluated) == 0
    assert broken.swa is not None
    assert unbroken.swa is not None
    assert max_difference(broken.swa.module, unbroken.swa.module) == 0
    assert broken.swa.n_averaged == 4


def test_settings_of_the_optimizer_stay_those_of_the_config() -> None:
    first = toy_learner()
    first.set_rate(0.001)
    train_step(first, toy_batch())
    second = resumed(first, seed=9)
    assert second.optimizer.param_groups[0]["lr"] == 0.1
    assert len(second.optimizer.state) == len(list(second.model.parameters()))


def test_average_that_a_checkpoint_lacks_starts_at_its_weights() -> None:
    first = toy_learner()
    train_step(first, toy_batch())
    second = resumed(first, seed=9, ema_decay=0.5)
    assert max_difference(second.evaluated, first.model) == 0


def test_optimizers_have_the_settings_of_the_config() -> None:
    text = "OPTIM: {NAME: %s, LR: 0.25, WEIGHT_DECAY: 0.125, MOMENTUM: 0.5, NESTEROV: True}"
    model = toy_model()
    sgd = build_optimizer(load_cfg_text(text % "sgd", "test"), model)
    assert isinstance(sgd, torch.optim.SGD)
    (group,) = sgd.param_groups
    names = ("lr", "weight_decay", "momentum", "nesterov", "dampening")
    assert [group[name] for name in names] == [0.25, 0.125, 0.5, True, 0]
    assert len(group["params"]) == len(list(model.parameters()))
    adamw = build_optimizer(
        load_cfg_text(text % "adamw", "test", ["OPTIM.BETAS", "[0.5, 0.75]"]), model
    )
    assert isinstance(adamw, torch.optim.AdamW)
    (group,) = adamw.param_groups
    assert (group["lr"], group["weight_decay"], list(group["betas"])) == (0.25, 0.125, [0.5, 0.75])


def test_learner_has_the_settings_of_the_config() -> None:
    text = "{TRAIN: {AMP: bf16, EMA_DECAY: 0.5}, OPTIM: {CLIP_GRAD_NORM: 2.0}}"
    learner = build_learner(load_cfg_text(text, "test"), toy_model(), WORLD)
    assert learner.amp_dtype is torch.bfloat16
    assert learner.max_grad_norm == 2
    assert learner.ema is not None
    assert learner.parallel is learner.model


@pytest.mark.ddp
def test_two_processes_train_like_one_on_twice_the_batch(
    tmp_path: Path, run_processes: Callable[..., None]
) -> None:
    run_processes(DDP, str(tmp_path), num=2, is_launched=True)
    results = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2)]
    (weights, norms), (weights_alone, norms_alone) = results[0]
    assert results[1][0] == results[0][0]  # both processes hold the same weights
    # float64: only the order of sums differs
    assert norms == pytest.approx(norms_alone, rel=1e-12)
    for ours, alone in zip(weights, weights_alone, strict=True):
        np.testing.assert_allclose(ours, alone, atol=1e-14)


def test_nothing_to_learn_changes_neither_gradients_nor_the_statistics_of_norms() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(0, 1), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(12, 2))
    learner = Learner(model, torch.optim.SGD(model.parameters(), 0.5), WORLD)
    model.train()
    buffers = copy.deepcopy(list(model.buffers()))
    learner.accumulate_nothing((4, 3, 2, 2), is_last=True)
    assert all(not parameter.grad.any() for parameter in model.parameters())
    assert all(map(torch.equal, buffers, model.buffers()))
    assert model.training


DDP_WITHOUT_CLIPS = """
import sys
import torch
from torch import nn
from engine.distributed import LaunchOptions, launch
from engine.learner import Learner
from tests.one_batch import accumulate

def run(world, path):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(0, 1), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(12, 2))
    learner = Learner(model, torch.optim.SGD(model.parameters(), 0.5), world)
    torch.manual_seed(1)
    clips = torch.randn(2, 4, 3, 2, 2)
    if world.rank == 0:
        accumulate(learner, clips, lambda logits: logits.square().mean(), 1.0, is_last=True)
    else:
        learner.accumulate_nothing((4, 3, 2, 2), is_last=True)
    torch.save([parameter.grad for parameter in model.parameters()], f"{path}/{world.rank}.pt")

if __name__ == "__main__":
    launch(run, LaunchOptions(), sys.argv[1])
"""


@pytest.mark.ddp
def test_process_without_a_clip_adds_zero_and_keeps_the_others_from_waiting(
    tmp_path: Path, run_processes: Callable[..., None]
) -> None:
    run_processes(DDP_WITHOUT_CLIPS, str(tmp_path), num=2, is_launched=True)
    ours, theirs = (torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1))
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(0, 1), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(12, 2))
    torch.manual_seed(1)
    model(torch.randn(2, 4, 3, 2, 2)).square().mean().backward()
    for gradient, other, parameter in zip(ours, theirs, model.parameters(), strict=True):
        torch.testing.assert_close(gradient, other, atol=0, rtol=0)
        # the mean over two processes, of which one adds nothing; float32
        torch.testing.assert_close(gradient, parameter.grad / 2, atol=1e-6, rtol=1e-5)


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_fused_steps_of_a_gpu_are_those_of_the_cpu(name: str) -> None:
    cfg = load_cfg_text(f"{{OPTIM: {{NAME: {name}, LR: 0.01}}}}", "cfg")
    trained = []
    for device in (CPU, torch.device("cuda")):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3)).to(device)
        learner = Learner(model, build_optimizer(cfg, model), World(0, 1, 0, device))
        assert bool(learner.optimizer.defaults["fused"]) == (device.type == "cuda")
        clips, labels = torch.randn(4, 6).to(device), torch.tensor([0, 1, 2, 0]).to(device)
        for _ in range(3):
            accumulate(learner, clips, Target(labels).loss, 1.0, is_last=True)
            learner.step()
        trained.append([parameter.cpu() for parameter in model.parameters()])
    for ours, expected in zip(*trained, strict=True):
        torch.testing.assert_close(ours, expected, atol=1e-5, rtol=1e-5)
