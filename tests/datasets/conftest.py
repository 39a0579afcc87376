"""Three small videos that tests of the data sets read, and the released ones."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from yacs.config import CfgNode

from config import load_cfg_text
from datasets.annotations import VideoRecord, read_list
from datasets.readers import FrameFolder

Golden = Callable[[str], dict[str, Any]]
Config = Callable[..., CfgNode]
Open = Callable[[VideoRecord], FrameFolder]

NUM_FRAMES = {"landscape": 23, "portrait": 5, "square": 40}
SIZES = {"landscape": (46, 34), "portrait": (32, 50), "square": (33, 33)}  # width, height


@pytest.fixture(scope="session")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three videos of noise, as PNG, so that no two frames agree by chance."""
    folder = tmp_path_factory.mktemp("frames")
    rng = np.random.default_rng(0)
    for name, (width, height) in SIZES.items():
        (folder / name).mkdir()
        for number in range(1, NUM_FRAMES[name] + 1):
            noise = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
            Image.fromarray(noise).save(folder / name / f"img_{number:05d}.png")
    return folder


@pytest.fixture(scope="session")
def records() -> list[VideoRecord]:
    return [
        VideoRecord(name, count, label, label + 1)
        for label, (name, count) in enumerate(NUM_FRAMES.items())
    ]


@pytest.fixture(scope="session")
def open_video(root: Path) -> Open:
    return lambda record: FrameFolder(root / record.path, "img_{:05d}.png")


@pytest.fixture
def config(root: Path, tmp_path: Path) -> Config:
    """A config over the three videos, with overrides given as SECTION__KEY=value."""
    listed = tmp_path / "list.txt"
    lines = [f"{name} {label}\n" for label, name in enumerate(NUM_FRAMES)]
    listed.write_text("".join(lines))

    def build(**overrides: Any) -> CfgNode:
        settings = {
            "DATA__ROOT": root,
            "DATA__TRAIN_LIST": listed,
            "DATA__VAL_LIST": listed,
            "DATA__FRAME_TEMPLATE": "img_{:05d}.png",
            "DATA__NUM_FRAMES": 4,
            "DATA__FRAME_STRIDE": 3,
            "DATA__IMAGE_SIZE": 32,
            "DATA__TEST_SHORT_SIDE": 32,
            "DATA__WORKERS": 0,
            "AUG__SHORT_SIDE_RANGE": [32, 44],
            "AUG__JITTER_ONE_IN": 2,
            "MODEL__NUM_CLASSES": 3,
            "TRAIN__CLIPS_PER_GPU": 1,
        } | overrides
        words = [str(word) for key, value in settings.items() for word in (key, value)]
        return load_cfg_text("", "test", [word.replace("__", ".") for word in words])

    return build


@pytest.fixture(scope="session")
def released_items(golden: Golden) -> dict[str, Any]:
    return golden("tokshift/f_dataset_items.npz")


@pytest.fixture(scope="session")
def released_records(golden_root: Path) -> list[VideoRecord]:
    listed = golden_root / "tokshift/f_e2e/val.txt"
    if not listed.exists():
        pytest.skip("the golden frames are not here")
    return read_list(listed, num_classes=6)


@pytest.fixture(scope="session")
def open_released(golden_root: Path) -> Open:
    return lambda record: FrameFolder(golden_root / "tokshift/f_e2e/frames" / record.path)
