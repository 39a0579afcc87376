"""Features in a folder: a file for each video, or one file for all of them."""

import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePath

import numpy as np

from engine.whole_file import remove_stale_parts, whole_file
from models.weights.npz_file import read_arrays
from tools.features.tensor_archive import Form, TensorArchive, write_archive

FORMATS = ("npz", "npy", "safetensors")
ARRAYS = {
    "clips": "(N, C), float32: a vector for each of N clips, the mean of its frames",
    "frames": "(N, S, C), float32: S vectors of each clip, one for each frame where there are any",
    "indices": "(N, T), int64: numbers of the frames of each clip in the video, from 0",
    "seconds": "(N, T), float64: when they are shown, since the first frame of the video",
}
ARCHIVE = "features.safetensors"
PARTS = "parts"  # what is not in the archive yet

Features = Mapping[str, np.ndarray]


class FeatureFiles:
    """The features of videos, by the videos' names.

    A video has its features when its file is there: no file is ever there by halves.

    Args:
        folder: Folder of all the files.
        form: Format. ``npz``: the arrays of a video in one file; ``npy``: its clip vectors alone,
            ``(N, C)``; ``safetensors``: all arrays of all videos in one file, as ``NAME/clips`` and
            so on, which `finish` makes of one ``.npz`` for each.
    """

    def __init__(self, folder: Path, form: str) -> None:
        self.folder = folder
        self.form = form
        self._suffix = ".npy" if form == "npy" else ".npz"
        self._place = folder / PARTS if form == "safetensors" else folder
        archive = folder / ARCHIVE
        is_there = form == "safetensors" and archive.exists()
        self._archive = TensorArchive(archive) if is_there else None
        self._archived = {_video_of(key) for key in self._archive.forms} if self._archive else set()

    def file_of(self, name: str) -> Path:
        """Return the file that a video's features lie in, or are written to at first."""
        return self._place / f"{relative_name(name)}{self._suffix}"

    def shown_file(self, name: str) -> str:
        """Return where a reader finds a video's features, relative to the folder."""
        if self.form == "safetensors":
            return ARCHIVE
        return str(self.file_of(name).relative_to(self.folder))

    def holds(self, name: str) -> bool:
        """Tell whether the features of a video are there."""
        return _key(name) in self._archived or self.file_of(name).is_file()

    def write(self, name: str, features: Features) -> None:
        """Write the features of a video.

        Raises:
            UnwritableError: They cannot be written.
        """
        path = self.file_of(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as file:
            if self.form == "npy":
                np.save(file, features["clips"])
            else:
                np.savez(file, **features)  # type: ignore[arg-type]

    def read_clips(self, name: str) -> np.ndarray:
        """Return the clip vectors of a video, (N, C).

        Raises:
            ValueError: They are not there, or damaged.
        """
        if self._archive and _key(name) in self._archived:
            return self._archive.read(f"{_key(name)}/clips")
        path = self.file_of(name)
        try:
            if self.form == "npy":
                return np.load(path, allow_pickle=False)
            return read_arrays(path, names=["clips"])["clips"]
        except (ValueError, OSError, EOFError) as error:
            raise ValueError(f"cannot read the features {str(path)!r}: {error}") from error

    def finish(self, names: Iterable[str], metadata: Mapping[str, str]) -> None:
        """Put the parts of an archive together; nothing to do for other formats.

        Args:
            names: Names of all videos that have features.
            metadata: Texts for its header.

        Raises:
            UnwritableError: The archive cannot be written; its parts stay.
        """
        if self.form != "safetensors" or not (self.folder / PARTS).is_dir():
            return
        held = [name for name in names if self.holds(name)]
        forms: dict[str, Form] = {}
        for name in held:
            forms |= self._forms(name)
        by_key = {_key(name): name for name in held}

        def read(key: str) -> np.ndarray:
            if self._archive and _video_of(key) in self._archived:
                return self._archive.read(key)
            part = self.file_of(by_key[_video_of(key)])
            return read_arrays(part, names=[_array_of(key)])[_array_of(key)]

        write_archive(self.folder / ARCHIVE, forms, read, metadata)
        shutil.rmtree(self.folder / PARTS)

    def remove_stale(self) -> None:
        """Remove what processes that died left of files; for the folder's one owner."""
        for folder in {self.folder, *(p for p in self._place.rglob("*") if p.is_dir())}:
            remove_stale_parts(folder)
        if self._place.is_dir():
            remove_stale_parts(self._place)

    def _forms(self, name: str) -> dict[str, Form]:
        key = _key(name)
        if self._archive and key in self._archived:
            forms = self._archive.forms
            return {f"{key}/{array}": forms[f"{key}/{array}"] for array in ARRAYS}
        arrays = read_arrays(self.file_of(name))
        return {f"{key}/{array}": (arrays[array].dtype, arrays[array].shape) for array in ARRAYS}


def relative_name(name: str) -> str:
    """Return a video's name as a path below a folder: without a root, and never above it."""
    path = PurePath(name)
    parts = path.parts[1:] if path.anchor else path.parts
    return "/".join("up" if part == ".." else part for part in parts)


def check_distinct(names: Sequence[str]) -> None:
    """Raise ValueError where two videos would have one file."""
    seen: dict[str, int] = {}
    for number, name in enumerate(names):
        other = seen.setdefault(relative_name(name), number)
        if other != number:
            raise ValueError(
                f"--input names two videos {relative_name(name)!r}: their features would have one "
                "file; give the folder that holds both, or a list"
            )


def _key(name: str) -> str:
    """Return a video's name in an archive, whose header is UTF-8 whatever the disk's names are."""
    return relative_name(name).encode(errors="backslashreplace").decode()


def _video_of(key: str) -> str:
    return key.rpartition("/")[0]


def _array_of(key: str) -> str:
    return key.rpartition("/")[2]
