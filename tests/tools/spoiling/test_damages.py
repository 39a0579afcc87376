"""What damages do to frames and to time, and that it depends on the seed alone."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from config import load_cfg_text
from datasets.annotations import VideoRecord
from tests.tools.test_predict import YML, write_frames
from tools.spoiling.damages import (
    DAMAGES,
    DamagedVideos,
    at_other_rate,
    blurred,
    brightened,
    dropped,
    noisy,
    repeated,
)

RNG = np.random.default_rng
OF_FRAME = [kind for kind, damage in DAMAGES.items() if damage.of_frame]


def picture(height: int = 240, width: int = 320) -> np.ndarray:
    rng = RNG(0)
    coarse = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return np.array(Image.fromarray(coarse).resize((width, height), Image.Resampling.BILINEAR))


@pytest.mark.parametrize("kind", OF_FRAME)
def test_worse_severities_leave_less_of_a_frame(kind: str) -> None:
    damage, frame = DAMAGES[kind], picture()
    assert damage.of_frame
    distances = []
    for level in damage.levels:
        changed = damage.of_frame(frame, level, RNG(0))
        assert (changed.shape, changed.dtype) == (frame.shape, np.uint8)
        distances.append(float(np.abs(changed.astype(int) - frame).mean()))
    assert distances == sorted(distances)
    assert distances[0] > 0


def test_frames_are_left_as_they_were() -> None:
    frame = picture()
    before = frame.copy()
    for kind in OF_FRAME:
        damage = DAMAGES[kind]
        assert damage.of_frame
        damage.of_frame(frame, damage.levels[-1], RNG(0))
    assert np.array_equal(frame, before)


def test_frames_change_as_their_levels_say() -> None:
    grey = np.full((100, 100, 3), 128, np.uint8)
    assert np.array_equal(brightened(grey, 0.1, RNG(0)), np.full_like(grey, 154))  # 128 + 25.5
    assert brightened(grey, -0.9, RNG(0)).max() == 0
    noise = noisy(grey, 0.1, RNG(0)).astype(int) - 128
    assert noise.std() == pytest.approx(25.5, rel=0.02)
    assert np.array_equal(blurred(grey, 6, RNG(0)), grey)
    edge = grey.copy()
    edge[:, 50:] = 255
    small, large = (blurred(edge.repeat(n, 0).repeat(n, 1), 6, RNG(0)) for n in (1, 3))
    # the blur grows with the frame, but for Pillow's boxes of whole pixels
    assert np.abs(large[1::3, 1::3].astype(int) - small).max() <= 3


def test_dropped_frames_are_so_many_and_more_with_the_severity() -> None:
    kept = [dropped(20, share, RNG(3)).tolist() for share in (0.1, 0.3, 0.5, 1.0)]
    assert [len(frames) for frames in kept] == [18, 14, 10, 1]
    for more, fewer in pairwise(kept):
        assert more == sorted(more)
        assert {*fewer} <= {*more}
    assert dropped(1, 0.7, RNG(0)).tolist() == [0]


def test_repeated_frames_show_the_one_before() -> None:
    shown = repeated(20, 0.3, RNG(3))
    frozen = np.flatnonzero(shown != np.arange(20))
    assert len(frozen) == 6
    assert (shown[frozen] == shown[frozen - 1]).all()
    assert repeated(1, 0.7, RNG(0)).tolist() == [0]
    assert repeated(5, 1.0, RNG(0)).tolist() == [0] * 5


def test_other_rates_show_the_same_time() -> None:
    assert at_other_rate(4, 2.0, RNG(0)).tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert at_other_rate(4, 1.5, RNG(0)).tolist() == [0, 0, 1, 2, 2, 3]
    assert at_other_rate(8, 0.5, RNG(0)).tolist() == [0, 2, 4, 6]
    assert at_other_rate(2, 0.25, RNG(0)).tolist() == [0]


@pytest.mark.parametrize("kind", DAMAGES)
def test_draws_depend_on_seed_and_video_alone(tmp_path: Path, kind: str) -> None:
    write_frames(tmp_path / "v", 12, seed=0)
    cfg = load_cfg_text(YML, "t", ["DATA.ROOT", str(tmp_path)])

    def frames(line: int, seed: int, *indices: int) -> np.ndarray:
        videos = DamagedVideos(cfg, {line: 12}, kind, 3, seed)
        return videos(VideoRecord("v", 0, 0, line)).read(indices)

    first = frames(1, 0, 0, 1, 2)
    assert np.array_equal(first, frames(1, 0, 0, 1, 2))
    assert np.array_equal(first[2:], frames(1, 0, 2))  # whatever else is read
    is_drawn = kind in ("noise", "dropped", "repeated")
    some = [frames(1, seed, 0, 1, 2) for seed in range(4)] + [frames(2, 0, 0, 1, 2)]
    assert is_drawn == any(not np.array_equal(first, other) for other in some)


def test_lists_that_use_the_beginning_of_a_video_go_on_doing_so(tmp_path: Path) -> None:
    write_frames(tmp_path / "v", 12, seed=0)
    cfg = load_cfg_text(YML, "t", ["DATA.ROOT", str(tmp_path)])
    record = VideoRecord("v", 0, 0, 1)
    for lengths, num_frames in (({1: 6}, 3), ({}, 6)):
        video = DamagedVideos(cfg, lengths, "lower-rate", 3, seed=0)(record)
        assert len(video) == num_frames
        assert video.fps == 15.0
