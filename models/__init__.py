"""Networks, and the one way to open a checkpoint."""

from models.loaded_model import LoadedModel, load_model
from models.model_table import MODELS, VideoModel, build_model

__all__ = ["MODELS", "LoadedModel", "VideoModel", "build_model", "load_model"]
