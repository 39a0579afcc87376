import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from yacs.config import CfgNode

from config import load_cfg_text
from datasets import first_look
from datasets.annotations import VideoRecord
from datasets.first_look import look_at_lists, look_at_videos

Make = Callable[..., list[VideoRecord]]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Makes videos of three frames in the folder of the test."""

    def make(number: int, num_listed: int = 3, broken: tuple[int, ...] = ()) -> list[VideoRecord]:
        for place in range(number):
            folder = tmp_path / f"v{place}"
            folder.mkdir()
            for frame in range(1, 4):
                file = folder / f"img_{frame:05d}.jpg"
                if place in broken:
                    file.write_text("no image")
                else:
                    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(file)
        return [VideoRecord(f"v{place}", num_listed, 0, place + 1) for place in range(number)]

    return make


def config_of(root: Path, **keys: float) -> CfgNode:
    pairs = {"DATA.ROOT": str(root), **keys}
    overrides = [
        item for key, value in pairs.items() for item in (key.replace("__", "."), str(value))
    ]
    return load_cfg_text("", "no file", overrides)


def gone(number: int, first: int = 100) -> list[VideoRecord]:
    return [VideoRecord(f"gone{place}", 3, 0, place) for place in range(first, first + number)]


def test_whole_lists_are_borne(
    make: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    records = make(20)
    look_at_lists(config_of(tmp_path), {"train": records[:12], "val": records[12:]})
    assert not caplog.records


@pytest.mark.parametrize("number", [105, 2_500])
def test_wrong_root_is_told_with_the_first_path(number: int, tmp_path: Path) -> None:
    looked_at = "none of the 105 paths" if number == 105 else "none of the 256 paths looked at, of"
    with pytest.raises(ValueError, match=rf"{looked_at}.*DATA\.ROOT='.*; first: '.*gone100'"):
        look_at_videos(config_of(tmp_path), "train", gone(number))


@pytest.mark.parametrize("split", ["val", "test"])
def test_one_lost_file_of_a_validation_or_test_is_an_error(
    split: str, make: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    records = make(3) + gone(1)
    expected = rf"1 of 4 videos do not exist, of the {split} list;.*SKIPS_UNREADABLE.*\n.*gone100"
    with pytest.raises(ValueError, match=expected):
        look_at_videos(config_of(tmp_path), split, records)
    look_at_videos(config_of(tmp_path, TEST__SKIPS_UNREADABLE=True), split, records)
    assert f"1 of 4 paths of the {split} list do not exist" in caplog.text
    look_at_videos(config_of(tmp_path), split, records, bears_bad=True)
    with pytest.raises(ValueError, match="none of the 2 paths"):
        look_at_videos(config_of(tmp_path), split, gone(2), bears_bad=True)


def test_training_bears_the_share_that_it_says(
    make: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    records = make(7) + gone(3)
    look_at_videos(config_of(tmp_path, TRAIN__MAX_BAD_SHARE=0.3), "train", records)
    assert "3 of 10 paths of the train list do not exist" in caplog.text
    with pytest.raises(ValueError, match=r"3 of 10 videos do not exist, .*TRAIN\.MAX_BAD_SHARE"):
        look_at_videos(config_of(tmp_path, TRAIN__MAX_BAD_SHARE=0.2), "train", records)


def test_long_list_is_looked_at_whole_only_where_a_sample_is_bad(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(first_look, "NUM_WHOLE", 10)
    monkeypatch.setattr(first_look, "NUM_SPREAD", 4)  # places 0, 6, 12 and 19
    looked_at: list[VideoRecord] = []
    missing = first_look._missing

    def noted(root: Path, records: list[VideoRecord]) -> list[VideoRecord]:
        looked_at.extend(records)
        return missing(root, records)

    monkeypatch.setattr(first_look, "_missing", noted)
    records = make(20)
    look_at_videos(config_of(tmp_path, TRAIN__MAX_BAD_SHARE=0.1), "train", records)
    assert [record.path for record in looked_at] == ["v0", "v6", "v12", "v19"]
    records[6:8] = gone(2)  # a quarter of the sample, a tenth of the list
    look_at_videos(config_of(tmp_path, TRAIN__MAX_BAD_SHARE=0.1), "train", records)
    assert len(looked_at) == 4 + 4 + 20


def test_a_few_are_opened_and_broken_ones_told(
    make: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    records = make(20, broken=(0,))
    with pytest.raises(ValueError, match=r"1 of 16 videos are unreadable, of the val list.*\n.*v0"):
        look_at_videos(config_of(tmp_path), "val", records)
    cfg = config_of(tmp_path, TRAIN__MAX_BAD_SHARE=0.05)
    look_at_videos(cfg, "train", records)
    assert "the train list: unreadable" in caplog.text
    with pytest.raises(ValueError, match="1 of 15 videos are unreadable, of the train list"):
        look_at_videos(cfg, "train", records[:15])


def test_training_on_a_long_list_of_broken_videos_is_refused(make: Make, tmp_path: Path) -> None:
    records = [record for record in make(16, broken=(0, 3, 6, 9, 12)) for _ in range(100)]
    look_at_videos(config_of(tmp_path, TRAIN__MAX_BAD_SHARE=0.5), "train", records)
    with pytest.raises(ValueError, match="5 of 16 videos are unreadable"):
        look_at_videos(config_of(tmp_path, TRAIN__MAX_BAD_SHARE=0.01), "train", records)


@pytest.mark.parametrize("split", ["train", "val"])
def test_counts_that_are_all_too_high_are_told(split: str, make: Make, tmp_path: Path) -> None:
    records = make(5, num_listed=4)
    expected = rf"the {split} list counts too many frames in all 5 .*, 4 in 'v0', which holds 3"
    with pytest.raises(ValueError, match=expected):
        look_at_videos(config_of(tmp_path), split, records)
    records[2] = records[2]._replace(num_frames=3)
    look_at_videos(config_of(tmp_path), split, records)


def test_lists_are_remarked_on_and_the_same_list_is_looked_at_once(
    make: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.WARNING)
    records, looked_at = make(4), []
    monkeypatch.setattr(
        first_look, "look_at_videos", lambda cfg, split, *_: looked_at.append(split)
    )
    lists = {"train": records, "val": records[2:], "test": records[2:]}
    look_at_lists(config_of(tmp_path), lists)
    assert looked_at == ["train", "val"]
    assert "2 of 2 videos are trained on too" in caplog.text
