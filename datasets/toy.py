"""The quickstart's data: small moving shapes whose class lies in the order of the frames alone.

The eight classes come in pairs, each the time-reversal of the other. Every motion goes on for ever
at an even pace from a random phase, so the frames of a clip, as a set, look alike in both classes
of a pair: a model that is blind to order cannot beat 50 %.

    python -m datasets.toy data/toy
"""

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from config.option_numbers import MAX_SEED, whole_number

CLASSES = ("left", "right", "up", "down", "grow", "shrink", "anticlockwise", "clockwise")
SIDE = 32  # pixels
SCALE = 4  # drawn larger, then reduced, so that slow motion shows
NUM_FRAMES = 20
CLIPS_PER_CLASS = {"train": 100, "val": 50}

_log = logging.getLogger(__name__)


class Motion(NamedTuple):
    """What one video shows.

    Attributes:
        kind: Kind of motion: ``x``, ``y``, ``size`` or ``turn``.
        pace: Change a frame, in periods; its sign tells the two classes of a pair apart.
        phase: Start, in periods, 0 to 1.
        place: Centre of the shape, 0 to 1, in the directions that do not move.
        size: Radius of the shape, 0 to 1 of the frame's side.
        ink: Colour of the shape, RGB.
        paper: Colour of the background, RGB.
    """

    kind: str
    pace: float
    phase: float
    place: tuple[float, float]
    size: float
    ink: tuple[int, int, int]
    paper: tuple[int, int, int]


def make_toy(root: str | Path, seed: int = 0) -> None:
    """Write frame folders, train.txt, val.txt and classes.txt; the same bytes for the same seed.

    Args:
        root: Folder to fill; lists are written last, so that a list means a complete set.
        seed: Seed of every draw.
    """
    root = Path(root)
    for split_number, (split, clips_per_class) in enumerate(CLIPS_PER_CLASS.items()):
        lines = []
        for label, name in enumerate(CLASSES):
            for number in range(clips_per_class):
                rng = np.random.default_rng((seed, split_number, label, number))
                folder = f"{split}/{name}/{number:04d}"
                _write_video(root / folder, draw_motion(label, rng))
                lines.append(f"{folder} {NUM_FRAMES} {label}\n")
        (root / f"{split}.txt").write_text("".join(lines), encoding="utf-8")
    (root / "classes.txt").write_text("\n".join(CLASSES) + "\n", encoding="utf-8")
    _log.info("made the toy set in %s: %s clips a class", root, CLIPS_PER_CLASS)


def is_toy_missing(root: str | Path, val_list: str | Path) -> bool:
    """Say whether `val_list` is the one that `make_toy` writes into `root`, and not there yet."""
    return Path(val_list) == Path(root) / "val.txt" and not Path(val_list).exists()


def draw_motion(label: int, rng: np.random.Generator) -> Motion:
    """Draw a video of a class; the two classes of a pair differ in the sign of the pace alone."""
    pair, is_reversed = divmod(label, 2)
    ink = tuple(rng.integers(160, 256, size=3).tolist())  # light on dark
    paper = tuple(rng.integers(0, 80, size=3).tolist())
    pace = rng.uniform(1 / 24, 1 / 14)
    return Motion(
        kind=("x", "y", "size", "turn")[pair],
        pace=pace if is_reversed else -pace,
        phase=rng.uniform(),
        place=(rng.uniform(0.35, 0.65), rng.uniform(0.35, 0.65)),
        size=rng.uniform(0.14, 0.22),
        ink=ink,
        paper=paper,
    )


def draw_frame(motion: Motion, time: int) -> Image.Image:
    """Draw one frame, RGB, SIDE x SIDE pixels."""
    full = SIDE * SCALE
    image = Image.new("RGB", (full, full), motion.paper)
    draw = ImageDraw.Draw(image)
    where = (motion.phase + motion.pace * time) % 1.0
    x, y = motion.place
    if motion.kind in "xy":
        # wraps around: the shape leaves at one edge and enters at the other
        moving = -motion.size + where * (1 + 2 * motion.size)
        x, y = (moving, y) if motion.kind == "x" else (x, moving)
        _disc(draw, x * full, y * full, motion.size * full, motion.ink)
    elif motion.kind == "size":
        # "grow" is the reversed pace of "shrink": class 4 has the negative one
        _disc(draw, x * full, y * full, (0.45 - 0.4 * where) * full, motion.ink)
    else:
        # a clock hand, thick enough to see; angles grow clockwise on the screen
        angle = 360 * where
        radius = 0.35 * full
        box = [x * full - radius, y * full - radius, x * full + radius, y * full + radius]
        draw.pieslice(box, angle - 25, angle + 25, fill=motion.ink)
    return image.resize((SIDE, SIDE), Image.Resampling.BOX)


def _disc(
    draw: ImageDraw.ImageDraw, x: float, y: float, radius: float, ink: tuple[int, int, int]
) -> None:
    draw.ellipse([x - radius, y - radius, x + radius, y + radius], fill=ink)


def _write_video(folder: Path, motion: Motion) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for time in range(NUM_FRAMES):
        file = folder / f"img_{time + 1:05d}.jpg"
        draw_frame(motion, time).save(file, quality=92)


def main(argv: Sequence[str] | None = None) -> None:
    """Make the toy set from the command line."""
    parser = argparse.ArgumentParser(description="Make the toy set of the quickstart.")
    parser.add_argument("root", type=Path, help="folder to fill")
    parser.add_argument(
        "--seed", type=whole_number(most=MAX_SEED), default=0, help="of every draw (default 0)"
    )
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    make_toy(args.root, args.seed)


if __name__ == "__main__":
    main()
