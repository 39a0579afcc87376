from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from config import load_cfg_text
from datasets.annotations import VideoRecord
from datasets.clock import Clock, TimedSample, changed
from datasets.decode.video_file import VideoFile
from datasets.paddle_sampling import linspace_clip
from datasets.protocols import build_test_sampling, build_train_sampling
from datasets.readers import FrameFolder
from datasets.records import open_frames, pick_frames

pytest.importorskip("av")

WORDS = ["DATA.SAMPLING", "linspace", "DATA.WINDOW", "paddle", "DATA.FPS", "60.0"]


def test_clock_of_a_file_is_its_headers(make_clip: Callable[..., Path]) -> None:
    assert VideoFile(make_clip("mpeg4.avi")).ticks_per_frame == 1
    assert VideoFile(make_clip("x264.mp4")).ticks_per_frame == 512


@pytest.mark.parametrize("decoder", ["pyav", "torchcodec"])
def test_window_goes_by_each_files_own_rate_and_ticks(
    make_clip: Callable[..., Path], decoder: str
) -> None:
    if decoder == "torchcodec":
        pytest.importorskip("torchcodec")
    cfg = load_cfg_text("", "test", [*WORDS, "DATA.DECODER", decoder, "DATA.NUM_FRAMES", "1"])
    record = VideoRecord(str(make_clip("mpeg4.avi", 61)), 61, 0, 1)
    open_video = partial(open_frames, cfg)
    for seed in range(5):
        expected = linspace_clip(61, 1, 25.0, np.random.default_rng(seed), ticks=1)
        rng = np.random.default_rng(seed)
        clip = pick_frames(record, build_train_sampling(cfg), open_video, rng)
        assert clip.tolist() == expected.tolist()
    test_clip = pick_frames(record, build_test_sampling(cfg, "test"), open_video)
    assert test_clip.tolist() == [linspace_clip(61, 1, 25.0, ticks=1).tolist()]


def test_folder_of_frames_has_the_rate_of_the_config(tmp_path: Path) -> None:
    sample: Any = build_train_sampling(load_cfg_text("", "test", WORDS))
    assert sample.clock_of(FrameFolder(tmp_path)) == Clock(60.0, None)


def test_changed_sample_stays_timed_and_the_rate_is_looked_up_on_demand_only(
    make_clip: Callable[..., Path],
) -> None:
    video = VideoFile(make_clip("mpeg4.avi"))
    timed = TimedSample(lambda F, clock: np.array([clock.fps]), Clock(1.0), needs_rate=False)
    one_more = changed(timed, lambda indices: indices + 1)
    assert isinstance(one_more, TimedSample)
    assert one_more.clock_of(video) == Clock(1.0, 1.0)
    assert one_more(9, clock=Clock(4.0)).tolist() == [5.0]
    assert changed(lambda F: np.arange(F), np.flip)(3).tolist() == [2, 1, 0]
