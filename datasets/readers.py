"""Frames off the disk: ``read(indices)`` gives uint8 (T, H, W, 3), each frame decoded once."""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from torchvision.io import ImageReadMode, decode_jpeg, read_file

JPEG_SUFFIXES = frozenset({".jpg", ".jpeg"})
IMAGE_SUFFIXES = JPEG_SUFFIXES | {".png", ".bmp", ".webp"}


class UnreadableVideoError(ValueError):
    """A video cannot be read; the text names the file and the reason."""


class FrameFolder:
    """A video as a folder of image files, ``img_00001.jpg`` and so on.

    Args:
        path: The folder.
        template: File name with one integer field, as ``str.format`` takes it.
        first_frame: The integer of frame 0.
    """

    def __init__(
        self, path: str | Path, template: str = "img_{:05d}.jpg", first_frame: int = 1
    ) -> None:
        self.path = Path(path)
        self.template = template
        self.first_frame = first_frame

    def __len__(self) -> int:
        """Count the frames on disk: image files with a number at the end of the name."""
        return len(self._numbered_images())

    def read(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """Decode frames as RGB.

        Where the first frame is not under the template's name, the folder's own naming is used.

        Args:
            indices: T 0-based indices, in any order; repeated ones are decoded once.

        Returns:
            Frames, uint8 (T, H, W, 3).

        Raises:
            UnreadableVideoError: A frame is missing or broken, or the frames differ in size.
        """
        distinct, position = np.unique(np.asarray(indices), return_inverse=True)
        if not self._file(0).exists():
            self._probe_naming()
        frames = [self._decode(int(index)) for index in distinct]
        sizes = {frame.shape for frame in frames}
        if len(sizes) > 1:
            raise UnreadableVideoError(f"{self.path}: frames of different sizes {sorted(sizes)}")
        return np.stack(frames)[position]

    def _file(self, index: int) -> Path:
        return self.path / self.template.format(self.first_frame + index)

    def _decode(self, index: int) -> np.ndarray:
        file = self._file(index)
        if index < 0:
            raise UnreadableVideoError(f"{file}: frame index {index} is before the first frame")
        try:
            return _decode_file(file)
        except FileNotFoundError as error:
            raise UnreadableVideoError(
                f"{file}: no such frame; the folder holds {len(self)} frames"
            ) from error
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise UnreadableVideoError(f"{file}: {type(error).__name__}: {error}") from error

    def _probe_naming(self) -> None:
        """Take template and first number from the files that are there."""
        numbered = self._numbered_images()
        if not numbered:
            raise UnreadableVideoError(
                f"{self.path}: no frames; looked for {self._file(0).name} and any numbered image"
            )
        prefix, digits, suffix = min(numbered, key=lambda parts: int(parts[1]))
        prefix, suffix = (text.replace("{", "{{").replace("}", "}}") for text in (prefix, suffix))
        self.template = f"{prefix}{{:0{len(digits)}d}}{suffix}"
        self.first_frame = int(digits)

    def _numbered_images(self) -> list[tuple[str, str, str]]:
        """List the folder's image names as (prefix, digits, suffix)."""
        try:
            names = [entry.name for entry in self.path.iterdir()]
        except OSError as error:
            raise UnreadableVideoError(f"{self.path}: {error.strerror}") from error
        matches = (re.fullmatch(r"(.*?)(\d+)(\.\w+)", name) for name in names)
        return [
            match.groups()  # type: ignore[misc]
            for match in matches
            if match and match[3].lower() in IMAGE_SUFFIXES
        ]


def _decode_file(file: Path) -> np.ndarray:
    """Decode an image as RGB (H, W, 3); JPEG by torchvision: Pillow's pixels, in half the time."""
    if file.suffix.lower() in JPEG_SUFFIXES:
        try:
            return decode_jpeg(read_file(str(file)), ImageReadMode.RGB).permute(1, 2, 0).numpy()
        except RuntimeError:
            pass  # Pillow reads more kinds of JPEG, and says better what is wrong with the others
    with Image.open(file) as image:
        return np.asarray(image.convert("RGB"))
