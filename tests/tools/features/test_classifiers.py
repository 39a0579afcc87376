import torch
import torch.nn.functional as F

from tools.features.classifiers import (
    TEMPERATURE,
    LabelledFeatures,
    count_hits,
    count_neighbour_hits,
    fit_head,
)


def test_head_separates_what_a_line_separates_and_is_pulled_to_zero() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(60) % 3
    centres = 4 * torch.eye(3, 8)
    values = 100 + 7 * (centres[labels] + torch.randn(60, 8, generator=generator))
    features = LabelledFeatures(values, labels)
    head = fit_head(features, num_classes=3, strength=1e-4)
    assert count_hits(head, features) == 60
    strong = fit_head(features, num_classes=3, strength=10.0)
    assert strong.weight.norm() < 0.05 * head.weight.norm()


def test_head_is_where_the_gradient_is_zero() -> None:
    generator = torch.Generator().manual_seed(1)
    features = LabelledFeatures(torch.randn(40, 5, generator=generator), torch.arange(40) % 4)
    head, std = fit_head(features, 4, strength=0.1), features.values.std(0, correction=0)
    loss = F.cross_entropy(head(features.values), features.labels)
    (loss + 0.05 * (head.weight * std).square().sum()).backward()
    assert head.weight.grad is not None
    assert head.weight.grad.abs().max() < 1e-4


def test_near_neighbours_outvote_many_that_are_far() -> None:
    values = torch.tensor([[3.0, 0.0], [0.0, 1.0], [0.0, 2.0]])
    train = LabelledFeatures(values, torch.tensor([7, 1, 1]))
    asked = LabelledFeatures(torch.tensor([[10.0, 1.0]]), torch.tensor([7]))
    assert count_neighbour_hits(train, asked, k=3) == 1
    assert count_neighbour_hits(train, asked, k=1) == 1
    other = LabelledFeatures(torch.tensor([[0.5, 1.0]]), torch.tensor([7]))
    assert count_neighbour_hits(train, other, k=3) == 0


def test_votes_are_those_of_a_slow_loop() -> None:
    generator = torch.Generator().manual_seed(2)
    train = LabelledFeatures(torch.randn(30, 4, generator=generator), torch.arange(30) % 3)
    val = LabelledFeatures(torch.randn(50, 4, generator=generator), torch.arange(50) % 3)
    hits = 0
    for value, label in zip(val.values, val.labels.tolist(), strict=True):
        cosines = F.cosine_similarity(value[None], train.values)
        votes = [0.0, 0.0, 0.0]
        for place in cosines.argsort(descending=True)[:5].tolist():
            votes[place % 3] += float((cosines[place] / TEMPERATURE).exp())
        hits += votes.index(max(votes)) == label
    assert 0 < hits < 50
    assert count_neighbour_hits(train, val, k=5) == hits
