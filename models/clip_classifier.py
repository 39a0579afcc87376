"""A model together with the normalisation before it and the mean over views after it."""

from collections.abc import Sequence

from torch import Tensor, nn

from ops.metrics import to_probabilities
from ops.pixels import normalize


class ClipClassifier(nn.Module):
    """Pixels to logits in one module, so that an exported file leaves no arithmetic to its user.

    Args:
        model: Model from normalised clips (B, T, 3, H, W) to logits (B, K).
        mean: Mean of the pixels for each channel, in units of 0..1.
        std: Standard deviation of the pixels, likewise.
        takes_normalized: The clips are normalised already; False: they are uint8.
        num_views: V, views of each video, whose scores are averaged; 0: single clips.
        averages_logits: The mean over the views is that of the logits; False: of probabilities.
        is_multi_label: The probability of a class is its own sigmoid.
    """

    def __init__(
        self,
        model: nn.Module,
        mean: Sequence[float],
        std: Sequence[float],
        takes_normalized: bool = False,
        num_views: int = 0,
        averages_logits: bool = True,
        is_multi_label: bool = False,
    ) -> None:
        super().__init__()
        self.model = model
        self.mean = list(mean)
        self.std = list(std)
        self.takes_normalized = takes_normalized
        self.num_views = num_views
        self.averages_logits = averages_logits
        self.is_multi_label = is_multi_label

    def forward(self, clips: Tensor) -> Tensor:
        """Classify clips (B, T, 3, H, W), or with views (B, V, T, 3, H, W); returns (B, K)."""
        if not self.takes_normalized:
            clips = normalize(clips, self.mean, self.std)
        if not self.num_views:
            return self.model(clips)  # (B, K)
        logits = self.model(clips.flatten(0, 1))  # (B*V, K)
        scores = logits if self.averages_logits else to_probabilities(logits, self.is_multi_label)
        return scores.unflatten(0, (-1, self.num_views)).mean(1)  # (B, K)
