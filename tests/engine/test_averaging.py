import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from engine.averaging import update_statistics
from engine.distributed import World
from models.resnet_tsm import ResNetTSM, TSMOptions

WORLD = World(rank=0, size=1, local_rank=0, device=torch.device("cpu"))
# Each of two processes sees half of the batches; rank 0 also sees all of them, alone.
DDP = """
import json, sys
import torch
from torch import nn
from engine.averaging import update_statistics
from engine.distributed import World, LaunchOptions, launch

def statistics(norm):
    return [norm.running_mean.tolist(), norm.running_var.tolist(), int(norm.num_batches_tracked)]

def run(world, path):
    torch.manual_seed(0)
    batches = torch.randn(6, 4, 5, dtype=torch.float64)
    model = nn.BatchNorm1d(5).double()
    update_statistics(model, batches[world.rank :: 2], world)
    with open(f"{path}/{world.rank}.json", "w") as file:
        json.dump(statistics(model), file)

if __name__ == "__main__":
    launch(run, LaunchOptions(), sys.argv[1])
"""


def small_tsm(is_partial: bool = False) -> ResNetTSM:
    torch.manual_seed(0)
    options = TSMOptions(layers=(1, 1, 1, 1), width=4, partial_bn=is_partial, non_local=True)
    model = ResNetTSM(18, num_classes=3, options=options)
    for norm in norms_of(model):
        nn.init.normal_(norm.running_mean)
        nn.init.uniform_(norm.running_var, 0.5, 2.0)
    return model


def norms_of(model: nn.Module) -> list[nn.BatchNorm2d]:
    return [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]


def clips(num_batches: int = 3) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(2, 4, 3, 32, 32, generator=generator) for _ in range(num_batches)]


def buffers(model: nn.Module) -> dict[str, Tensor]:
    return {name: buffer.clone() for name, buffer in model.named_buffers()}


def test_statistics_worked_by_hand() -> None:
    model = nn.BatchNorm1d(1)
    update_statistics(model, [torch.tensor([[1.0], [3.0]]), torch.tensor([[0.0], [8.0]])], WORLD)
    assert model.running_mean.tolist() == [3]  # of 2 and 4
    assert model.running_var.tolist() == [17]  # of the unbiased 2 and 32
    assert model.num_batches_tracked == 2


def test_statistics_of_a_tsm_equal_a_pass_by_hand() -> None:
    model = small_tsm()
    seen: dict[nn.Module, list[Tensor]] = {norm: [] for norm in norms_of(model)}
    reference = copy.deepcopy(model).train()  # in training, a norm does not use its statistics
    for norm, inputs in zip(norms_of(reference), seen.values(), strict=True):
        norm.register_forward_pre_hook(lambda _, args, inputs=inputs: inputs.append(args[0]))
    with torch.no_grad():
        for batch in clips():
            reference(batch)
    update_statistics(model, clips(), WORLD)
    for norm, inputs in seen.items():
        assert len(inputs) == 3
        mean = torch.stack([x.mean((0, 2, 3)) for x in inputs]).mean(0)
        variance = torch.stack([x.var((0, 2, 3)) for x in inputs]).mean(0)
        # float32 means in another order, of maps of order 1
        torch.testing.assert_close(norm.running_mean, mean, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(norm.running_var, variance, atol=1e-5, rtol=1e-5)


def test_statistics_equal_torch_s_update_bn() -> None:
    ours, theirs = small_tsm(), small_tsm()
    update_statistics(ours, clips(), WORLD)
    update_bn(clips(), theirs)
    for name, expected in buffers(theirs).items():
        assert torch.equal(buffers(ours)[name], expected), name


def test_norms_that_partial_bn_froze_keep_their_statistics() -> None:
    model = small_tsm(is_partial=True)
    before = [buffers(norm) for norm in norms_of(model)]
    model.train()
    frozen = [not norm.training for norm in norms_of(model)]
    assert 0 < sum(frozen) < len(frozen)
    update_statistics(model, clips(), WORLD)
    for norm, old, is_frozen in zip(norms_of(model), before, frozen, strict=True):
        assert torch.equal(norm.running_mean, old["running_mean"]) == is_frozen


@pytest.mark.parametrize("is_training", [True, False])
def test_model_is_left_as_it_was(is_training: bool) -> None:
    model = small_tsm().train(is_training)
    norms_of(model)[1].momentum = 0.25
    weights = copy.deepcopy(dict(model.named_parameters()))
    update_statistics(model, clips(1), WORLD)
    assert model.training == is_training
    assert {module.training for module in norms_of(model)} == {is_training}
    assert [norm.momentum for norm in norms_of(model)][:3] == [0.1, 0.25, 0.1]
    for name, weight in model.named_parameters():
        assert torch.equal(weight, weights[name])
        assert weight.grad is None


def test_model_without_norms_looks_at_no_clip() -> None:
    def none() -> Iterator[Tensor]:
        raise AssertionError("a clip is loaded for nothing")
        yield

    update_statistics(nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2)), none(), WORLD)


@pytest.mark.ddp
def test_two_processes_have_the_statistics_of_all_their_batches(
    tmp_path: Path, run_processes: Callable[..., None]
) -> None:
    run_processes(DDP, str(tmp_path), num=2, is_launched=True)
    torch.manual_seed(0)
    batches = torch.randn(6, 4, 5, dtype=torch.float64)
    alone = nn.BatchNorm1d(5).double()
    update_statistics(alone, batches, WORLD)
    for rank in range(2):
        mean, variance, count = json.loads((tmp_path / f"{rank}.json").read_text())
        # float64: only the order of sums differs
        assert mean == pytest.approx(alone.running_mean.tolist(), rel=1e-12, abs=1e-14)
        assert variance == pytest.approx(alone.running_var.tolist(), rel=1e-12)
        assert count == 6
