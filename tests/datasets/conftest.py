"""Three small videos that tests of the data sets read, and the released ones."""

import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import functional as on_images
from yacs.config import CfgNode

from config import load_cfg_text
from datasets.annotations import VideoRecord, read_list
from datasets.augment import short_side
from datasets.readers import FrameFolder

Golden = Callable[[str], dict[str, Any]]
Config = Callable[..., CfgNode]
Open = Callable[[VideoRecord], FrameFolder]

# The release's colour changes by the range that their amount is drawn from.
COLOUR_CHANGES = {
    (0.5, 2.0): "brightness",
    (0.5, 3.0): "saturation",
    (0.8, 1.2): "gamma",
    (-0.5, 0.5): "hue",
}
# Pillow and torchvision each round the two passes of a bicubic resize once, in different places:
# a level, and seldom two, since the weights of the second pass add up to more than one.
RESIZE_LEVELS = 2

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


# The released TokShift's pixels


@pytest.fixture(scope="session")
def released_items(golden: Golden) -> dict[str, Any]:
    return golden("tokshift/f_dataset_items.npz")


@pytest.fixture(scope="session")
def released_records(
    golden_path: Callable[[str], Path], released_cfg: Config
) -> Callable[[str], list[VideoRecord]]:
    """Read the released list of a split, ``train`` or ``val``."""
    num_classes = released_cfg().MODEL.NUM_CLASSES
    return lambda split: read_list(golden_path(f"tokshift/f_e2e/{split}.txt"), num_classes)


@pytest.fixture(scope="session")
def open_released(golden_path: Callable[[str], Path], released_cfg: Config) -> Open:
    folder, template = golden_path("tokshift/f_e2e/frames"), released_cfg().DATA.FRAME_TEMPLATE
    return lambda record: FrameFolder(folder / record.path, template)


def items_of(items: dict[str, Any], tag: str) -> list[list[Any]]:
    """The rows of a kind of items that the release returned; of the others it says ERROR."""
    rows = [row for row in items["meta"] if row[0] == tag]
    found = [row for row in rows if not any(str(word).startswith("ERROR") for word in row)]
    if not found:
        pytest.skip(f"no item of {tag} is in the part of the golden data that is here")
    return found


def on_frames(change: Callable[..., Image.Image]) -> Callable[..., Tensor]:
    """Make a change of an image one of frames (T, 3, H, W)."""

    def change_frames(frames: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        images = [Image.fromarray(frame) for frame in frames.permute(0, 2, 3, 1).numpy()]
        changed = [np.asarray(change(image, *args, **kwargs)) for image in images]
        return torch.from_numpy(np.stack(changed)).permute(0, 3, 1, 2)

    return change_frames


@pytest.fixture(params=["pillow", "torchvision"])
def arithmetic(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Whose pixels the transforms compute: Pillow's, as the release does, or, as we do, our own."""
    if request.param == "pillow":
        names = ("resize", *(f"adjust_{change}" for change in COLOUR_CHANGES.values()))
        by_pillow = {name: on_frames(getattr(on_images, name)) for name in names}
        monkeypatch.setattr(short_side, "TF", SimpleNamespace(**by_pillow))
    return request.param


def levels_apart(changes: list[tuple[str, float]], start: int = RESIZE_LEVELS) -> int:
    """Bound what lies between torchvision's colours and Pillow's, in grey levels.

    Args:
        changes: The changes of a clip in order, with their amounts.
        start: What lies between the clips before the changes.
    """
    levels = start
    for change, amount in changes:
        if change == "brightness":  # multiplies what lies between; both cut the fraction off
            levels = math.ceil(amount * levels)
        elif change == "gamma":  # a table of 256 values
            table = np.floor(255.999 * np.linspace(0, 1, 256) ** amount)
            levels = int((table[levels:] - table[: 256 - levels]).max())
        elif change == "saturation":
            # out = amount * x + (1 - amount) * grey: x and its grey are as far apart as before, the
            # grey one more by Pillow's rounding, and one is from cutting the fraction off
            levels = math.ceil(amount * levels + abs(1 - amount) * (levels + 1)) + 1
        else:
            # Pillow keeps hue and saturation in 8 bits: 13 levels, see test_transforms.py. What
            # lies between grows at most threefold: out = max - (mid - min) - k * (max - min) of a
            # pixel's channels, k from -1 to 1.
            levels = 13 + 3 * levels
    return levels
