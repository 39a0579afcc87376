"""The parts of `tools/visualize.py`."""
