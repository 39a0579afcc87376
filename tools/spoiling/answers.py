"""What a model answers to spoilt videos, beside what it answers to them as they are."""

import logging
from collections.abc import Mapping
from typing import Any

from torch import nn

from engine.run import Run
from engine.scores import Scores, without_classes
from engine.training import Videos
from main_ddp_shift import evaluate

_log = logging.getLogger(__name__)

NUM_SHOWN = 3


def score_readable(run: Run, model: nn.Module, videos: Videos) -> Scores | None:
    """Score videos as the test does; None on other ranks than 0.

    Raises:
        ValueError: Videos are unreadable, and TEST.SKIPS_UNREADABLE is off.
        FloatingPointError: A logit is not finite.
    """
    scores, unreadable = evaluate(run, model, videos)
    if unreadable and not run.cfg.TEST.SKIPS_UNREADABLE:
        more = "\n  ..." if len(unreadable) > NUM_SHOWN else ""
        raise ValueError(
            f"{len(unreadable)} of {len(videos.records)} videos are unreadable; mend them, or set "
            "TEST.SKIPS_UNREADABLE True to leave them out\n  "
            + "\n  ".join(unreadable[:NUM_SHOWN])
            + more
        )
    for line in unreadable:
        _log.warning("left out: %s", line)
    return scores


def figures_beside(
    scores: Scores, average_logits: bool, true_answers: Mapping[str, int] | None = None
) -> tuple[dict[str, Any], dict[str, int]]:
    """Return the figures of a test and same_answer, in percent; and the answers by video.

    Args:
        scores: Scores of the videos.
        average_logits: Whether logits are averaged over the views; False: probabilities.
        true_answers: Answers to the videos as they are; None: the scores are of these.
    """
    averaged = scores.averaged(average_logits)
    answers = dict(zip(scores.videos.tolist(), averaged.argmax(-1).tolist(), strict=True))
    true_answers = answers if true_answers is None else true_answers
    both = answers.keys() & true_answers.keys()
    num_same = sum(answers[video] == true_answers[video] for video in both)
    figures = without_classes(scores.figures(averaged))
    return {**figures, "same_answer": 100 * num_same / max(len(both), 1)}, answers
