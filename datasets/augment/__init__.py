"""From a clip to a clip, each with draws of its own."""
