"""Videos to read in a benchmark: folders of JPEGs about as large as those of real frames."""

from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from zipfile import ZipFile

import numpy as np
from PIL import Image

from tools.launching.check_environment import num_cores

QUALITY = 95
REPEATS = 32  # of each video in the list
_COARSE = 8  # pixels of the drawing's own grid
_GRAIN = 6  # grey levels; with it a frame of 588x331 takes about 60 kB


def draw_videos(root: Path, number: int, num_frames: int, size: tuple[int, int]) -> Path:
    """Write videos of so many frames of (width, height) and their list, unless they are there.

    Returns:
        The list, ``path num_frames label`` lines; each video stands in it several times, so that an
        epoch has many batches.
    """
    listed = root / f"{number}x{num_frames}_{size[0]}x{size[1]}.txt"
    if listed.exists():
        return listed
    names = [f"{listed.stem}/{i:04d}" for i in range(number)]
    draw = partial(_draw_video, root=root, num_frames=num_frames, size=size)
    with ProcessPoolExecutor(num_cores()) as pool:
        list(pool.map(draw, names))
    lines = [f"{name} {num_frames} {i % 5}\n" for i, name in enumerate(names)] * REPEATS
    listed.write_text("".join(lines), encoding="utf-8")  # last: a list means that all is there
    return listed


def pack_videos(root: Path, listed: Path) -> Path:
    """Write each folder of frames of a list into an uncompressed zip; return the list of those."""
    packed = listed.with_name(f"{listed.stem}_packed.txt")
    if packed.exists():
        return packed
    lines = [line.split() for line in listed.read_text(encoding="utf-8").splitlines()]
    for name in {name for name, _, _ in lines}:
        with ZipFile(root / f"{name}.zip", "w") as archive:
            for frame in sorted((root / name).iterdir()):
                archive.write(frame, frame.name)
    text = "".join(f"{name}.zip {number} {label}\n" for name, number, label in lines)
    packed.write_text(text, encoding="utf-8")
    return packed


def _draw_video(name: str, root: Path, num_frames: int, size: tuple[int, int]) -> None:
    (root / name).mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(int(Path(name).name))
    width, height = size
    coarse = rng.integers(0, 256, (height // _COARSE, width // _COARSE, 3), dtype=np.uint8)
    smooth = np.asarray(Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC))
    for number in range(num_frames):
        grain = rng.integers(-_GRAIN, _GRAIN + 1, smooth.shape)
        frame = np.roll(smooth, 2 * number, axis=1).astype(np.int64) + grain
        image = Image.fromarray(np.clip(frame, 0, 255).astype(np.uint8))
        image.save(root / name / f"img_{number + 1:05d}.jpg", quality=QUALITY)
