"""Several models on the same videos: each averaged over its views, and then the models."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from engine.mean_scores import MeanScores, shared_videos
from engine.scores import Scores, without_classes

# How views and models are averaged: before the softmax, or after it.
LOGITS, SOFTMAX = "logits", "softmax"
WAYS = {"logits": ((LOGITS, LOGITS),), "probabilities": ((LOGITS, SOFTMAX), (SOFTMAX, SOFTMAX))}


def ensemble_rows(
    files: Sequence[str], weights: Sequence[float], average: str = ""
) -> list[dict[str, Any]]:
    """Return the figures of each model of several, and of all together.

    Args:
        files: Paths of a scores.npz of each model, of the same videos.
        weights: Weight of each model in the mean.
        average: Kind of mean over the models: ``logits`` or ``probabilities``; empty for both.

    Returns:
        Rows with ``model`` (its number from 1, or ``all``), how ``views`` and ``models`` are
        averaged, and the figures.

    Raises:
        ValueError: A file is no scores.npz, the weights are not one for each file, or videos,
            labels or classes differ.
    """
    shares = _shares(weights, len(files))
    ways = WAYS[average] if average else sum(WAYS.values(), ())
    rows = []
    for views in dict.fromkeys(views for views, _ in ways):
        models = _read_models(files, views == LOGITS)
        rows += [
            {"model": str(number), "views": views, "models": "", **figures_of(scores)}
            for number, scores in enumerate(models, start=1)
        ]
        for kind in [kind for own, kind in ways if own == views]:
            scores = averaged_models(models, shares, kind == LOGITS)
            rows.append({"model": "all", "views": views, "models": kind, **figures_of(scores)})
    return sorted(rows, key=lambda row: row["model"] == "all")


def averaged_models(
    models: Sequence[MeanScores], shares: Sequence[float], average_logits: bool
) -> MeanScores:
    """Return the weighted mean of models on the same videos in the same order.

    Args:
        models: Scores of the models.
        shares: Share of each in the mean; they add up to 1.
        average_logits: Whether logits are averaged, which the models then need; False:
            probabilities.
    """
    values = [m.values if average_logits else m.probabilities() for m in models]
    mean = sum(share * value for share, value in zip(shares, values, strict=True))
    return MeanScores(
        models[0].videos, models[0].labels, np.asarray(mean, np.float32), average_logits
    )


def figures_of(mean: MeanScores) -> dict[str, Any]:
    """Return accuracies and reliability of averaged scores, percent."""
    one_view = Scores(mean.videos, mean.labels, mean.values[:, None], num_clips=1, num_crops=1)
    return without_classes(one_view.figures(mean.values)) | mean.reliability()


def _shares(weights: Sequence[float], num_models: int) -> list[float]:
    if len(weights) != num_models:
        raise ValueError(
            f"--weights takes a number for each of the {num_models} files; it has {len(weights)}"
        )
    if min(weights) < 0 or not 0 < sum(weights) < float("inf"):
        raise ValueError(
            f"--weights {' '.join(f'{weight:g}' for weight in weights)}; they must be finite, at "
            "least 0, and not all 0"
        )
    return [weight / sum(weights) for weight in weights]


def _read_models(files: Sequence[str], average_logits: bool) -> list[MeanScores]:
    """Read the models with their videos in the order of the first one's."""
    first, *others = (MeanScores.load(file, average_logits) for file in files)
    models = [first]
    for file, scores in zip(files[1:], others, strict=True):
        try:
            shared = shared_videos(first, scores)
        except ValueError as error:
            raise ValueError(f"{files[0]} and {file} do not go together: {error}") from error
        if not shared.are_all():
            raise ValueError(
                f"{files[0]} and {file} are of other videos: {shared.describe()}; all models must "
                "have scored the same list"
            )
        models.append(scores.at(shared.second))
    return models
