"""What classifies frozen features: a linear head at its optimum, and the nearest neighbours."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

STEPS = 300  # of L-BFGS at most; it ends where the gradient does
TEMPERATURE = 0.07  # of the neighbours' votes
_QUERIES = 1024  # at once


@dataclass(frozen=True)
class LabelledFeatures:
    """The features of some videos.

    Attributes:
        values: Features, (N, C), float32.
        labels: Class of each video, (N,).
    """

    values: Tensor
    labels: Tensor


def fit_head(features: LabelledFeatures, num_classes: int, strength: float) -> nn.Linear:
    """Return the head of the least cross-entropy, found by L-BFGS from zeros.

    Features are standardised for it, which is folded into the head afterwards.

    Args:
        features: Features of the training videos.
        num_classes: Number of classes, K.
        strength: Factor of half the squared weights, of standardised features, in the loss.
    """
    values = features.values.double()  # in float32 the search ends too soon
    mean, std = values.mean(0), values.std(0, correction=0).clamp(min=1e-6)
    inputs = (values - mean) / std
    head = nn.Linear(inputs.shape[1], num_classes, dtype=torch.float64)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    optimizer = torch.optim.LBFGS(
        head.parameters(), max_iter=STEPS, tolerance_grad=1e-6, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(head(inputs), features.labels)
        loss = loss + strength / 2 * head.weight.square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    with torch.no_grad():
        head.weight.div_(std)
        head.bias.sub_(head.weight @ mean)
    return head.float()


@torch.no_grad()
def count_hits(head: nn.Linear, features: LabelledFeatures) -> int:
    """Count the features whose class a head finds."""
    return int((head(features.values).argmax(1) == features.labels).sum())


def count_neighbour_hits(train: LabelledFeatures, val: LabelledFeatures, k: int) -> int:
    """Count the videos whose class the votes of their nearest training videos give.

    Near is what has a large cosine s; a vote weighs exp(s / 0.07) (arXiv:1805.01978, section 3.4).

    Args:
        train: Features of the videos that vote.
        val: Features of the videos that are classified.
        k: Number of votes, at most that of the training videos.
    """
    known, asked = (F.normalize(features.values, dim=1) for features in (train, val))
    num_classes = int(max(train.labels.max(), val.labels.max())) + 1
    hits = 0
    for part, labels in zip(asked.split(_QUERIES), val.labels.split(_QUERIES), strict=True):
        cosines, places = (part @ known.T).topk(k)  # (Q, k)
        weights = ((cosines - 1) / TEMPERATURE).exp()  # all by one factor, so that none overflows
        votes = weights.new_zeros(len(part), num_classes)
        votes.scatter_add_(1, train.labels[places], weights)
        hits += int((votes.argmax(1) == labels).sum())
    return hits
