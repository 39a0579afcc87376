"""What a validation leaves in the records of a run, and a test in its folder."""

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from config.values import counted
from engine.board import Board, class_tag
from engine.confusion import remove_confusion, write_confusion
from engine.event_files import cut_events
from engine.mean_scores import MeanScores, reliability_in_words
from engine.run_log import NullRunLog, RunLog
from engine.scores import Scores, chosen_by, class_figures, in_words, shown_tops
from engine.trackers import Tracker
from engine.whole_file import whole_file

_log = logging.getLogger(__name__)


def record_epoch(
    runlog: RunLog | NullRunLog,
    num_epochs: int,
    means: Mapping[str, float],
    rate: float,
    num_classes: int,
) -> None:
    """Record and say what an epoch of training gave.

    Args:
        runlog: Records of the run.
        num_epochs: Number of finished epochs, this one included.
        means: Means of loss, top1 and top5 over all processes.
        rate: Learning rate at the beginning of the epoch.
        num_classes: Number of classes; a top-5 that is trivial is left out.
    """
    names = shown_tops(num_classes)
    tops = {name: means[name] for name in names}
    released = {f"Accuracy/train_{name}": value for name, value in tops.items()}
    runlog.scalars(num_epochs - 1, {"Loss/train": means["loss"], "LearningRate": rate} | released)
    ours = {"loss": means["loss"], "lr": rate} | tops
    runlog.scalars(num_epochs, {f"train/{name}": value for name, value in ours.items()})
    _log.info("epoch %d trained: loss %.4f %s", num_epochs, means["loss"], in_words(tops))


def record_best(
    runlog: RunLog | NullRunLog, num_epochs: int, best: float, name: str = "top1"
) -> None:
    """Record the best figure of the validations so far, percent; see `engine.scores.chosen_by`."""
    runlog.scalars(num_epochs - 1, {f"Accuracy/best_test_{name}": best})  # the release's steps
    runlog.scalars(num_epochs, {f"val/best_{name}": best})


def record_validation(
    runlog: RunLog | NullRunLog,
    num_epochs: int,
    scores: Scores,
    mean_scores: np.ndarray,
    loss: float,
    kind: str,
    class_names: Sequence[str],
    unreadable: Sequence[str] = (),
) -> float:
    """Record and say the figures of a validation; return what chooses the best, percent.

    Args:
        runlog: Records of the run.
        num_epochs: Number of finished epochs.
        scores: Scores of the videos.
        mean_scores: Scores averaged over the views, (N, K).
        loss: Mean loss over single views.
        kind: Kind of the records: ``val``, or ``swa`` for the averaged weights.
        class_names: Names of the classes by label.
        unreadable: Reasons why the other videos were left out, a line each.
    """
    figures = scores.figures(mean_scores)
    shown = scores.shown_figures(figures)
    released = "test" if kind == "val" else kind  # the release's word, and its steps from 0
    tops = {
        f"Accuracy/{released}_{name}": shown[name]
        for name in ("map", "top1", "top5")
        if name in shown
    }
    runlog.scalars(num_epochs - 1, {f"Loss/{released}": loss} | tops)
    runlog.scalars(num_epochs, {f"{kind}/loss": loss} | by_tag(kind, figures, shown, class_names))
    if not scores.is_multi_label:
        runlog.confusion(num_epochs, scores.confusion(mean_scores), class_names, kind)
    num_videos, num_views = scores.view_logits.shape[:2]
    coverage = {"num_videos": num_videos, "num_listed": num_videos + len(unreadable)}
    runlog.line(kind, epoch=num_epochs, loss_single_views=loss, **shown, **coverage)
    runlog.curves()
    for line in unreadable:
        _log.warning("left out of the validation: %s", line)
    _log.info(
        "epoch %d validated%s: %s%s each, %s, loss of single views %.4f",
        *(num_epochs, "" if kind == "val" else f" ({kind})"),
        "{num_videos} of {num_listed} videos, ".format(**coverage) if unreadable else "",
        *(counted(num_views, "view"), in_words(shown), loss),
    )
    return figures[chosen_by(scores.is_multi_label)]


def by_tag(
    kind: str, figures: Mapping[str, Any], shown: Mapping[str, float], class_names: Sequence[str]
) -> dict[str, float]:
    """Return figures by tags of TensorBoard: the shown ones, and the one of each class.

    Args:
        kind: Group of the tags: ``val``, ``swa`` or ``test``.
        figures: All figures, as `Scores.figures` returns them.
        shown: Figures to show, as `Scores.shown_figures` returns them.
        class_names: Names of the classes by label.
    """
    name, values = class_figures(figures)
    of_class = "ap_of_class" if name == "per_class_ap" else "top1_of_class"
    K = len(class_names)
    return {f"{kind}/{name}": value for name, value in shown.items()} | {
        f"{kind}_{of_class}/{class_tag(label, class_names[label], K)}": value
        for label, value in enumerate(values.values())
        if value is not None
    }


def write_results(
    folder: Path,
    scores: Scores,
    unreadable: Sequence[str],
    class_names: Sequence[str],
    source: Mapping[str, Any],
    average_logits: bool = True,
    num_epochs: int = 0,
    trackers: Sequence[Tracker] = (),
) -> None:
    """Write scores.npz, results.json, the confusion and TensorBoard's events; say the figures.

    Of videos of several classes there is no confusion.

    Args:
        folder: Run folder.
        scores: Scores of the readable videos.
        unreadable: Reasons why the others are not readable, a line each.
        class_names: Names of the classes by label.
        source: Further entries of results.json, on where the figures come from; its ``remarks`` are
            shown beside the figures.
        average_logits: Whether logits are averaged over the views; False: probabilities.
        num_epochs: Number of epochs of the tested checkpoint, as far as it says.
        trackers: Services that get the figures, too.

    Raises:
        UnwritableError: A file cannot be written.
    """
    if (folder / "results.json").exists():
        _log.warning("%s: the results of an earlier test are replaced", folder)
    scores.save(folder / "scores.npz", scores.averaged())
    mean_scores = scores.averaged(average_logits)
    figures = scores.figures(mean_scores)
    shown = scores.shown_figures(figures)
    tagged = by_tag("test", figures, shown, class_names)
    name, values = class_figures(figures)
    del figures[name]
    num_videos, num_views = scores.view_logits.shape[:2]
    num_listed = num_videos + len(unreadable)
    mean = MeanScores(scores.videos, scores.labels, mean_scores, are_logits=average_logits)
    reliability = mean.reliability()
    results = {
        **figures,
        **reliability,
        "num_videos": num_videos,
        "num_listed": num_listed,
        "unreadable": list(unreadable),
        "num_views": num_views,
        **source,
        name: dict(zip(class_names, values.values(), strict=True)),
    }
    with whole_file(folder / "results.json") as file:
        file.write((json.dumps(results, indent=2) + "\n").encode())
    picture = None
    if scores.is_multi_label:
        remove_confusion(folder)
    else:
        what = f"{counted(num_videos, 'video')}, top-1 {shown['top1']:.2f}"
        title = f"test, {source['protocol']}: {what}"
        picture = write_confusion(folder, scores.confusion(mean_scores), class_names, title)
    cut_events(folder / "tensorboard", lambda tag, _: not tag.startswith("test"))
    with Board(folder / "tensorboard") as board:
        board.scalars(num_epochs, tagged)
        if picture is not None:
            board.picture(num_epochs, "test/confusion", picture)
    for tracker in trackers:
        tracker.scalars(num_epochs, tagged)
    for line in unreadable:
        _log.warning("left out: %s", line)
    _log.info(
        "test of %d of %d videos, %s each: %s%s",
        *(num_videos, num_listed, counted(num_views, "view"), in_words(shown)),
        f"; {reliability_in_words(reliability)}" if reliability else "",
    )
    for remark in source.get("remarks", ()):
        _log.warning("of these figures: %s", remark)
    _log.info("results: %s, %s", folder / "results.json", folder / "scores.npz")
