"""Containers and codecs: from a video file to frames; `datasets.readers` is the door."""
