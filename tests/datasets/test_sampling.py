from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from datasets import sampling

Golden = Callable[[str], dict[str, Any]]


@pytest.fixture(scope="module")
def released(golden: Golden) -> dict[str, Any]:
    return golden("tokshift/d_sampling.npz")


def recorded(released: dict[str, Any], kind: str, case: int, clip_len: int) -> np.ndarray:
    """The 0-based indices of a case, a row a clip; the record holds 1-based frame numbers."""
    first, end = released[f"{kind}_off"][case : case + 2]
    return released[f"{kind}_idx"][first:end].reshape(-1, clip_len) - 1


def test_ten_clips_of_300_frames_start_where_the_release_starts_them() -> None:
    clips = sampling.dense_clips(num_frames=300, clip_len=8, stride=32, num_clips=10)
    assert clips[:, 0].tolist() == [0, 30] + 8 * [45]
    assert clips[0].tolist() == [0, 32, 64, 96, 128, 160, 192, 224]
    assert clips.dtype == np.int64


def test_last_clip_is_one_past_the_last_full_start_and_wraps() -> None:
    clips = sampling.dense_clips(num_frames=9, clip_len=8, stride=1, num_clips=10)
    assert clips[-1].tolist() == [2, 3, 4, 5, 6, 7, 8, 0]


def test_short_video_goes_round_from_its_first_frame() -> None:
    clips = sampling.dense_clips(num_frames=300, clip_len=16, stride=32, num_clips=10)
    around = [*range(0, 300, 32), 20, 52, 84, 116, 148, 180]
    assert clips.tolist() == 10 * [around]
    drawn = sampling.random_dense_clip(300, 16, 32, np.random.default_rng(0))
    assert drawn.tolist() == around


def test_uniform_clip_takes_the_centres_and_the_second_one_the_starts_of_the_spans() -> None:
    assert sampling.tsn_uniform(10, 4).tolist() == [1, 3, 6, 8]
    assert sampling.tsn_uniform_clips(10, 4).tolist() == [[1, 3, 6, 8]]
    twice = sampling.tsn_uniform_clips(10, 4, twice=True)
    assert twice.tolist() == [[1, 3, 6, 8], [0, 2, 5, 7]]
    assert twice.dtype == np.int64


def test_uniform_clip_as_released_is_one_frame_early_and_then_frozen() -> None:
    clips = sampling.tsn_uniform_clips(10, 4, twice=True, as_released=True)
    assert clips.tolist() == [[0, 2, 5, 7], [7, 7, 7, 7]]


def test_dense_clips_equal_the_recorded_ones(released: dict[str, Any]) -> None:
    for case, (num_frames, T, stride, num_clips) in enumerate(released["clip_cases"].tolist()):
        clips = sampling.dense_clips(num_frames, T, stride, num_clips)
        expected = recorded(released, "clip", case, T)
        np.testing.assert_array_equal(clips, expected, str((num_frames, T, stride)))


def test_uniform_clips_as_released_equal_the_recorded_ones(released: dict[str, Any]) -> None:
    for case, (num_frames, T) in enumerate(released["uni_cases"].tolist()):
        first, end = released["uni_off"][case : case + 2]
        clips = sampling.tsn_uniform_clips(num_frames, T, twice=True, as_released=True)
        np.testing.assert_array_equal(clips[0], released["uni_first"][first:end] - 1)
        np.testing.assert_array_equal(clips[1], released["uni_second"][first:end] - 1)


def test_index_is_negative_where_the_release_opens_a_frame_that_does_not_exist(
    released: dict[str, Any],
) -> None:
    for case, (num_frames, T) in enumerate(released["uni_cases"].tolist()):
        opened = sampling.tsn_uniform_clips(num_frames, T, twice=True, as_released=True).ravel()
        crash_at = np.flatnonzero(opened < 0)[:1].tolist() or [-1]
        assert crash_at == [released["uni_crash_at"][case]], (num_frames, T)
    if (released["uni_crash_at"] < 0).all():
        pytest.skip("the release opens no such frame in the part of the golden data that is here")


def test_uniform_clip_is_one_frame_later_than_the_release_and_never_before_the_first(
    released: dict[str, Any],
) -> None:
    for case, (num_frames, T) in enumerate(released["uni_cases"].tolist()):
        first, end = released["uni_off"][case : case + 2]
        indices = sampling.tsn_uniform(num_frames, T)
        np.testing.assert_array_equal(indices, released["uni_first"][first:end])
        assert 0 <= indices.min() <= indices.max() < num_frames


def test_random_dense_clips_and_their_draws_equal_the_recorded_ones(
    released: dict[str, Any], legacy_rng: type
) -> None:
    for case, row in enumerate(released["rclip_cases"].tolist()):
        num_frames, T, stride, seed, low, high, following = row
        rng = legacy_rng(seed)
        expected = recorded(released, "rclip", case, T)
        clips = [sampling.random_dense_clip(num_frames, T, stride, rng) for _ in expected]
        np.testing.assert_array_equal(clips, expected, str(row))
        assert rng.state.randint(1 << 30) == following, row  # as many draws, of the same range
        if low < 0:
            assert {clip[0] for clip in clips} == {0}
        else:
            assert all(low <= clip[0] < high for clip in clips)


def test_random_uniform_clips_and_their_draws_equal_the_recorded_ones(
    released: dict[str, Any], legacy_rng: type
) -> None:
    for case, row in enumerate(released["runi_cases"].tolist()):
        num_frames, T, seed, _, following = row
        if released["runi_error"][case]:
            continue
        rng = legacy_rng(seed)
        expected = recorded(released, "runi", case, T)
        clips = [sampling.tsn_uniform(num_frames, T, rng) for _ in expected]
        np.testing.assert_array_equal(clips, expected, str(row))
        assert rng.state.randint(1 << 30) == following, row


def test_random_uniform_clip_works_where_the_release_crashes(
    released: dict[str, Any], legacy_rng: type
) -> None:
    crashing = released["runi_cases"][released["runi_error"] != ""].tolist()
    if not crashing:
        pytest.skip("the release crashes nowhere in the part of the golden data that is here")
    for num_frames, T, seed, *_ in crashing:
        indices = sampling.tsn_uniform(num_frames, T, legacy_rng(seed))
        assert indices.shape == (T,)
        assert 0 <= indices.min() <= indices.max() < num_frames
        assert (np.diff(indices) >= 0).all()  # frames repeat, but in order


@pytest.mark.parametrize("clip_len", [1, 2, 3, 8, 16])
def test_every_index_lies_inside_the_video(clip_len: int) -> None:
    rng = np.random.default_rng(0)
    for num_frames in range(1, 101):
        clips = [
            sampling.tsn_uniform(num_frames, clip_len),
            sampling.tsn_uniform(num_frames, clip_len, rng),
            *sampling.tsn_uniform_clips(num_frames, clip_len, twice=True),
        ]
        for stride in (1, 2, 5, 32):
            for flag in (False, True):
                clips += list(
                    sampling.dense_clips(num_frames, clip_len, stride, 10, even_starts=flag)
                )
                drawn = sampling.random_dense_clip(num_frames, clip_len, stride, rng, flag)
                clips.append(drawn)
        indices = np.stack(clips)
        assert indices.shape[1] == clip_len
        assert 0 <= indices.min() <= indices.max() < num_frames, num_frames


def test_index_stays_inside_the_video_for_the_largest_draw() -> None:
    class Largest:
        def integers(self, end: int, size: int) -> np.ndarray:
            return np.full(size, end - 1)

        def random(self, size: int) -> np.ndarray:
            return np.full(size, np.nextafter(1.0, 0.0))

    for num_frames in range(1, 20):
        for T in range(1, 20):
            assert sampling.tsn_uniform(num_frames, T, Largest()).max() < num_frames, T


def test_random_uniform_clip_draws_each_frame_of_its_own_span_alone() -> None:
    rng = np.random.default_rng(0)
    drawn = np.stack([sampling.tsn_uniform(17, 4, rng) for _ in range(200)])
    for segment in range(4):
        assert set(drawn[:, segment]) == set(range(4 * segment, 4 * segment + 4))


def test_counts_from_numpy_serve_as_python_ones() -> None:
    F, T = np.int64(300), np.int64(8)
    clips = [
        (
            sampling.dense_clips(F, T, np.int64(32), np.int64(10)),
            sampling.dense_clips(300, 8, 32, 10),
        ),
        (sampling.tsn_uniform(F, T), sampling.tsn_uniform(300, 8)),
        (
            sampling.tsn_uniform_clips(F, T, twice=True),
            sampling.tsn_uniform_clips(300, 8, twice=True),
        ),
        (
            sampling.random_dense_clip(F, T, np.int64(32), np.random.default_rng(1)),
            sampling.random_dense_clip(300, 8, 32, np.random.default_rng(1)),
        ),
    ]
    for ours, expected in clips:
        assert ours.dtype == np.int64
        np.testing.assert_array_equal(ours, expected)


def test_even_starts_reach_both_ends_and_all_differ() -> None:
    clips = sampling.dense_clips(300, clip_len=8, stride=32, num_clips=10, even_starts=True)
    assert clips[:, 0].tolist() == [0, 5, 10, 15, 20, 24, 29, 34, 39, 44]
    assert (np.diff(clips, axis=1) == 32).all()  # none wraps around
    assert clips.max() == 44 + 7 * 32


@pytest.mark.parametrize("num_clips", [1, 10])
def test_even_starts_of_a_short_video_are_its_first_frame(num_clips: int) -> None:
    clips = sampling.dense_clips(20, clip_len=4, stride=5, num_clips=num_clips, even_starts=True)
    assert clips.tolist() == num_clips * [[0, 5, 10, 15]]


def test_one_even_start_is_the_first_frame() -> None:
    clips = sampling.dense_clips(300, clip_len=8, stride=2, num_clips=1, even_starts=True)
    assert clips[0, 0] == 0


def test_draws_last_start_alone_reaches_the_last_full_start() -> None:
    rng = np.random.default_rng(0)
    num_frames = 4 * 5 + 3  # full starts 0..3
    starts = {sampling.random_dense_clip(num_frames, 4, 5, rng)[0] for _ in range(200)}
    assert starts == {0, 1, 2}
    starts = {sampling.random_dense_clip(num_frames, 4, 5, rng, True)[0] for _ in range(200)}
    assert starts == {0, 1, 2, 3}


def test_same_generator_state_draws_the_same_clip() -> None:
    for draw in (
        lambda rng: sampling.random_dense_clip(100, 4, 5, rng),
        lambda rng: sampling.tsn_uniform(100, 4, rng),
        lambda rng: sampling.tsn_uniform(3, 8, rng),
    ):
        first, second = (draw(np.random.default_rng(5)) for _ in range(2))
        np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("num_frames", [0, -1])
def test_empty_video_is_an_error(num_frames: int) -> None:
    rng = np.random.default_rng(0)
    for sample in (
        lambda: sampling.dense_clips(num_frames, 8, 32, 10),
        lambda: sampling.random_dense_clip(num_frames, 8, 32, rng),
        lambda: sampling.tsn_uniform(num_frames, 8),
        lambda: sampling.tsn_uniform(num_frames, 8, rng),
        lambda: sampling.tsn_uniform_clips(num_frames, 8),
    ):
        with pytest.raises(ValueError, match=f"at least one frame, got {num_frames}"):
            sample()
