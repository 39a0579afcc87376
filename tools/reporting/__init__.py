"""Parts of `tools/report.py` and `tools/compare.py`."""
