"""Parts of `tools/rescore.py`."""
