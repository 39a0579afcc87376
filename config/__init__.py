"""Experiments as yacs trees: `load_cfg` reads one, checks it and freezes it."""

from config.defaults import get_defaults
from config.loading import begins_override, is_key, load_cfg, load_cfg_text

__all__ = ["begins_override", "get_defaults", "is_key", "load_cfg", "load_cfg_text"]
