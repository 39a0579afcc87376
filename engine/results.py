"""What a validation leaves in the records of a run, and a test in its folder."""

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from config.values import counted
from engine.run_log import NullRunLog, RunLog
from engine.scores import Scores
from engine.whole_file import whole_file

_log = logging.getLogger(__name__)


def record_validation(
    runlog: RunLog | NullRunLog,
    epoch: int,
    scores: Scores,
    mean_scores: np.ndarray,
    loss: float,
    kind: str,
    unreadable: Sequence[str] = (),
) -> float:
    """Record and say the figures of a validation; return its top-1, percent.

    Args:
        runlog: Of the run.
        epoch: Just finished, 0-based.
        scores: Of the videos.
        mean_scores: Averaged over the views, (N, K).
        loss: Mean over single views.
        kind: ``val``, or ``swa`` for the averaged weights.
        unreadable: Why the other videos were left out, a line each.
    """
    figures = scores.figures(mean_scores)
    tag = "test" if kind == "val" else kind  # the release's word
    runlog.scalars(epoch, {f"Loss/{tag}": loss})
    runlog.scalars(epoch, {f"Accuracy/{tag}_{name}": figures[name] for name in ("top1", "top5")})
    runlog.confusion(epoch, scores.confusion(mean_scores), kind)
    shown = {name: figures[name] for name in ("top1", "top5", "mean_class_accuracy")}
    num_videos, num_views = scores.view_logits.shape[:2]
    coverage = {"num_videos": num_videos, "num_listed": num_videos + len(unreadable)}
    runlog.line(kind, epoch=epoch, loss_single_views=loss, **shown, **coverage)
    for line in unreadable:
        _log.warning("left out of the validation: %s", line)
    _log.info(
        "epoch %d validated%s: %s%s each, top1 %.2f top5 %.2f, loss of single views %.4f",
        *(epoch + 1, "" if kind == "val" else f" ({kind})"),
        "{num_videos} of {num_listed} videos, ".format(**coverage) if unreadable else "",
        *(counted(num_views, "view"), figures["top1"], figures["top5"], loss),
    )
    return figures["top1"]


def write_results(
    folder: Path,
    scores: Scores,
    unreadable: Sequence[str],
    class_names: Sequence[str],
    source: Mapping[str, Any],
    average_logits: bool = True,
) -> None:
    """Write scores.npz and results.json, and say the figures.

    Args:
        folder: Run folder.
        scores: Of the readable videos.
        unreadable: Why the others are not, a line each.
        class_names: By label.
        source: What else results.json tells of where the figures come from; its ``remarks`` are
            said beside the figures.
        average_logits: Average logits over the views; False: probabilities.
    """
    if (folder / "results.json").exists():
        _log.warning("%s: the results of an earlier test are replaced", folder)
    scores.save(folder / "scores.npz", scores.averaged())
    figures = scores.figures(scores.averaged(average_logits))
    per_class = zip(class_names, figures.pop("per_class_accuracy").values(), strict=True)
    num_videos, num_views = scores.view_logits.shape[:2]
    num_listed = num_videos + len(unreadable)
    results = {
        **figures,
        "num_videos": num_videos,
        "num_listed": num_listed,
        "unreadable": list(unreadable),
        "num_views": num_views,
        **source,
        "per_class_accuracy": dict(per_class),
    }
    with whole_file(folder / "results.json") as file:
        file.write((json.dumps(results, indent=2) + "\n").encode())
    for line in unreadable:
        _log.warning("left out: %s", line)
    _log.info(
        "test of %d of %d videos, %s each: top1 %.2f top5 %.2f mean class accuracy %.2f",
        *(num_videos, num_listed, counted(num_views, "view")),
        *(figures["top1"], figures["top5"], figures["mean_class_accuracy"]),
    )
    for remark in source.get("remarks", ()):
        _log.warning("of these figures: %s", remark)
    _log.info("results: %s, %s", folder / "results.json", folder / "scores.npz")
