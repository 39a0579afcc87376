"""Names of files and folders: what is a video, and what systems leave behind, for all tools."""

from pathlib import Path

VIDEO_SUFFIXES = frozenset(
    (
        *(".mp4", ".m4v", ".mov", ".qt", ".3gp", ".3g2", ".f4v", ".avi", ".divx", ".mkv", ".webm"),
        *(".ogv", ".wmv", ".asf", ".flv", ".gif", ".mpg", ".mpeg", ".mpe", ".m1v", ".m2v", ".vob"),
        *(".ts", ".mts", ".m2ts"),
    )
)
PACK_SUFFIX = ".zip"  # of the frames of a video in one file
# Of archives and file managers; no data of anyone's.
_LEFT_BEHIND = frozenset(
    ("__macosx", "@eadir", "#recycle", "$recycle.bin", "system volume information", "lost+found")
)


def is_left_behind(name: str) -> bool:
    """Tell whether a folder is hidden, or one that a system has put there."""
    return name.startswith(".") or name.lower() in _LEFT_BEHIND


def is_video_name(path: str | Path) -> bool:
    """Tell whether a file is a video by its name; hidden files are none."""
    name = Path(path).name
    return Path(name).suffix.lower() in VIDEO_SUFFIXES and not name.startswith(".")


def is_pack_name(path: str | Path) -> bool:
    """Tell whether a file is a pack of frames by its name; hidden files are none."""
    name = Path(path).name
    return name.lower().endswith(PACK_SUFFIX) and not name.startswith(".")
