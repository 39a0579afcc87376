"""The parts of `tools/stream.py`."""
