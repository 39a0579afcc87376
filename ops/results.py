"""What a test leaves in the run folder: results.json for people, scores.npz for other protocols."""

import json
import logging
from collections.abc import Sequence
from pathlib import Path

from ops.scores import Scores

_log = logging.getLogger(__name__)


def write_results(
    folder: Path,
    scores: Scores,
    unreadable: Sequence[str],
    class_names: Sequence[str],
    source: dict[str, str],
    average_logits: bool = True,
) -> None:
    """Write scores.npz and results.json, and say the figures.

    Args:
        folder: Run folder.
        scores: Of the readable videos.
        unreadable: Why the others are not, a line each.
        class_names: By label.
        source: What else results.json tells of where the figures come from.
        average_logits: Average logits over the views; False: probabilities.
    """
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
    part = folder / ".results.json.part"
    part.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    part.replace(folder / "results.json")
    for line in unreadable:
        _log.warning("left out: %s", line)
    _log.info(
        "test of %d of %d videos, %d views each: top1 %.2f top5 %.2f mean class accuracy %.2f",
        *(num_videos, num_listed, num_views),
        *(figures["top1"], figures["top5"], figures["mean_class_accuracy"]),
    )
    _log.info("results: %s, %s", folder / "results.json", folder / "scores.npz")
