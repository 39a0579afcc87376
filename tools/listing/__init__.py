"""The parts of `tools/make_lists.py`."""
