"""A model as a source of features: clips in, what it knows behind one of its layers out."""

from torch import Tensor, nn

from models.layer_features import head_features
from models.model_table import MODELS
from models.video_model import VideoModel

HEAD = "head"


class FeatureExtractor(nn.Module):
    """Clips (B, T, 3, H, W), normalised, to features (B, S, C), float32; S as in `VideoModel`.

    Args:
        model: A `VideoModel` in evaluation mode.
        layer: ``head`` for what the head sees, or the number of a layer, from 1; see
            `models.layer_features`.

    Raises:
        ValueError: The model has no such layer.
    """

    def __init__(self, model: nn.Module, layer: str = HEAD) -> None:
        super().__init__()
        assert isinstance(model, VideoModel)
        entries = [entry for entry in MODELS.values() if isinstance(model, entry.network)]
        self._of_layer = entries[0].layer_features if entries else None
        most = len(model.layer_names) - 1 if self._of_layer else 0
        is_number = layer.isdecimal() and 1 <= int(layer) <= most
        if layer != HEAD and not is_number:
            numbers = f", 1 to {most}" if most else ""
            raise ValueError(
                f"layer {layer!r}: a {type(model).__name__} of this size has {HEAD}{numbers}"
            )
        self.model = model
        self.layer = layer

    def forward(self, clips: Tensor) -> Tensor:
        """Return the features of each frame, or the one of each clip."""
        if self.layer == HEAD:
            return head_features(self.model, clips).float()
        assert self._of_layer is not None
        return self._of_layer(self.model, clips, int(self.layer)).float()
