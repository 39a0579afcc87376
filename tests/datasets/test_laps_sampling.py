"""Frame indices of TokShift's second version."""

import random
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from config import load_cfg_text
from datasets.annotations import VideoRecord
from datasets.decode.video_file import VideoFile
from datasets.laps_sampling import laps_clip, laps_clips
from datasets.protocols import build_test_sampling, build_train_sampling
from datasets.records import open_frames, pick_frames

Golden = Callable[[str], dict[str, Any]]


class PythonRng:
    """Python's generator, which the decoder draws its start from, under numpy's names."""

    def __init__(self, seed: int) -> None:
        self.state = random.Random(seed)

    def uniform(self, low: float, high: float) -> float:
        return self.state.uniform(low, high)


def rows_of(golden: Golden, kind: str) -> list[tuple[list[int], list[int]]]:
    data = golden("laps/sampling.npz")
    indices = np.split(data[f"{kind}_idx"], data[f"{kind}_off"][1:])
    rows = zip(data[f"{kind}_cases"].tolist(), indices, strict=False)
    return [(case, found.tolist()) for case, found in rows]


def test_test_clips_equal_the_recorded_ones(golden: Golden) -> None:
    for (F, ticks, T, step, clip, num_clips), expected in rows_of(golden, "test"):
        clips = laps_clips(F, T, step, num_clips, ticks)
        assert clips.dtype == np.int64
        assert clips[clip].tolist() == expected


def test_training_clips_equal_the_recorded_ones(golden: Golden) -> None:
    for (F, ticks, T, step, seed), expected in rows_of(golden, "train"):
        rng: Any = PythonRng(seed)
        assert laps_clip(F, T, step, rng, ticks).tolist() == expected


def test_clips_without_a_duration_equal_the_recorded_ones(golden: Golden) -> None:
    for (F, T, step, clip, num_clips), expected in rows_of(golden, "unknown"):
        assert laps_clips(F, T, step, num_clips, ticks=0)[clip].tolist() == expected


def test_frames_of_videos_are_those_that_the_release_decodes(
    golden_json: Callable[[str], Any], golden_path: Callable[[str], Path]
) -> None:
    pytest.importorskip("av")
    for row in golden_json("laps/videos.json"):
        words = ["DATA.SAMPLING", "laps", "DATA.NUM_FRAMES", str(row["T"])]
        words += ["DATA.FRAME_STRIDE", str(row["step"]), "TEST.NUM_CLIPS", str(row["views"])]
        cfg = load_cfg_text("", "test", words)
        path = golden_path(f"laps/videos/{row['video']}")
        record = VideoRecord(str(path), row["info"]["frames"], 0, 1)
        open_video = partial(open_frames, cfg)
        if row["clip"] < 0:
            rng: Any = PythonRng(row["seed"])
            clip = pick_frames(record, build_train_sampling(cfg), open_video, rng)
        else:
            clip = pick_frames(record, build_test_sampling(cfg, "test"), open_video)[row["clip"]]
        assert clip.tolist() == row["numbers"], row


def test_frames_carry_the_numbers_that_are_asked_for(
    golden_json: Callable[[str], Any], golden_path: Callable[[str], Path]
) -> None:
    pytest.importorskip("av")
    row = next(row for row in golden_json("laps/videos.json") if row["video"].endswith("avi"))
    frames = VideoFile(golden_path(f"laps/videos/{row['video']}")).read(row["numbers"])
    squares = frames[:, 2:6, :80].mean((1, 3)).reshape(-1, 10, 8)[..., 2:6].mean(-1)
    numbers = (squares > 128) @ (2 ** np.arange(10))
    assert numbers.tolist() == row["numbers"]


def test_clips_by_hand() -> None:
    eight = laps_clips(300, 8, 32, num_clips=10)
    assert eight[0].tolist() == [0, 36, 72, 109, 145, 182, 218, 255]
    assert eight[:, 0].tolist() == [0, 5, 9, 14, 18, 22, 27, 31, 36, 40]  # of 44 spare ones
    assert laps_clips(300, 8, 32, 10, ticks=1)[:, 0].tolist() == [
        *(0, 4, 8, 13, 17, 22, 26, 30, 35, 39)  # of AVI
    ]
    assert len({tuple(clip) for clip in laps_clips(300, 16, 32, 10)}) == 1
    assert laps_clips(4, 4, 2, 1).tolist() == [[0, 2, 0, 3]]  # 0, 2.33, 4.67, 7 of 4 frames


@given(st.integers(1, 700), st.integers(1, 20), st.integers(1, 40), st.integers(0, 99))
def test_indices_lie_in_the_video(F: int, T: int, stride: int, seed: int) -> None:
    for ticks in (None, 0, 1, 512.0, 1001 / 30):
        clips = laps_clips(F, T, stride, 3, ticks)
        drawn = laps_clip(F, T, stride, np.random.default_rng(seed), ticks)
        assert clips.shape == (3, T)
        assert drawn.shape == (T,)
        assert 0 <= min(clips.min(), drawn.min()) <= max(clips.max(), drawn.max()) < F


def test_an_empty_video_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one frame, got 0"):
        laps_clips(0, 8, 32, 1)
