import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from config import load_cfg_text
from datasets.protocols import build_test_sampling
from datasets.windows import build_windows, successive_clips


def test_clips_of_a_video_by_hand() -> None:
    assert successive_clips(8, 4, 1).tolist() == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert successive_clips(10, 3, 2).tolist() == [[0, 2, 4], [5, 7, 9]]  # the last ends with it
    assert successive_clips(5, 3, 2).tolist() == [[0, 2, 4]]
    assert successive_clips(1, 3, 2).tolist() == [[0, 0, 0]]


@given(st.integers(1, 400), st.integers(1, 16), st.integers(1, 32))
def test_no_place_of_the_video_is_left_out(num_frames: int, clip_len: int, stride: int) -> None:
    clips = successive_clips(num_frames, clip_len, stride)
    shown = np.unique(clips)
    assert shown[0] == 0
    assert shown[-1] < num_frames
    assert num_frames - shown[-1] <= stride or len(clips) == 1
    assert np.diff(shown).max(initial=0) <= stride
    starts = clips[:, 0]
    assert (np.diff(starts) > 0).all()  # none twice
    assert (np.diff(starts)[:-1] == clip_len * stride).all()


@pytest.mark.parametrize("sampling", ["uniform", "tsn", "linspace"])
def test_a_clip_that_is_spread_over_the_video_is_the_tests_first(sampling: str) -> None:
    cfg = load_cfg_text("", "test", ["DATA.SAMPLING", sampling, "DATA.NUM_FRAMES", "4"])
    assert build_windows(cfg)(40).tolist() == build_test_sampling(cfg, "test")(40)[:1].tolist()


@pytest.mark.parametrize(("sampling", "stride"), [("dense", 3), ("tsm_dense", 16)])
def test_dense_clips_follow_each_other(sampling: str, stride: int) -> None:
    words = ["DATA.SAMPLING", sampling, "DATA.NUM_FRAMES", "4", "DATA.FRAME_STRIDE", "3"]
    clips = build_windows(load_cfg_text("", "test", words))(4 * stride * 2)
    assert clips.tolist() == [
        [k * stride for k in range(4)],
        [4 * stride + k * stride for k in range(4)],
    ]
