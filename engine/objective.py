"""What a batch is trained to say: loss and hits, with labels smoothed and mixed, or taught."""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor
from yacs.config import CfgNode

from ops.losses import dml_loss, kd_loss, multi_label_loss
from ops.metrics import topk_hits
from ops.mixing import Mix, Mixer


@dataclass(frozen=True)
class Target:
    """The target of one batch.

    Attributes:
        labels: Classes of the clips, (B,), int64, on the device.
        label_smoothing: Share of the target spread over all classes.
        mix: Pairs and shares of the mixed clips; None: they are not mixed.
        class_weights: Weight of a clip by its class, (K,), on the device; None: all count alike.
    """

    labels: Tensor
    label_smoothing: float = 0.0
    mix: Mix | None = None
    class_weights: Tensor | None = None

    def loss(self, logits: Tensor) -> Tensor:
        """Return the mean loss of logits (B, K): a mixed clip has both labels, by their shares.

        With class weights each label's loss, smoothed as ever, counts by the weight of the label.
        The sum is divided by B and not by the batch's weights, which torch's own `weight` does: so
        processes and accumulated batches add up to the loss of one large batch.
        """
        loss = self._cross_entropy(logits, self.labels)
        if self.mix is None:
            return loss
        other = self._cross_entropy(logits, self.mix.other_labels(self.labels))
        # Two losses, which is the same as one against mixed one-hot labels: cross-entropy is linear
        # in its target.
        return self.mix.share * loss + (1 - self.mix.share) * other

    def hits(self, logits: Tensor) -> Tensor:
        """Count top-1 and top-5 hits, (2,); a mixed clip scores each label's share."""
        return _hits(logits, self.labels, self.mix)

    def _cross_entropy(self, logits: Tensor, labels: Tensor) -> Tensor:
        smoothing = self.label_smoothing
        if self.class_weights is None:
            # torch spreads the smoothed share over all K classes, the true one included, as the
            # release's own loss does: (1 - s) NLL + s mean(-log p). The 0.01 of its files smooths
            # by 0.1.
            return F.cross_entropy(logits, labels, label_smoothing=smoothing)
        losses = F.cross_entropy(
            logits, labels, label_smoothing=smoothing, reduction="none"
        )  # (B,)
        # The mean over B, not over the batch's weights: see `loss`.
        return (self.class_weights[labels] * losses).mean()


@dataclass(frozen=True)
class MultiLabelTarget:
    """The target of one batch of clips that may have several classes.

    Attributes:
        labels: Multi-hot, (B, K), float32, on the device.
        label_smoothing: Share by which the labels are smoothed; see `ops.losses.multi_label_loss`.
        mix: Pairs and shares of the mixed clips; None: they are not mixed. A mixed clip has the
            classes of both, by their shares; the loss is linear in them, so it is also that of the
            two targets.
    """

    labels: Tensor
    label_smoothing: float = 0.0
    mix: Mix | None = None

    def loss(self, logits: Tensor) -> Tensor:
        """Return the mean loss of logits (B, K)."""
        labels = self.labels
        if self.mix:
            others = self.mix.other_labels(labels)
            labels = self.mix.share * labels + (1 - self.mix.share) * others
        return multi_label_loss(logits, labels, self.label_smoothing)

    def hits(self, logits: Tensor) -> Tensor:
        """Count the clips with one of their classes first, and among the first five, (2,)."""
        return _hits(logits, self.labels, self.mix)


@dataclass(frozen=True)
class TaughtTarget:
    """The target of a batch that a teacher has answered (arXiv:1503.02531).

    Attributes:
        own: Target of the labels.
        answers: The teacher's softened probabilities, (B, K).
        weight: Weight of the teacher's term; the rest is the labels'.
        temperature: Temperature that the answers were softened with.
    """

    own: Target
    answers: Tensor
    weight: float
    temperature: float

    def loss(self, logits: Tensor) -> Tensor:
        """Return the mean loss of logits (B, K), labels and teacher by their shares."""
        # `answers` were softened by the same temperature: here it is the student's side alone.
        taught = kd_loss(logits, self.answers, self.temperature)
        return (1 - self.weight) * self.own.loss(logits) + self.weight * taught

    def hits(self, logits: Tensor) -> Tensor:
        """Count the hits of the labels; see `Target.hits`."""
        return self.own.hits(logits)


@dataclass(frozen=True)
class MutualTarget:
    """The target of a batch for two models that learn from each other; see `MutualPair`.

    Attributes:
        own: Target of the labels, for both models.
        weight: Weight of the term by which the two differ.
    """

    own: Target
    weight: float

    def loss(self, logits: Tensor) -> Tensor:
        """Return the loss of the logits of both, (2, B, K), as PaddleVideo adds it up."""
        student, teacher = logits
        # A sum: each model gets the gradient of its own loss as it would alone. A mean would halve
        # it, and a learning rate would mean something else.
        own = self.own.loss(student) + self.own.loss(teacher)
        return own + self.weight * dml_loss(student, teacher)

    def hits(self, logits: Tensor) -> Tensor:
        """Count the student's hits, given the logits of both, (2, B, K)."""
        return self.own.hits(logits[0])


class Objective:
    """Makes the target of each training batch.

    Args:
        label_smoothing: Share of the target spread over all classes; of a mixed clip's both.
        is_mutual: Whether two models learn together, and from each other.
        teacher_weight: Weight of the term of a teacher, or of the other model.
        temperature: Temperature that a teacher's answers are softened with.
        class_weights: Weight of the labels' loss of a clip by its class, (K,), on the device; what
            a teacher or the other model says counts alike. None: all count alike.
        is_multi_label: Whether a clip may have several classes; then there are neither weights nor
            teachers.
    """

    def __init__(
        self,
        label_smoothing: float = 0.0,
        is_mutual: bool = False,
        teacher_weight: float = 0.0,
        temperature: float = 1.0,
        class_weights: Tensor | None = None,
        is_multi_label: bool = False,
    ) -> None:
        self.label_smoothing = label_smoothing
        self.is_mutual = is_mutual
        self.teacher_weight = teacher_weight
        self.temperature = temperature
        self.class_weights = class_weights
        self.is_multi_label = is_multi_label

    def __call__(
        self, labels: Tensor, mix: Mix | None = None, answers: Tensor | None = None
    ) -> Target | MultiLabelTarget | TaughtTarget | MutualTarget:
        """Return the target of a batch.

        Args:
            labels: Classes of the clips, (B,), or multi-hot (B, K).
            mix: Mixing of the clips, as `Mixer.draw` returned it.
            answers: Softened probabilities of a teacher, (B, K); None: there is none.
        """
        if self.is_multi_label:
            return MultiLabelTarget(labels, self.label_smoothing, mix)
        # Class weights reach the labels' term alone: a teacher's answer is not of one class.
        own = Target(labels, self.label_smoothing, mix, self.class_weights)
        # The other model answers within the same forward pass, so there are no `answers`.
        if self.is_mutual:
            return MutualTarget(own, self.teacher_weight)
        if answers is not None:
            return TaughtTarget(own, answers, self.teacher_weight, self.temperature)
        return own


def build_objective(cfg: CfgNode, class_weights: Tensor | None = None) -> Objective:
    """Build the objective of a config.

    Args:
        cfg: Config of the run.
        class_weights: Weights of the classes on the device; see `engine.class_weights`.
    """
    distill = cfg.DISTILL
    return Objective(
        cfg.LOSS.LABEL_SMOOTHING,
        is_mutual=distill.LOSS == "dml",
        teacher_weight=distill.WEIGHT,
        temperature=distill.TEMPERATURE,
        class_weights=class_weights,
        is_multi_label=cfg.DATA.MULTI_LABEL,
    )


def build_mixer(cfg: CfgNode) -> Mixer:
    """Build what mixes the training batches of a config."""
    aug = cfg.AUG
    # The box `paddle` of CUTMIX_BOX cuts frames x rows and counts rows x columns, as PaddleVideo
    # does: one frame of 8 then counts for 0.45 % and not for 12.5.
    return Mixer(
        aug.MIXUP_ALPHA, aug.CUTMIX_ALPHA, aug.MIX_PROB, aug.CUTMIX_SHARE, box=aug.CUTMIX_BOX
    )


def _hits(logits: Tensor, labels: Tensor, mix: Mix | None) -> Tensor:
    """Count top-1 and top-5 hits, (2,); a mixed clip scores the shares of the labels that hit."""
    hits = topk_hits(logits, labels)
    if mix is None:
        return hits
    other = topk_hits(logits, mix.other_labels(labels))
    # So the top-1 that a mixed training shows is lower than that of an unmixed one.
    return mix.share * hits + (1 - mix.share) * other
