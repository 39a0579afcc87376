import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datasets import paddle_sampling, sampling
from datasets.decode.video_file import VideoFile
from datasets.paddle_sampling import (
    dense_clip,
    linspace_clip,
    paddle_window,
    span_middles,
    spread,
    uniform_clip,
)

RngType = Callable[[int], Any]
Row = dict[str, Any]


class PythonRng:
    """Python's generator, which the decoder draws its start from, under numpy's names."""

    def __init__(self, seed: int) -> None:
        self.state = random.Random(seed)

    def uniform(self, low: float, high: float) -> float:
        return self.state.uniform(low, high)

    def integers(self, end: int, size: int) -> np.ndarray:
        return np.array([self.state.randint(0, end - 1) for _ in range(size)])


@pytest.fixture(scope="module")
def rows(golden_json: Callable[[str], Any]) -> list[Row]:
    return golden_json("paddlevideo/data/sampler_indices.json")


def rows_of(rows: list[Row], mode: str) -> list[Row]:
    found = [row for row in rows if row["mode"].startswith(mode)]
    if not found:
        pytest.skip(f"the rows of {mode} are not in the part of the golden data that is here")
    return found


def assert_met(ours: np.ndarray, row: Row, first_frame: int) -> None:
    assert ours.dtype == np.int64
    np.testing.assert_array_equal(ours + first_frame, row["idx"], str(row))


# Every index of the release's sampler


def test_linspace_rows_are_met(rows: list[Row]) -> None:
    for row in rows_of(rows, "linspace (timesformer"):
        ours = linspace_clip(row["frames_len"], row["num_seg"])
        assert_met(ours, row, first_frame=row["format"] == "frame")


def test_linspace_rows_with_start_and_end_are_met(rows: list[Row]) -> None:
    for row in rows_of(rows, "linspace with start/end"):
        sizes = (row["frames_len"], row["num_seg"])
        assert_met(spread(*sizes, row["start_idx"], row["end_idx"]), row, first_frame=0)


def test_uniform_rows_are_met_but_for_files_that_do_not_exist(rows: list[Row]) -> None:
    for row in rows_of(rows, "uniform_valid"):
        sizes = (row["frames_len"], row["num_seg"])
        ours, is_folder = uniform_clip(*sizes), row["format"] == "frame"
        if is_folder and row["frames_len"] < row["num_seg"]:
            assert max(row["idx"]) > row["frames_len"]  # of a short folder it asks for frames T
            assert ours.max() < row["frames_len"]
        else:
            assert_met(ours, row, first_frame=is_folder)


def test_dense_training_rows_are_those_of_the_tsm_release(
    rows: list[Row], legacy_rng: RngType
) -> None:
    for row in rows_of(rows, "dense_train"):
        sizes = (row["frames_len"], row["num_seg"])
        assert_met(dense_clip(*sizes, rng=legacy_rng(row["seed"])), row, first_frame=1)


def test_dense_validation_rows_are_those_of_the_tsm_release(rows: list[Row]) -> None:
    for row in rows_of(rows, "dense_valid"):
        ours = sampling.tsm_dense_clips(row["frames_len"], row["num_seg"])
        assert_met(ours.ravel(), row, first_frame=1)


def test_uniform_training_rows_are_those_of_tsn(rows: list[Row]) -> None:
    for row in rows_of(rows, "uniform_train"):
        sizes = (row["frames_len"], row["num_seg"])
        if row["frames_len"] >= row["num_seg"]:  # below, ours repeat in order, Paddle's wrap
            ours = sampling.tsn_uniform(*sizes, PythonRng(row["seed"]))  # type: ignore[arg-type]
            assert_met(ours, row, first_frame=row["format"] == "frame")


# The released decoder's window


def test_window_of_every_decoder_row_is_met(
    golden_json: Callable[[str], Any], golden_path: Callable[[str], Path]
) -> None:
    pytest.importorskip("av")
    rows = [row for row in golden_json("paddlevideo/data/decoder.json") if "mode" in row]
    for row in rows:
        video = VideoFile(golden_path(f"paddlevideo/data/{row['video']}"))
        rng: Any = PythonRng(row["seed"]) if row["mode"] != "test" else None
        window = paddle_window(
            len(video), row["num_seg"], video.fps, rng, ticks=video.ticks_per_frame
        )
        assert (row["start_idx"], row["end_idx"]) == (0.0, window.end)
        assert window.num_frames == row["frames_len"]


def kept_by_time_stamps(
    num_frames: int, length: float, start: float, ticks: float
) -> tuple[int, int]:
    """The decoder's loop: first frame kept, and how many, of a video at so many ticks a frame."""
    first_tick, last_tick = int(start * ticks), int((start + length - 1) * ticks)
    kept = []
    for frame in range(num_frames):
        if round(frame * ticks) < first_tick:
            continue
        kept.append(frame)
        if round(frame * ticks) > last_tick:
            break
    return kept[0], len(kept)


@given(
    st.integers(1, 700),
    st.integers(1, 20),
    st.sampled_from([24.0, 25.0, 29.97, 30.0]),
    st.integers(0, 99),
    st.sampled_from([None, 1.0, 2.0, 512.0, 1001.0, 100 / 3, 90000 / 29.97]),
)
def test_window_is_what_the_decoders_loop_over_time_stamps_keeps(
    num_frames: int, num_segments: int, fps: float, seed: int, ticks: float | None
) -> None:
    length = 32 * num_segments / 30 * fps
    start = np.random.default_rng(seed).uniform(0, max(num_frames - length, 0))
    window = paddle_window(num_frames, num_segments, fps, np.random.default_rng(seed), ticks)
    # without ticks: a clock so fine that a start within a tick after a frame does not come up
    loop = kept_by_time_stamps(num_frames, length, start, ticks or 10**9)
    assert (window.first, window.num_frames) == loop


def test_window_by_hand() -> None:
    assert paddle_window(300, 8, 30.0) == (0, 257, 255.0)  # 8.53 s, and one frame more
    assert paddle_window(300, 16, 30.0) == (0, 300, 511.0)  # 17 s of a 10 s video
    assert paddle_window(100, 8, 25.0).end == pytest.approx(212.333333)
    assert paddle_window(7, 8, None) == (0, 7, 6)
    starts = {paddle_window(300, 8, 30.0, np.random.default_rng(seed)).first for seed in range(200)}
    assert min(starts) >= 1
    assert max(starts) == 44  # of [0, 44]
    draws = [np.random.default_rng(0) for _ in range(2)]  # 28.03 both
    assert paddle_window(300, 8, 30.0, draws[0])[:2] == (29, 256)
    assert paddle_window(300, 8, 30.0, draws[1], ticks=1)[:2] == (28, 257)  # of AVI


def test_eight_frames_of_ten_seconds_span_the_first_eight_and_sixteen_end_in_copies() -> None:
    assert linspace_clip(300, 8, fps=30.0).tolist() == [0, 36, 72, 109, 145, 182, 218, 255]
    sixteen = linspace_clip(300, 16, fps=30.0).tolist()
    assert sixteen[:9] == [0, 34, 68, 102, 136, 170, 204, 238, 272]
    assert sixteen[9:] == [299] * 7
    assert linspace_clip(300, 8).tolist() == [0, 42, 85, 128, 170, 213, 256, 299]


def test_clips_by_hand() -> None:
    assert uniform_clip(20, 8).tolist() == [0, 2, 4, 6, 8, 10, 12, 14]
    assert uniform_clip(30, 8).tolist() == [1, 4, 7, 10, 13, 16, 19, 22]
    assert uniform_clip(3, 8).tolist() == [0, 1, 2, 0, 1, 2, 0, 1]
    assert uniform_clip(600, 8, fps=30.0).tolist() == span_middles(257, 8).tolist()
    assert linspace_clip(1, 4).tolist() == [0, 0, 0, 0]


@given(st.integers(1, 600), st.integers(1, 64), st.integers(0, 99))
def test_indices_lie_in_the_video_and_in_the_window(
    num_frames: int, num_segments: int, seed: int
) -> None:
    for fps in (None, 12.5):
        draw = paddle_window(num_frames, num_segments, fps, np.random.default_rng(seed))
        last = draw.first + draw.num_frames - 1
        assert 0 <= draw.first <= last < num_frames
        rng = np.random.default_rng(seed)
        spread_out = linspace_clip(num_frames, num_segments, fps, np.random.default_rng(seed))
        dense = dense_clip(num_frames, num_segments, rng, fps)
        for indices in (spread_out, dense):
            assert indices.shape == (num_segments,)
            assert draw.first <= indices.min() <= indices.max() <= last
        assert (np.diff(spread_out) >= 0).all()
        assert uniform_clip(num_frames, num_segments, fps).max() < num_frames


def test_the_last_dense_start_is_drawn_on_request_only() -> None:
    for flag, expected in ((False, {0, 1}), (True, {0, 1, 2})):
        rngs = (np.random.default_rng(seed) for seed in range(50))
        starts = {int(dense_clip(66, 8, rng, draws_last_start=flag)[0]) for rng in rngs}
        assert starts == expected


@pytest.mark.parametrize("clip", [linspace_clip, uniform_clip])
def test_an_empty_video_is_refused(clip: Callable[[int, int], np.ndarray]) -> None:
    with pytest.raises(ValueError, match="at least one frame, got 0"):
        clip(0, 8)


def test_window_seconds_are_the_published_ones() -> None:
    assert paddle_sampling.window_seconds(8) == pytest.approx(8.53, abs=0.01)
