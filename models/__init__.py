"""Networks, and the one way to open a checkpoint."""

from models.loaded_model import LoadedModel, load_model
from models.model_table import MODELS, ModelEntry, build_model
from models.video_model import VideoModel

__all__ = ["MODELS", "LoadedModel", "ModelEntry", "VideoModel", "build_model", "load_model"]
