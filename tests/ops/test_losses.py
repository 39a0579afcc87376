import math

import pytest
import torch
from torch import Tensor

from ops.losses import dml_loss, kd_loss, multi_label_loss, soften


def random_logits(B: int = 5, K: int = 7, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    draw = lambda: 3 * torch.randn(B, K, generator=generator, dtype=torch.float64)  # noqa: E731
    return draw(), draw()


# Softened probabilities


def test_softened_probabilities_by_hand() -> None:
    logits = torch.tensor([[0.0, 2 * math.log(3.0)]])
    torch.testing.assert_close(soften(logits, 1.0), torch.tensor([[0.1, 0.9]]))
    torch.testing.assert_close(soften(logits, 2.0), torch.tensor([[0.25, 0.75]]))


def test_half_precision_is_softened_in_float32() -> None:
    logits = torch.tensor([[0.0, 1.0, 5.0]])
    assert torch.equal(soften(logits.bfloat16(), 4.0), soften(logits, 4.0))
    assert soften(logits.double(), 4.0).dtype is torch.float64


# Logits of a teacher (Hinton et al., 2015)


def test_kd_loss_by_hand() -> None:
    # softened by 2, the student says (1/2, 1/2) and the teacher (1/4, 3/4):
    # 4 * (1/4 log(1/2) + 3/4 log(3/2))
    student, teacher = torch.zeros(1, 2), torch.tensor([[0.0, 2 * math.log(3.0)]])
    expected = 4 * (0.25 * math.log(0.5) + 0.75 * math.log(1.5))
    assert kd_loss(student, soften(teacher, 2.0), 2.0).item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_kd_loss_equals_a_slow_loop(temperature: float) -> None:
    student, teacher = random_logits()
    total = 0.0
    for s_row, t_row in zip(student.tolist(), teacher.tolist(), strict=True):
        s_sum = sum(math.exp(s / temperature) for s in s_row)
        t_sum = sum(math.exp(t / temperature) for t in t_row)
        for s, t in zip(s_row, t_row, strict=True):
            q, p = math.exp(s / temperature) / s_sum, math.exp(t / temperature) / t_sum
            total += temperature**2 * p * math.log(p / q)
    ours = kd_loss(student, soften(teacher, temperature), temperature).item()
    assert ours == pytest.approx(total / len(student), rel=1e-12)


def test_kd_loss_is_zero_at_the_teachers_logits_and_positive_elsewhere() -> None:
    student, teacher = random_logits()
    assert kd_loss(teacher + 5, soften(teacher, 3.0), 3.0).item() == pytest.approx(0, abs=1e-12)
    assert kd_loss(student, soften(teacher, 3.0), 3.0).item() > 0.1


def test_kd_loss_takes_targets_of_zero() -> None:
    student, targets = torch.zeros(1, 2, requires_grad=True), torch.tensor([[0.0, 1.0]])
    loss = kd_loss(student, targets, 1.0)
    loss.backward()
    assert loss.item() == pytest.approx(math.log(2))
    assert student.grad is not None
    torch.testing.assert_close(student.grad, torch.tensor([[0.5, -0.5]]))


def test_kd_loss_at_temperature_one_has_the_gradient_of_soft_labels() -> None:
    student, teacher = random_logits()
    student.requires_grad_()
    targets = soften(teacher, 1.0)
    (ours,) = torch.autograd.grad(kd_loss(student, targets, 1.0), student)
    soft = torch.nn.functional.cross_entropy(student, targets)
    (expected,) = torch.autograd.grad(soft, student)
    torch.testing.assert_close(ours, expected, rtol=1e-12, atol=1e-15)


def test_gradient_of_kd_loss_keeps_its_size_at_high_temperature() -> None:
    # towards high temperatures it is that of matched logits, (s - t) / K / B for logits of mean
    # zero (Hinton et al., equation 4)
    student, teacher = (logits - logits.mean(-1, keepdim=True) for logits in random_logits())
    student.requires_grad_()
    (ours,) = torch.autograd.grad(kd_loss(student, soften(teacher, 1e4), 1e4), student)
    expected = (student - teacher).detach() / student.numel()
    torch.testing.assert_close(ours, expected, rtol=1e-2, atol=1e-5)


def test_mixed_targets_have_the_gradient_of_the_mixed_losses() -> None:
    student, teacher = random_logits()
    student.requires_grad_()
    one, other = soften(teacher, 2.0), soften(teacher.flip(0), 2.0)
    (ours,) = torch.autograd.grad(kd_loss(student, 0.3 * one + 0.7 * other, 2.0), student)
    mixed = 0.3 * kd_loss(student, one, 2.0) + 0.7 * kd_loss(student, other, 2.0)
    (expected,) = torch.autograd.grad(mixed, student)
    torch.testing.assert_close(ours, expected, rtol=1e-12, atol=1e-15)


# Two models that learn from each other (PaddleVideo's distillation head)


def test_dml_loss_by_hand() -> None:
    # (1/2, 1/2) and (1/4, 3/4): 0.5 * (1/4 log 2 - 1/4 log(2/3)) = log(3) / 8
    student, teacher = torch.zeros(1, 2), torch.tensor([[0.0, math.log(3.0)]])
    assert dml_loss(student, teacher).item() == pytest.approx(math.log(3) / 8, rel=1e-6)


def test_dml_loss_equals_a_slow_loop_over_the_heads_formula() -> None:
    student, teacher = random_logits()
    B, K = student.shape
    s_all, t_all = student.softmax(-1), teacher.softmax(-1)
    total = 0.0
    for b in range(B):
        for k in range(K):
            s, t = s_all[b, k].item(), t_all[b, k].item()
            forth = t * math.log((t + 1e-12) / (s + 1e-12))
            back = s * math.log((s + 1e-12) / (t + 1e-12))
            total += 0.5 * K * (forth + back)
    assert dml_loss(student, teacher).item() == pytest.approx(total / (B * K), rel=1e-12)


def test_dml_loss_is_half_the_symmetric_divergence() -> None:
    student, teacher = random_logits()
    both = kd_loss(student, soften(teacher, 1.0), 1.0) + kd_loss(teacher, soften(student, 1.0), 1.0)
    # the epsilon weighs 1e-12 against the smallest probability, here about 1e-6
    assert dml_loss(student, teacher).item() == pytest.approx(both.item() / 2, rel=1e-6)


def test_dml_loss_is_symmetric_and_both_models_get_its_gradient() -> None:
    student, teacher = (logits.requires_grad_() for logits in random_logits())
    assert dml_loss(student, teacher).item() == dml_loss(teacher, student).item()
    for gradient in torch.autograd.grad(dml_loss(student, teacher), (student, teacher)):
        assert gradient.abs().min() > 0


def test_dml_loss_stays_finite_where_a_probability_vanishes() -> None:
    student = torch.tensor([[200.0, 0.0]], requires_grad=True)
    teacher = torch.tensor([[0.0, 200.0]], requires_grad=True)
    loss = dml_loss(student, teacher)
    gradients = torch.autograd.grad(loss, (student, teacher))
    # 0.5 * 2 * mean of |p - q| * log(1e12), both elements alike
    assert loss.item() == pytest.approx(12 * math.log(10), rel=1e-6)
    assert all(torch.isfinite(gradient).all() for gradient in gradients)


def test_gradients_are_those_of_finite_differences() -> None:
    student, teacher = random_logits(B=2, K=3)
    student.requires_grad_()
    assert torch.autograd.gradcheck(lambda s: kd_loss(s, soften(teacher, 2.5), 2.5), (student,))
    teacher.requires_grad_()
    assert torch.autograd.gradcheck(dml_loss, (student, teacher))


# Several classes at once


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_multi_label_loss_equals_a_slow_loop(smoothing: float) -> None:
    logits, _ = random_logits()
    targets = torch.rand(5, 7, generator=torch.Generator().manual_seed(1)).double()
    losses = []
    for row, own in zip(logits.tolist(), targets.tolist(), strict=True):
        for x, y in zip(row, own, strict=True):
            p, y = 1 / (1 + math.exp(-x)), (1 - smoothing) * y + smoothing / 7
            losses.append(-y * math.log(p) - (1 - y) * math.log(1 - p))
    found = multi_label_loss(logits, targets, smoothing).item()
    assert found == pytest.approx(sum(losses) / 35, rel=1e-12)


def test_multi_label_loss_of_half_precision_is_taken_in_float32() -> None:
    logits, targets = torch.tensor([[60.0, -60.0]]), torch.tensor([[1.0, 1.0]])
    loss = multi_label_loss(logits.bfloat16(), targets)
    assert loss.dtype is torch.float32
    assert loss.item() == 30.0


def test_multi_label_loss_has_the_gradient_of_its_numbers() -> None:
    logits, _ = random_logits()
    targets = torch.rand(5, 7).double()
    assert torch.autograd.gradcheck(
        lambda x: multi_label_loss(x, targets, 0.1), logits.requires_grad_()
    )
