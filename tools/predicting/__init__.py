"""The parts of `tools/predict.py`."""
