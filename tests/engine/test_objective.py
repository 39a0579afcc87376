from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from config import load_cfg_text
from engine.objective import Objective, Target, build_objective
from ops.losses import multi_label_loss, soften
from ops.metrics import topk_hits
from ops.mixing import Mix
from tests.conftest import golden_names


def toy_logits(B: int = 6, K: int = 9, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(B, K, generator=generator)
    return logits, torch.randint(K, (B,), generator=generator)


def test_mixed_loss_and_hits_worked_by_hand() -> None:
    logits = torch.tensor([[2.0, 0.0], [2.0, 0.0]]).log().clamp(min=-50)  # all of it on class 0
    mix = Mix(order=torch.tensor([1, 0]), share=0.75)
    target = Target(torch.tensor([0, 1]), mix=mix)
    # each clip is 0 in one label, at a loss of 0, and 1 in the other, at a loss of log 2 + 50:
    # the first clip by a quarter, the second by three
    assert target.loss(logits).item() == pytest.approx((50 + np.log(2)) / 2, rel=1e-6)  # float32
    assert target.hits(logits).tolist() == [0.75 + 0.25, 2.0]


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_without_mix_it_is_cross_entropy_to_the_last_bit(smoothing: float) -> None:
    logits, labels = toy_logits()
    target = Objective(smoothing)(labels)
    assert torch.equal(
        target.loss(logits), F.cross_entropy(logits, labels, label_smoothing=smoothing)
    )
    hits = target.hits(logits)
    assert torch.equal(hits, topk_hits(logits, labels))
    assert hits.dtype is torch.int64


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_mixed_loss_equals_a_loop_over_soft_labels(smoothing: float) -> None:
    logits, labels = (tensor.double() for tensor in toy_logits())
    labels, (B, K), order, share = labels.long(), logits.shape, [3, 2, 1, 0, 5, 4], 0.3
    losses = []
    for i in range(B):
        soft = np.full(K, smoothing / K)
        soft[labels[i]] += (1 - smoothing) * share
        soft[labels[order[i]]] += (1 - smoothing) * (1 - share)
        losses.append(-(soft * logits[i].log_softmax(-1).numpy()).sum())
    target = Objective(smoothing)(labels, Mix(torch.tensor(order), share))
    assert target.loss(logits).item() == pytest.approx(np.mean(losses), rel=1e-14)  # float64


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_weighted_loss_equals_a_loop_over_soft_labels(smoothing: float) -> None:
    logits, labels = (tensor.double() for tensor in toy_logits())
    labels, (B, K), order, share = labels.long(), logits.shape, [3, 2, 1, 0, 5, 4], 0.3
    weights = torch.arange(1.0, K + 1).double()
    losses = []
    for i in range(B):
        for label, part in ((labels[i], share), (labels[order[i]], 1 - share)):
            soft = np.full(K, smoothing / K)
            soft[label] += 1 - smoothing
            loss = -(soft * logits[i].log_softmax(-1).numpy()).sum()
            losses.append(part * weights[label].item() * loss)
    objective = Objective(smoothing, class_weights=weights)
    target = objective(labels, Mix(torch.tensor(order), share))
    assert target.loss(logits).item() == pytest.approx(sum(losses) / B, rel=1e-14)  # float64


def test_weighted_loss_of_two_halves_is_that_of_the_whole_batch() -> None:
    logits, labels = (tensor.double() for tensor in toy_logits())
    objective = Objective(0.1, class_weights=torch.linspace(0, 3, 9).double())
    whole = objective(labels.long()).loss(logits)
    halves = [
        objective(own.long()).loss(part)
        for own, part in zip(labels.split(3), logits.split(3), strict=True)
    ]
    assert whole.item() == pytest.approx(sum(halves).item() / 2, rel=1e-14)


def test_weights_are_of_the_labels_term_beside_a_teacher_or_another_model() -> None:
    logits, labels = toy_logits()
    weights = torch.full((9,), 2.0)
    plain = Target(labels, 0.1).loss(logits)
    answers = soften(torch.randn(6, 9), 4.0)
    words = {"label_smoothing": 0.1, "teacher_weight": 0.25, "temperature": 4.0}
    taught, doubled = (
        Objective(**words, class_weights=w)(labels, None, answers).loss(logits)
        for w in (None, weights)
    )
    assert (doubled - taught).item() == pytest.approx(0.75 * plain.item(), rel=1e-5)
    pair = torch.stack([logits, logits])
    mutual, doubled = (
        Objective(**words, is_mutual=True, class_weights=w)(labels).loss(pair)
        for w in (None, weights)
    )
    assert (doubled - mutual).item() == pytest.approx(2 * plain.item(), rel=1e-5)


def test_mix_of_a_clip_with_itself_changes_nothing() -> None:
    logits, labels = toy_logits()
    same = Target(labels, mix=Mix(torch.arange(len(labels)), share=0.25))
    assert same.loss(logits).item() == pytest.approx(Target(labels).loss(logits).item())
    assert same.hits(logits).tolist() == Target(labels).hits(logits).tolist()


def test_mixed_loss_has_the_gradient_of_its_numbers() -> None:
    logits, labels = toy_logits(4, 3)
    target = Target(labels, 0.1, Mix(torch.tensor([1, 2, 3, 0]), share=0.6))
    assert torch.autograd.gradcheck(target.loss, logits.double().requires_grad_())


@pytest.mark.parametrize("name", golden_names("paddlevideo/models/*/io.npz"))
def test_losses_and_hits_of_paddlevideo(name: str, golden: Callable, golden_json: Callable) -> None:
    data = golden(name)
    config = golden_json(name.replace("io.npz", "config.json"))
    objective = Objective(config["model"]["head"].get("ls_eps", 0.0))
    if "mix_loss" not in data:
        pytest.skip("its labels are not mixed, and its losses are with batch statistics")
    logits, labels = torch.from_numpy(data["logits"]), torch.from_numpy(data["y"]).flatten()
    first, second = (torch.from_numpy(data[key]).flatten() for key in ("y_a", "y_b"))
    given = SimpleNamespace(share=float(data["lam"][0]), other_labels=lambda labels: second)
    mixed = objective(first, given)  # type: ignore[arg-type]
    # float32, of the order of 1: their logits and ours are the same
    for loss, key in (
        (Target(labels).loss(logits), "valid_loss"),
        (objective(labels).loss(logits), "train_loss"),
        (mixed.loss(logits), "mix_loss"),
    ):
        assert loss.item() == pytest.approx(data[key].item(), abs=1e-6), key
    top1, _ = (mixed.hits(logits) / len(first)).tolist()
    assert top1 == pytest.approx(data["mix_top1"].item(), abs=1e-7)


def test_objective_of_a_config_smooths_as_the_config_says() -> None:
    logits, labels = toy_logits()
    objective = build_objective(load_cfg_text("LOSS: {LABEL_SMOOTHING: 0.25}", "test"))
    expected = F.cross_entropy(logits, labels, label_smoothing=0.25)
    assert torch.equal(objective(labels).loss(logits), expected)


def test_loss_of_several_classes_mixes_by_the_shares_of_their_losses() -> None:
    logits, _ = toy_logits()
    labels = (torch.rand(6, 9, generator=torch.Generator().manual_seed(2)) < 0.3).float()
    order, share = torch.tensor([3, 2, 1, 0, 5, 4]), 0.3
    objective = build_objective(load_cfg_text("DATA: {MULTI_LABEL: True}", "test"))
    own, others = (objective(part).loss(logits) for part in (labels, labels[order]))
    assert own.item() == multi_label_loss(logits, labels, 0.1).item()
    target = objective(labels, Mix(order, share))
    mixed = share * own + (1 - share) * others
    assert target.loss(logits).item() == pytest.approx(mixed.item(), rel=1e-6)  # float32
    hits = share * topk_hits(logits, labels) + (1 - share) * topk_hits(logits, labels[order])
    assert target.hits(logits).tolist() == pytest.approx(hits.tolist())
    assert objective(labels).hits(logits).tolist() == topk_hits(logits, labels).tolist()
