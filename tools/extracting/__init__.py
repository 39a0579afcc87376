"""The parts of `tools/extract_frames.py`."""
