"""The parts of `tools/show_clips.py`."""
