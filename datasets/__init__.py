"""Lists, frames, sampling and transforms: from files to clips."""
