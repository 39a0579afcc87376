"""The parts of `tools/extract_features.py` and `tools/probe.py`."""
