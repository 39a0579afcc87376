"""What features in a folder are: of which checkpoint and layer, made how, and of which videos."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from yacs.config import CfgNode

from config.changes import changed_answers
from config.json_files import parse_json, read_json
from config.text_files import read_text
from config.values import shown
from config.yaml_tree import parse_yaml
from engine.whole_file import whole_file

FILE_NAME = "manifest.json"
VIDEOS = "videos.jsonl"
SHA256 = "checkpoint_sha256"
MAKES = "makes"  # the entries that must be the same in all features of a folder


@dataclass
class DescribedVideo:
    """A video in a folder of features.

    Attributes:
        name: Name that its features are found by.
        path: Path of the video; a relative one starts from the manifest's data_root.
        label: Class of the video; -1 where it is not known.
        file: Path of its features, relative to the folder.
        labels: All labels of a video that has several; label is the first of them.
        error: Reason why it has none; empty where it has, or is still to be read.
    """

    name: str
    path: str
    label: int
    file: str
    labels: list[int] = field(default_factory=list)
    error: str = ""


def is_described(folder: Path) -> bool:
    """Tell whether a folder holds features."""
    return (folder / FILE_NAME).is_file()


def read_manifest(folder: Path) -> dict[str, Any]:
    """Return what the features in a folder are.

    Raises:
        ValueError: The folder holds none, or its manifest is damaged.
    """
    if not is_described(folder):
        raise ValueError(
            f"{str(folder)!r} holds no {FILE_NAME}, so it is no folder of tools/extract_features.py"
        )
    manifest = read_json(folder / FILE_NAME, "the manifest")
    lacking = [
        key for key in (MAKES, "config", "checkpoint", "format", "data_root") if key not in manifest
    ]
    if lacking:
        raise ValueError(f"the manifest {str(folder / FILE_NAME)!r} has no {lacking[0]!r}")
    for key, form in ((MAKES, dict), ("config", str), ("format", str), ("data_root", str)):
        if not isinstance(manifest[key], form):
            raise ValueError(
                f"the manifest {str(folder / FILE_NAME)!r} has {key} {shown(manifest[key])}; "
                "extract the features again, into another folder"
            )
    parse_yaml(manifest["config"], f"the config in {str(folder / FILE_NAME)!r}")
    return manifest


def write_manifest(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Write the manifest of a folder.

    Raises:
        UnwritableError: It cannot be written.
    """
    with whole_file(folder / FILE_NAME) as file:
        file.write((json.dumps(manifest, indent=2) + "\n").encode())


def read_videos(folder: Path) -> dict[str, DescribedVideo]:
    """Return the videos of a folder by name; none where there is no such file.

    Raises:
        ValueError: The file is damaged.
    """
    path = folder / VIDEOS
    if not path.is_file():
        return {}
    videos = {}
    for number, line in enumerate(read_text(path, "the videos").splitlines(), start=1):
        try:
            video = DescribedVideo(**parse_json(line, f"line {number}"))
            if not isinstance(video.label, int):
                raise TypeError(f"the label {shown(video.label)} is not an integer")
            if not all(isinstance(text, str) for text in (video.name, video.path, video.file)):
                raise TypeError("name, path and file are texts")
        except (TypeError, ValueError) as error:
            raise ValueError(f"{str(path)!r}, line {number}: {error}") from error
        videos[video.name] = video
    return videos


def write_videos(folder: Path, videos: Sequence[DescribedVideo]) -> None:
    """Write the videos, a line each.

    Raises:
        UnwritableError: They cannot be written.
    """
    with whole_file(folder / VIDEOS) as file:
        file.writelines((json.dumps(vars(video)) + "\n").encode() for video in videos)


def differences(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> list[str]:
    """Say what the features of two manifests differ in, a clause each; paths do not count."""
    pairs = {key: (theirs[MAKES].get(key), value) for key, value in ours[MAKES].items()}
    their_digest, our_digest = pairs.pop(SHA256)
    if their_digest != our_digest:
        pairs["checkpoint"] = _with_digest(theirs), _with_digest(ours)
    pairs |= changed_answers(theirs["config"], CfgNode.load_cfg(ours["config"]))
    return [
        f"{key} {_in_words(old)}, not {_in_words(new)}"
        for key, (old, new) in pairs.items()
        if old != new
    ]


def _in_words(value: Any) -> str:
    if not isinstance(value, Mapping):
        return str(value)
    return f"({', '.join(f'{key} {part}' for key, part in value.items())})"


def _with_digest(manifest: Mapping[str, Any]) -> str:
    return f"{manifest['checkpoint']} (SHA-256 {str(manifest[MAKES].get(SHA256))[:12]})"
