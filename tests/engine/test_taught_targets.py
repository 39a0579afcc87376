"""The targets of `engine.objective` that a teacher has a part in."""

import math

import pytest
import torch
from torch import Tensor

from config import load_cfg_text
from engine.objective import MutualTarget, Objective, Target, TaughtTarget, build_objective
from ops.losses import dml_loss, kd_loss, soften
from ops.mixing import Mix

LABELS = torch.tensor([0, 2, 1])
MIX = Mix(torch.tensor([1, 2, 0]), 0.75)


def random_logits(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize("mix", [None, MIX])
def test_labels_and_teacher_share_the_loss(mix: Mix | None) -> None:
    logits, answers = random_logits(3, 4), soften(random_logits(3, 4).flip(0), 2.0)
    objective = Objective(0.1, teacher_weight=0.25, temperature=2.0)
    target = objective(LABELS, mix, answers)
    own = Target(LABELS, 0.1, mix)
    expected = 0.75 * own.loss(logits) + 0.25 * kd_loss(logits, answers, 2.0)
    assert target.loss(logits).item() == pytest.approx(expected.item(), rel=1e-14)
    assert torch.equal(target.hits(logits), own.hits(logits))


def test_taught_loss_by_hand() -> None:
    # the student says (1/2, 1/2) of label 0; the teacher, at temperature 1, (1/4, 3/4)
    target = TaughtTarget(
        Target(torch.tensor([0])), torch.tensor([[0.25, 0.75]]), weight=0.5, temperature=1.0
    )
    divergence = 0.25 * math.log(0.5) + 0.75 * math.log(1.5)
    expected = 0.5 * math.log(2) + 0.5 * divergence
    assert target.loss(torch.zeros(1, 2)).item() == pytest.approx(expected, rel=1e-6)


def test_teacher_of_weight_zero_is_none_to_the_last_bit() -> None:
    logits = random_logits(3, 4).float().requires_grad_()
    answers = soften(torch.randn(3, 4), 2.0)
    gradients = []
    for target in (
        Objective(0.1, temperature=2.0)(LABELS, MIX, answers),
        Objective(0.1)(LABELS, MIX),
    ):
        gradients.append(torch.autograd.grad(target.loss(logits), logits)[0])
    assert torch.equal(*gradients)


def test_teacher_of_weight_one_leaves_the_labels_out() -> None:
    logits, answers = random_logits(3, 4), soften(random_logits(3, 4).flip(0), 2.0)
    objective = Objective(0.1, teacher_weight=1.0, temperature=2.0)
    losses = [objective(labels, None, answers).loss(logits) for labels in (LABELS, LABELS.flip(0))]
    assert torch.equal(losses[0], losses[1])


@pytest.mark.parametrize("mix", [None, MIX])
def test_two_models_have_both_losses_and_what_they_differ_by(mix: Mix | None) -> None:
    both = random_logits(2, 3, 4)
    target = Objective(0.1, is_mutual=True, teacher_weight=0.5)(LABELS, mix)
    own = Target(LABELS, 0.1, mix)
    expected = own.loss(both[0]) + own.loss(both[1]) + 0.5 * dml_loss(both[0], both[1])
    assert isinstance(target, MutualTarget)
    assert target.loss(both).item() == pytest.approx(expected.item(), rel=1e-14)
    assert torch.equal(target.hits(both), own.hits(both[0]))  # the student's


def test_mutual_loss_by_hand() -> None:
    # (1/2, 1/2) and (1/4, 3/4) of label 1: log 2 + log(4/3) + log(3) / 8
    both = torch.tensor([[[0.0, 0.0]], [[0.0, math.log(3.0)]]])
    expected = math.log(2) + math.log(4 / 3) + math.log(3) / 8
    target = Objective(is_mutual=True, teacher_weight=1.0)(torch.tensor([1]))
    assert target.loss(both).item() == pytest.approx(expected, rel=1e-6)


def test_objective_follows_the_config() -> None:
    words = ["DISTILL.LOSS", "dml", "DISTILL.TEACHER_CFG", "t.yml", "DISTILL.WEIGHT", "2.0"]
    mutual = build_objective(load_cfg_text("", "test", words))
    assert (mutual.is_mutual, mutual.teacher_weight) == (True, 2.0)
    words = ["DISTILL.TEACHER", "t.pth", "DISTILL.WEIGHT", "0.9", "DISTILL.TEMPERATURE", "3.0"]
    taught = build_objective(load_cfg_text("", "test", words))
    assert (taught.is_mutual, taught.teacher_weight, taught.temperature) == (False, 0.9, 3.0)
