"""Places that a tool is asked to write to, tried before it does any work."""

import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from datasets.frame_series import numbered_image

Places = Mapping[str, Path | None]  # by the option that names them; None: not asked for


def check_places(
    places: Places, inputs: Iterable[str | Path | None] = (), makes_folders: bool = True
) -> None:
    """Find out whether files can be written, and that none is another or is read as well.

    What is there already stays as it is.

    Args:
        places: Paths of the files to write, by the option that names them.
        inputs: Paths that the tool reads; what is not there does not count.
        makes_folders: Whether the folders that the files shall lie in are made.

    Raises:
        ValueError: A file cannot be; the text names the option, the file and the reason.
    """
    asked = {option: path for option, path in places.items() if path is not None}
    names: dict[Path, str] = {}
    for option, path in asked.items():
        other = names.setdefault(path.resolve(), option)
        if other != option:
            raise ValueError(f"{other} and {option} are both {path}; name two files")
    check_not_read(asked, inputs)
    for option, path in asked.items():
        try:
            if makes_folders:
                path.parent.mkdir(parents=True, exist_ok=True)
            _try_to_write(path)
        except OSError as error:
            raise ValueError(f"cannot write {option} {path}: {error.strerror}") from error


def check_not_read(places: Places, inputs: Iterable[str | Path | None]) -> None:
    """Make sure that no file to write is one that is read, by whatever name, or a frame of it.

    Args:
        places: Paths to write, as of `check_places`.
        inputs: Paths that are read, as of `check_places`.

    Raises:
        ValueError: One is read; the text names the option and the file.
    """
    there = {o: path for o, path in places.items() if path is not None and path.exists()}
    if not there:
        return
    read = {_identity(Path(entry)) for entry in inputs if entry and Path(entry).exists()}
    for option, path in there.items():
        is_frame = numbered_image(path.name) and _identity(path.parent) in read
        if _identity(path) in read or is_frame:
            raise ValueError(f"{option} {path} is what is read; name another file")


def check_folder(option: str, folder: Path, inputs: Iterable[str | Path]) -> None:
    """Make a folder to write into where there is none, which must not be one that is read.

    Raises:
        ValueError: It cannot be made or written into, or it is what is read.
    """
    if folder.exists() and any(Path(entry).exists() and folder.samefile(entry) for entry in inputs):
        raise ValueError(f"{option} {folder} is what is read; name another folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _try_folder(folder)
    except OSError as error:
        raise ValueError(f"cannot make the folder {option} {folder}: {error.strerror}") from error


def _try_to_write(path: Path) -> None:
    if not path.parent.is_dir():
        raise NotADirectoryError(0, f"{path.parent} is not a folder")
    if path.is_dir():
        raise IsADirectoryError(0, "it is a folder")
    if path.is_file():
        path.open("r+b").close()
    if path.is_file() or not path.exists():  # else a pipe or a device, which may wait
        _try_folder(path.parent)


def _try_folder(folder: Path) -> None:
    with tempfile.TemporaryFile(dir=folder):
        pass


def _identity(path: Path) -> tuple[int, int]:
    stat = path.stat()
    return stat.st_dev, stat.st_ino
