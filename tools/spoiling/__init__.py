"""The parts of `tools/robustness.py` and `tools/temporal_check.py`."""
