from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from config import load_cfg_text
from datasets.annotations import VideoRecord
from datasets.augment.flips import (
    build_mirrored_labels,
    mirrored_by_name,
    mirrored_by_pairs,
    parse_pairs,
)
from datasets.augment.multi_scale import MultiScaleTransform
from datasets.augment.short_side import TrainTransform
from datasets.clips import ClipMaker, TrainClips
from datasets.readers import FrameFolder

SOMETHING_PAIRS = "86-87, 93-94, 166-167"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Pulling [something] from left to right", "Pulling [something] from right to left"),
        ("Swiping Left", "Swiping Right"),
        ("SwipeLeft", "SwipeRight"),
        ("turn_left", "turn_right"),
        ("Turning Hand Clockwise", "Turning Hand Counterclockwise"),
        ("turn clockwise", "turn counter-clockwise"),
    ],
)
def test_names_that_differ_by_the_mirror_are_pairs(one: str, other: str) -> None:
    assert mirrored_by_name([one, "No gesture", other]) == [2, 1, 0]


def test_words_that_only_contain_left_or_right_are_not_meant() -> None:
    names = ["upright row", "copyright", "cleft", "leftover cooking", "playing the brightest"]
    assert mirrored_by_name(names) == [0, 1, 2, 3, 4]


def test_a_class_without_a_partner_has_no_mirror_image() -> None:
    assert mirrored_by_name(["raise left hand", "wave"]) == [None, 1]


def test_given_pairs_are_swapped() -> None:
    pairs = parse_pairs(SOMETHING_PAIRS, 174)
    assert pairs == [(86, 87), (93, 94), (166, 167)]
    table = mirrored_by_pairs(pairs, 174)
    assert [table[label] for label in (86, 87, 166, 167, 0)] == [87, 86, 167, 166, 0]


@pytest.mark.parametrize("text", ["86", "86-", "86-174", "1-1, 1-2", "1-2, 2-3", "left-right"])
def test_malformed_pairs_are_refused(text: str) -> None:
    if text == "1-1, 1-2":
        text = "0-1, 1-2"
    with pytest.raises(ValueError, match=r"AUG\.FLIP_PAIRS"):
        parse_pairs(text, 174)


def config(names: Path | str, *overrides: str) -> Any:
    words = ["MODEL.NUM_CLASSES", "3", "DATA.CLASS_NAMES", str(names), *overrides]
    return load_cfg_text("", "test", words)


@pytest.fixture
def names(tmp_path: Path) -> Path:
    path = tmp_path / "classes.txt"
    path.write_text("left\nright\nraise left hand\n")
    return path


def test_the_config_chooses_the_table(names: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert build_mirrored_labels(config(names, "AUG.FLIP_PAIRS", "names")) == [1, 0, None]
    assert build_mirrored_labels(config("", "AUG.FLIP_PAIRS", "0-2")) == [2, 1, 0]
    assert not caplog.records
    assert build_mirrored_labels(config(names)) == [0, 1, 2]
    assert "'left', 'right', 'raise left hand'" in caplog.text


def test_without_flips_no_names_are_needed() -> None:
    cfg = config("", "AUG.FLIP_PAIRS", "names", "AUG.FLIP", "False")
    assert build_mirrored_labels(cfg) == [0, 1, 2]


def test_names_without_a_file_are_refused() -> None:
    with pytest.raises(ValueError, match=r"DATA\.CLASS_NAMES"):
        build_mirrored_labels(config("", "AUG.FLIP_PAIRS", "names"))


@pytest.mark.parametrize(
    "transform", [MultiScaleTransform(16), TrainTransform(16, [16, 20], jitter_one_in=0)]
)
def test_mirrored_clips_carry_the_class_of_the_mirror_image(tmp_path: Path, transform: Any) -> None:
    """The brighter half of each frame is its class; what the clip shows is what its label says."""
    for name in ("left", "right", "raise left hand"):
        frame = np.zeros((20, 20, 3), dtype=np.uint8)
        frame[:, slice(10, 20) if name == "right" else slice(0, 10)] = 255
        (tmp_path / name).mkdir()
        Image.fromarray(frame).save(tmp_path / name / "1.png")
    records = [
        VideoRecord(name, 1, label, label)
        for label, name in enumerate(("left", "right", "raise left hand"))
    ]
    maker = ClipMaker(
        lambda record: FrameFolder(tmp_path / record.path, "{}.png"),
        lambda num_frames, rng: np.zeros(2, dtype=np.int64),
        transform,
        mirrored_labels=[1, 0, None],
    )
    clips = TrainClips(records, maker, seed=0)
    shown = set()
    for epoch in range(24):
        for index in range(3):
            clip, label, _, is_mirrored, *_ = clips[epoch, index]
            half = clip.float().mean((0, 1, 2))
            is_right = bool(half[8:].mean() > half[:8].mean())
            assert int(label) == (2 if index == 2 else int(is_right))
            assert index != 2 or not is_right
            assert bool(is_mirrored) == (is_right != (index == 1))
            shown.add((index, is_right))
    assert shown == {(0, False), (0, True), (1, False), (1, True), (2, False)}
    assert clip.dtype == torch.uint8
