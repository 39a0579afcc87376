"""Frame indices and crops of MMAction2's tests, against its own tables."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from config import load_cfg_text
from datasets import sampling
from datasets.protocols import build_test_sampling, build_train_sampling
from datasets.view_crops import VIEW_CROPS

Json = Callable[[str], Any]
RngType = Callable[[int], Any]
PROTOCOL = "other/mmaction2/protocol.json"
TESTS: dict[str, Callable[[int], np.ndarray]] = {
    "tsm_test": lambda F: sampling.tsn_uniform_clips(F, 8),
    "tsm_test_16": lambda F: sampling.tsn_uniform_clips(F, 16),
    "tsm_test_twice": lambda F: sampling.tsn_uniform_clips(F, 8, twice=True),
    "tsn_test_25": lambda F: sampling.tsn_uniform_clips(F, 25),
    "dense_test": lambda F: sampling.tsm_dense_clips(F, 8),
    "timesformer_test": lambda F: sampling.middle_dense_clips(F, 8, 32, num_clips=1),
}


def test_every_row_of_its_tests_is_met(golden_json: Json) -> None:
    rows = golden_json(PROTOCOL)["test"]
    assert {kind for kind, *_ in rows} == TESTS.keys()
    for kind, num_frames, expected in rows:
        clips = TESTS[kind](num_frames)
        assert clips.dtype == np.int64
        assert clips.ravel().tolist() == expected, (kind, num_frames)


def test_training_clips_are_its_own(golden_json: Json, legacy_rng: RngType) -> None:
    words = ["DATA.SAMPLING", "mmaction_dense"]
    sample = build_train_sampling(load_cfg_text("", "test", words))
    for kind, num_frames, seed, expected in golden_json(PROTOCOL)["train"]:
        if kind == "timesformer_train":
            assert sample(num_frames, rng=legacy_rng(seed)).tolist() == expected


@pytest.mark.parametrize(
    ("num_clips", "starts"), [(1, [37]), (2, [0, 75]), (4, [0, 25, 50, 75]), (3, [0, 38, 75])]
)
def test_several_clips_go_from_the_first_frame_to_the_last(
    num_clips: int, starts: list[int]
) -> None:
    words = ["DATA.SAMPLING", "mmaction_dense", "TEST.NUM_CLIPS", str(num_clips)]
    clips = build_test_sampling(load_cfg_text("", "test", words), "test")(300)
    assert clips[:, 0].tolist() == starts
    assert clips[-1, -1] == (299 if num_clips > 1 else 261)


def test_its_crops_and_sizes_are_met(golden_json: Json) -> None:
    for text, (width, height) in golden_json(PROTOCOL)["resize_w_h"].items():
        sides, *_, short_side = text.split(" ")
        frames = torch.zeros(1, 3, *map(int, reversed(sides.split("x"))), dtype=torch.uint8)
        resized = VIEW_CROPS["mmaction"].resize(frames, int(short_side))
        assert resized.shape[-2:] == (height, width), text
    for name, boxes in golden_json(PROTOCOL)["crop_boxes_x0_y0_x1_y1"].items():
        kind, sides = name.split(" ")
        width, height = map(int, sides.split("x"))
        if isinstance(boxes, str):  # it refuses these
            continue
        size, num_crops = boxes[0][2] - boxes[0][0], {"Th": 3, "Te": 5, "Ce": 1}[kind[:2]]
        *others, centre = [(top, left) for left, top, *_ in boxes[:: 2 if num_crops == 5 else 1]]
        assert VIEW_CROPS["mmaction"].boxes(height, width, size, num_crops) == [centre, *others]
