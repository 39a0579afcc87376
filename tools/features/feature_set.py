"""A folder of features as a set to be classified: one vector and one label for each video."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from config.values import counted
from tools.features.classifiers import LabelledFeatures
from tools.features.feature_files import FeatureFiles
from tools.features.manifest import differences, read_manifest, read_videos

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FeatureSet:
    """The features of the readable videos in a folder.

    Attributes:
        features: Mean over the clips of each video, and its label.
        paths: Paths of the videos.
        manifest: Description of the features.
    """

    features: LabelledFeatures
    paths: list[str]
    manifest: dict[str, Any]


def read_feature_set(folder: Path) -> FeatureSet:
    """Read what tools/extract_features.py wrote for a list with labels.

    Raises:
        ValueError: It holds none, is not finished, or lacks labels.
    """
    manifest = read_manifest(folder)
    files = FeatureFiles(folder, manifest["format"])
    videos = [*read_videos(folder).values()]
    readable = [video for video in videos if not video.error]
    if len(readable) < len(videos):
        _log.warning(
            "%s: %d of %s had no features, being unreadable",
            *(folder, len(videos) - len(readable), counted(len(videos), "video")),
        )
    missing = [video.name for video in readable if not files.holds(video.name)]
    if missing or not readable:
        of_first = f", {missing[0]!r} first" if missing else ""
        raise ValueError(
            f"{folder}: {len(missing)} of {len(videos)} videos have no features yet{of_first}; run "
            "the same command of tools/extract_features.py again, which goes on"
        )
    unlabelled = [video.name for video in readable if video.label < 0]
    if unlabelled:
        raise ValueError(
            f"{folder}: {len(unlabelled)} of {len(videos)} videos have no label, {unlabelled[0]!r} "
            "first; extract the features of a list of lines `path label`"
        )
    several = [video.name for video in readable if video.labels]
    if several:
        raise ValueError(
            f"{folder}: {len(several)} of {len(videos)} videos have several labels, {several[0]!r} "
            "first; tools/probe.py is for videos of one class each"
        )
    clips = (torch.from_numpy(files.read_clips(video.name)) for video in readable)
    values = torch.stack([vectors.mean(0) for vectors in clips])  # (N, C)
    labels = torch.tensor([video.label for video in readable])
    paths = [str(Path(manifest["data_root"]) / video.path) for video in readable]
    return FeatureSet(LabelledFeatures(values, labels), paths, manifest)


def check_together(train: FeatureSet, val: FeatureSet) -> None:
    """Make sure that two sets are of one model; say which videos are in both.

    Raises:
        ValueError: They were made differently; the text says how.
    """
    faults = differences(train.manifest, val.manifest)
    if faults:
        raise ValueError(f"--train and --val differ: {'; '.join(faults)}; extract both alike")
    both = {*train.paths} & {*val.paths}
    if both:
        _log.warning(
            "%s of the validation are trained on, %r first: the accuracy is too high",
            *(counted(len(both), "video"), min(both)),
        )
