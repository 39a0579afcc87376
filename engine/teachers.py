"""What a student is taught by: a frozen model, or its answers from a file (arXiv:1503.02531)."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

import numpy as np
import torch
from torch import Tensor, nn

from datasets.clips import Clips
from engine.scores import Scores
from ops.losses import soften
from ops.mixing import Mix
from ops.moving import moved


class FrozenTeacher:
    """A trained model that is asked and never changed.

    Args:
        model: Model on the device of the process; it is set to evaluation.
        prepare: Function from uint8 clips to the model's input, on its device.
        temperature: Divisor of its logits.
        autocast: Function that makes the context of a forward pass.
        sees_student_clip: Whether it is shown the student's clips; False: its own.
    """

    def __init__(
        self,
        model: nn.Module,
        prepare: Callable[[Tensor], Tensor],
        temperature: float,
        autocast: Callable[[], AbstractContextManager[object]],
        sees_student_clip: bool = True,
    ) -> None:
        self.model = model.eval().requires_grad_(False)
        self.prepare = prepare
        self.temperature = temperature
        self.autocast = autocast
        self.sees_student_clip = sees_student_clip

    @torch.no_grad()
    def answers(self, batch: Clips, mix: Mix | None) -> Tensor:
        """Return the softened probabilities of a batch, (B, K).

        The student's clips are mixed before the teacher sees them. Where it sees clips of its own,
        its answers are mixed instead.
        """
        if not self.sees_student_clip:
            return mixed(self._ask(self.prepare(batch.teacher_clips)), mix)
        clips = self.prepare(batch.clips)
        return self._ask(mix.apply(clips) if mix else clips)

    def _ask(self, clips: Tensor) -> Tensor:
        with self.autocast():
            logits = self.model(clips)
        return soften(logits, self.temperature)


class CachedTeacher:
    """The answers that a teacher gave once: for each training video the mean of its views' logits.

    Args:
        logits: Logits, (N, K), N in the order of the list of records.
        temperature: Divisor of the logits.
        device: Device of the process.
        mirrored_labels: Class of each class's mirror image: of a mirrored clip, the answer for a
            class is that for its mirror image. None in it stands for the class itself.
    """

    def __init__(
        self,
        logits: Tensor,
        temperature: float,
        device: torch.device,
        mirrored_labels: Sequence[int | None],
    ) -> None:
        self.probs = soften(logits, temperature).to(device)
        own = range(len(mirrored_labels))
        pairs = zip(mirrored_labels, own, strict=True)
        table = [label if mirrored is None else mirrored for mirrored, label in pairs]
        self.mirrored_labels = torch.tensor(table, device=device)

    def answers(self, batch: Clips, mix: Mix | None) -> Tensor:
        """Return the softened probabilities of a batch, (B, K); of mixed clips they are mixed."""
        device = self.probs.device
        probs = self.probs[moved(batch.indices, device)]  # (B, K)
        are_mirrored = moved(batch.are_mirrored, device)[:, None]  # (B, 1)
        return mixed(torch.where(are_mirrored, probs[:, self.mirrored_labels], probs), mix)


Teacher = FrozenTeacher | CachedTeacher


def mixed(probs: Tensor, mix: Mix | None) -> Tensor:
    """Mix the answers (B, K) of clips as their labels are mixed.

    The student's loss against them has the gradient of the two clips' losses, by their shares: in
    the KL divergence the student stands beside the target linearly.
    """
    if mix is None:
        return probs
    others = probs[mix.order.to(probs.device)]  # (B, K)
    return mix.share * probs + (1 - mix.share) * others


def cached_logits(
    scores: Scores, source: str, videos: Sequence[str], labels: Sequence[int], num_classes: int
) -> Tensor:
    """Return each video's mean logits over all views, (N, K).

    Args:
        scores: Scores of the teacher, on these videos and perhaps others.
        source: Name of their file.
        videos: Paths of the videos as in the training list.
        labels: Class of each video.
        num_classes: Number of classes, K.

    Raises:
        ValueError: The classes differ, or a video is not there exactly once, or has another label.
    """
    K = scores.view_logits.shape[-1]
    if num_classes != K:
        raise ValueError(
            f"DISTILL.LOGITS={source!r} holds logits of {K} classes, MODEL.NUM_CLASSES is "
            f"{num_classes}; they must be equal"
        )
    names, counts = np.unique(scores.videos, return_counts=True)
    count_of = dict(zip(names.tolist(), counts.tolist(), strict=True))
    wrong = [video for video in videos if count_of.get(video, 0) != 1]
    if wrong:
        raise ValueError(
            f"DISTILL.LOGITS={source!r} has {wrong[0]!r} {count_of.get(wrong[0], 0)} times; every "
            f"training video must be there exactly once, {len(wrong)} of {len(videos)} are not"
        )
    place_of = {video: place for place, video in enumerate(scores.videos.tolist())}
    places = [place_of[video] for video in videos]
    for video, label, theirs in zip(videos, labels, scores.labels[places].tolist(), strict=True):
        if label != theirs:
            raise ValueError(
                f"DISTILL.LOGITS={source!r} has {video!r} under label {theirs}, the training list "
                f"under {label}; its classes must be numbered as the student's"
            )
    return torch.from_numpy(scores.averaged()[places])
