"""Frames as they come into a folder that another program writes images to."""

import io
import logging
import re
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from config.regular_file import open_regular
from datasets.decode.images import IMAGE_ERRORS, MAX_FRAME_PIXELS, decode_image
from datasets.frame_series import IMAGE_SUFFIXES
from datasets.live import LiveFrame, Pace
from datasets.readers import UnreadableVideoError

POLL_SECONDS = 0.05  # between two looks at the folder
PATIENCE_SECONDS = 5.0  # until an image that is not whole counts as broken

_log = logging.getLogger(__name__)


class GrowingFolder:
    """The images of a folder in the order of their names, numbers by value, and those to come.

    An image is yielded when it is whole: one that cannot be decoded is tried again, as its writer
    may not be done. What is not yielded in the end is reported and kept in `left_out`.

    Args:
        path: Folder that the images come into.
        pace: Rule that says which images are wanted; the others are not read.
        timeout_seconds: Time without a new image after which it ends; 0: with those there.
        patience_seconds: Time for an image to become whole.
        max_pixels: Largest number of pixels of an image; a larger one is left out.

    Attributes:
        left_out: A line for each image that is broken, or came after one that stands behind it.
    """

    def __init__(
        self,
        path: str | Path,
        pace: Pace,
        timeout_seconds: float,
        patience_seconds: float = PATIENCE_SECONDS,
        max_pixels: int = MAX_FRAME_PIXELS,
    ) -> None:
        self.path = Path(path)
        self.pace = pace
        self.timeout_seconds = timeout_seconds
        self.patience_seconds = patience_seconds
        self.max_pixels = max_pixels
        self.left_out: list[str] = []
        self._seen: set[str] = set()
        self._newest = ""

    def __iter__(self) -> Iterator[LiveFrame]:
        """Yield the wanted frames.

        Raises:
            UnreadableVideoError: The folder cannot be listed.
        """
        number, start, last_find = 0, None, time.monotonic()
        while True:
            names = self._find_new()
            if not names:
                if time.monotonic() - last_find >= self.timeout_seconds:
                    return
                time.sleep(POLL_SECONDS)
                continue
            found = time.monotonic()
            start = found if start is None else start
            for name in names:
                picture = None
                if self.pace(number, found - start):
                    picture = self._read_whole(name)
                if picture is not None:
                    yield LiveFrame(number, found - start, picture, name)
                number += 1
            last_find = time.monotonic()

    def _find_new(self) -> list[str]:
        try:
            names = {
                entry.name
                for entry in self.path.iterdir()
                if entry.suffix.lower() in IMAGE_SUFFIXES and not entry.name.startswith(".")
            }
        except OSError as error:
            raise UnreadableVideoError(f"{self.path}: {error.strerror}") from error
        found = sorted(names - self._seen, key=_natural)
        self._seen = names  # what was deleted need not be remembered
        on_time = [name for name in found if _natural(name) > _natural(self._newest)]
        for name in found[: len(found) - len(on_time)]:
            self._leave_out(f"{name} came after {self._newest} had been read")
        self._newest = on_time[-1] if on_time else self._newest
        return on_time

    def _read_whole(self, name: str) -> np.ndarray | None:
        deadline = time.monotonic() + self.patience_seconds
        while True:
            try:
                return read_whole_image(self.path / name, self.max_pixels)
            except UnreadableVideoError as error:
                if time.monotonic() >= deadline:
                    self._leave_out(f"{error} (tried for {self.patience_seconds:g} s)")
                    return None
            time.sleep(POLL_SECONDS)

    def _leave_out(self, reason: str) -> None:
        _log.warning("left out: %s", reason)
        self.left_out.append(reason)


def read_whole_image(file: Path, max_pixels: int = MAX_FRAME_PIXELS) -> np.ndarray:
    """Decode an image file as RGB, uint8 (H, W, 3).

    Raises:
        UnreadableVideoError: It is broken, too large, or not written to its end.
    """
    try:
        with open_regular(file) as data:
            whole = io.BytesIO(data.read())  # as it is now: its writer may go on
        return np.array(decode_image(whole, max_pixels))  # a copy, which may be written to
    except IMAGE_ERRORS as error:
        raise UnreadableVideoError(f"{file}: {type(error).__name__}: {error}") from error


def _natural(name: str) -> list[str | int]:
    """Return a key that sorts img_9 before img_10: texts and numbers in turn."""
    parts = re.split(r"(\d+)", name)
    return [int(part) if place % 2 else part for place, part in enumerate(parts)]
