"""What happens to videos on their way to a model: to their frames, and to their time.

The severities of blur, noise, JPEG and brightness are those of ImageNet-C (arXiv:1903.12261), on
the frames as they are read, before they are resized.
"""

import io
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from PIL import Image, ImageFilter
from yacs.config import CfgNode

from datasets.annotations import VideoRecord
from datasets.changed_video import ChangedVideo
from datasets.records import open_frames

SIDE = 224  # that sigmas are given for

Rng = np.random.Generator


@dataclass(frozen=True)
class Damage:
    """A kind of damage.

    Attributes:
        levels: Levels that its severities 1 to 5 stand for.
        meaning: Text on what the levels measure, with a place for them.
        of_frame: Function from a frame, uint8 (H, W, 3), the level and a generator to a frame.
        of_time: Function from the number of frames, the level and a generator to the indices of the
            frames that are left, (F,).
        rate: Function from the level to frames a second, as a factor of those of the video.
    """

    levels: tuple[float, ...]
    meaning: str
    of_frame: Callable[[np.ndarray, float, Rng], np.ndarray] | None = None
    of_time: Callable[[int, float, Rng], np.ndarray] | None = None
    rate: Callable[[float], float] = lambda level: 1.0


def blurred(frame: np.ndarray, sigma: float, rng: Rng) -> np.ndarray:
    """Blur a frame by a Gaussian whose sigma is that of a frame of short side 224."""
    radius = sigma * min(frame.shape[:2]) / SIDE
    return np.array(Image.fromarray(frame).filter(ImageFilter.GaussianBlur(radius)))


def noisy(frame: np.ndarray, std: float, rng: Rng) -> np.ndarray:
    """Add Gaussian noise to each pixel and channel."""
    noise = rng.standard_normal(frame.shape, np.float32)
    return _levels(frame + 255 * std * noise)


def compressed(frame: np.ndarray, quality: float, rng: Rng) -> np.ndarray:
    """Write a frame as JPEG, and read it again."""
    file = io.BytesIO()
    Image.fromarray(frame).save(file, format="JPEG", quality=int(quality))
    with Image.open(file, formats=["JPEG"]) as image:
        return np.array(image)


def brightened(frame: np.ndarray, share: float, rng: Rng) -> np.ndarray:
    """Add a share of the brightest value to all pixels; a negative one makes them darker."""
    return _levels(frame + np.float32(255 * share))


def dropped(num_frames: int, share: float, rng: Rng) -> np.ndarray:
    """Return the frames that are left when a share of them is lost; one is always left."""
    num_kept = max(1, num_frames - round(share * num_frames))
    return np.sort(rng.permutation(num_frames)[:num_kept])


def repeated(num_frames: int, share: float, rng: Rng) -> np.ndarray:
    """Return the frames that are shown when a share of them shows the one before instead."""
    shown = np.arange(num_frames)
    shown[1 + rng.permutation(num_frames - 1)[: round(share * num_frames)]] = 0
    return np.maximum.accumulate(shown)


def at_other_rate(num_frames: int, rate: float, rng: Rng) -> np.ndarray:
    """Return the frames of a video at so many times its frames a second, over the same time."""
    num_shown = max(1, round(rate * num_frames))
    return np.minimum(np.arange(num_shown) / rate, num_frames - 1).astype(np.int64)


SHARES = (0.1, 0.2, 0.3, 0.5, 0.7)
FACTORS = (1.25, 1.5, 2.0, 3.0, 4.0)
DAMAGES = {
    "blur": Damage((1, 2, 3, 4, 6), f"Gaussian of sigma {{}} in {SIDE} pixels", of_frame=blurred),
    "noise": Damage((0.08, 0.12, 0.18, 0.26, 0.38), "Gaussian of std {}", of_frame=noisy),
    "jpeg": Damage((25, 18, 15, 10, 7), "compressed at quality {}", of_frame=compressed),
    "brighter": Damage((0.1, 0.2, 0.3, 0.4, 0.5), "all pixels plus {}", of_frame=brightened),
    "darker": Damage((-0.1, -0.2, -0.3, -0.4, -0.5), "all pixels plus {}", of_frame=brightened),
    "dropped": Damage(SHARES, "a share of {} of the frames is lost", of_time=dropped),
    "repeated": Damage(SHARES, "a share of {} shows the frame before", of_time=repeated),
    "higher-rate": Damage(
        FACTORS,
        "{} times the frames a second, some twice or more",
        of_time=at_other_rate,
        rate=lambda factor: factor,
    ),
    "lower-rate": Damage(
        FACTORS,
        "the frames a second divided by {}",
        of_time=lambda num_frames, factor, rng: at_other_rate(num_frames, 1 / factor, rng),
        rate=lambda factor: 1 / factor,
    ),
}


class DamagedVideos:
    """Opens videos with a kind of damage: what is drawn depends on seed, kind, line and frame.

    A severity draws what the others draw, so that it differs from them in its level alone.

    Args:
        cfg: Config of the experiment.
        lengths: Number of frames of each video by its line in the list, as far as the list says.
        kind: Kind of damage, one of `DAMAGES`.
        severity: Severity, 1 to 5.
        seed: Seed of the draws.
    """

    def __init__(
        self, cfg: CfgNode, lengths: dict[int, int], kind: str, severity: int, seed: int
    ) -> None:
        self.cfg = cfg
        self.lengths = lengths
        self.kind = kind
        self.severity = severity
        self.seed = seed

    def __call__(self, record: VideoRecord) -> ChangedVideo:
        """Return the reader of a damaged video.

        Raises:
            UnreadableVideoError: Its frames cannot be counted.
        """
        damage, key = DAMAGES[self.kind], (self.seed, zlib.crc32(self.kind.encode()), record.line)
        level = damage.levels[self.severity - 1]
        source = open_frames(self.cfg, record)
        num_frames = self.lengths.get(record.line) or len(source)
        picked = np.arange(num_frames)
        if damage.of_time is not None and num_frames:
            picked = damage.of_time(num_frames, level, np.random.default_rng(key))
        change = None
        if damage.of_frame is not None:
            change = partial(_changed, of_frame=damage.of_frame, level=level, key=key)
        return ChangedVideo(source, picked, change, damage.rate(level))


def _changed(
    frame: np.ndarray,
    index: int,
    of_frame: Callable[[np.ndarray, float, Rng], np.ndarray],
    level: float,
    key: tuple[int, ...],
) -> np.ndarray:
    return of_frame(frame, level, np.random.default_rng((*key, index)))


def _levels(values: np.ndarray) -> np.ndarray:
    return values.round().clip(0, 255).astype(np.uint8)
