from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from datasets import sampling

RngType = Callable[[int], Any]
Json = Callable[[str], Any]


@pytest.fixture(scope="module")
def table(golden_json: Json) -> list[list[Any]]:
    return golden_json("tsm/data/sampling.json")["rows"]


def released_indices(row: list[Any], legacy_rng: RngType) -> np.ndarray:
    """Our indices for a row of the table, 1-based as there."""
    mode, _, snippet_len, num_segments, num_frames, seed, *_ = row
    rng = legacy_rng(seed) if seed is not None else None
    sizes = (num_frames, num_segments)
    clips = {
        "train": lambda: sampling.tsm_segments(*sizes, rng, snippet_len),
        "val": lambda: sampling.tsm_centres(*sizes, snippet_len),
        "test": lambda: sampling.tsm_clips(*sizes, snippet_len=snippet_len),
        "test_twice": lambda: sampling.tsm_clips(*sizes, twice=True, snippet_len=snippet_len),
        "train_dense": lambda: sampling.tsm_dense_clip(*sizes, rng),
        "val_dense": lambda: sampling.tsm_dense_clip(*sizes, rng),
        "test_dense": lambda: sampling.tsm_dense_clips(*sizes),
    }[mode]()
    assert clips.dtype == np.int64
    return clips.ravel() + 1


def test_every_row_of_the_release_is_met(table: list[list[Any]], legacy_rng: RngType) -> None:
    checked = 0
    for row in table:
        if row[6] == "error":
            continue
        # of a video shorter than a snippet of flow the release asks for frames 0 and -1
        expected = np.maximum(row[7], 1) if row[4] < row[2] else np.array(row[7])
        np.testing.assert_array_equal(released_indices(row, legacy_rng), expected, str(row))
        checked += 1
    assert checked > 0


def test_where_the_release_crashes_the_first_frame_repeats(
    table: list[list[Any]], legacy_rng: RngType
) -> None:
    rows = [row for row in table if row[6] == "error"]
    for row in rows:
        assert released_indices(row, legacy_rng).tolist() == [1] * row[3]


def test_one_generator_serves_many_calls_as_in_the_release(
    golden_json: Json, legacy_rng: RngType
) -> None:
    stream = golden_json("tsm/data/sampling_stream.json")
    rng = legacy_rng(stream["numpy_seed"])
    for is_dense, num_frames, expected in stream["rows"]:
        draw = sampling.tsm_dense_clip if is_dense else sampling.tsm_segments
        assert (draw(num_frames, stream["num_segments"], rng) + 1).tolist() == expected


@pytest.mark.parametrize("mode", ["tsm_train", "tsm_valid_test"])
def test_paddlevideos_select_left_rows_are_met(
    golden_json: Json, legacy_rng: RngType, mode: str
) -> None:
    rows = golden_json("paddlevideo/data/sampler_indices.json")
    rows = [row for row in rows if row["mode"] == mode and not row["error"]]
    if not rows:
        pytest.skip(f"no row of {mode} is in the part of the golden data that is here")
    for row in rows:
        sizes = (row["frames_len"], row["num_seg"])
        if mode == "tsm_train":
            ours = sampling.tsm_segments(*sizes, legacy_rng(row["seed"]))
        else:
            ours = sampling.tsm_centres(*sizes)
        first_frame = 1 if row["format"] == "frame" else 0
        np.testing.assert_array_equal(ours + first_frame, row["idx"], str(row))


def test_samples_of_a_released_run_are_met(
    golden_json: Json, golden_path: Callable[[str], Path]
) -> None:
    run, lengths = golden_json("tsm/e2e/train_run.json")["run"], {}
    for name in ("train", "val"):
        path = golden_path(f"tsm/e2e/dataset/something/v1/{name}_videofolder.txt")
        lengths |= {line.split()[0]: int(line.split()[1]) for line in path.read_text().splitlines()}
    for split, video, expected in run["samples"]:
        if split == "val":
            assert (sampling.tsm_centres(lengths[video], len(expected)) + 1).tolist() == expected
        else:
            assert all(1 <= index <= lengths[video] for index in expected)


def test_segments_by_hand() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        clip = sampling.tsm_segments(10, 4, rng)  # spans of 2 frames; the last two are never drawn
        assert (clip // 2).tolist() == [0, 1, 2, 3]
    assert sampling.tsm_segments(3, 4, rng).tolist() == [0, 0, 0, 0]
    assert sampling.tsm_centres(10, 4).tolist() == [1, 3, 6, 8]
    assert sampling.tsm_centres(4, 4).tolist() == [0, 0, 0, 0]
    assert sampling.tsm_clips(4, 4, twice=True).tolist() == [[0, 1, 2, 3], [0, 1, 2, 3]]


def test_the_last_dense_start_is_drawn_on_request_only() -> None:
    rng = np.random.default_rng(0)
    released = {int(sampling.tsm_dense_clip(66, 8, rng)[0]) for _ in range(50)}
    mended = {int(sampling.tsm_dense_clip(66, 8, rng, draws_last_start=True)[0]) for _ in range(50)}
    assert released == {0, 1}
    assert mended == {0, 1, 2}


def test_an_empty_video_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one frame"):
        sampling.tsm_centres(0, 8)
