"""What a batch is trained to say: loss and hits, with labels smoothed and mixed."""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor
from yacs.config import CfgNode

from ops.metrics import topk_hits
from ops.mixing import Mix


@dataclass(frozen=True)
class Target:
    """The target of one batch.

    Attributes:
        labels: Of the clips, (B,), int64, on the device.
        label_smoothing: Share of the target spread over all classes.
        mix: How the clips were mixed; None: not at all.
    """

    labels: Tensor
    label_smoothing: float = 0.0
    mix: Mix | None = None

    def loss(self, logits: Tensor) -> Tensor:
        """Return the mean loss of logits (B, K): a mixed clip has both labels, by their shares."""
        loss = self._cross_entropy(logits, self.labels)
        if self.mix is None:
            return loss
        other = self._cross_entropy(logits, self.mix.other_labels(self.labels))
        return self.mix.share * loss + (1 - self.mix.share) * other

    def hits(self, logits: Tensor) -> Tensor:
        """Count top-1 and top-5 hits, (2,); a mixed clip scores each label's share."""
        hits = topk_hits(logits, self.labels)
        if self.mix is None:
            return hits
        other = topk_hits(logits, self.mix.other_labels(self.labels))
        return self.mix.share * hits + (1 - self.mix.share) * other

    def _cross_entropy(self, logits: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(logits, labels, label_smoothing=self.label_smoothing)


class Objective:
    """Makes the target of each training batch.

    Args:
        label_smoothing: Share of the target spread over all classes; of a mixed clip's both.
    """

    def __init__(self, label_smoothing: float = 0.0) -> None:
        self.label_smoothing = label_smoothing

    def __call__(self, labels: Tensor, mix: Mix | None = None) -> Target:
        """Return the target of clips with labels (B,), mixed as `Mixer.draw` said."""
        return Target(labels, self.label_smoothing, mix)


def build_objective(cfg: CfgNode) -> Objective:
    """Build the objective of a config."""
    return Objective(cfg.LOSS.LABEL_SMOOTHING)
