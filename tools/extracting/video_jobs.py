"""Which videos to turn into frames, and the folder and label of each: a class tree or a list."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from config.regular_file import open_regular

VIDEO_EXTENSIONS = frozenset(
    [".mp4", ".avi", ".mkv", ".webm", ".mov", ".mpg", ".mpeg", ".gif", ".m4v", ".wmv", ".flv"]
)

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class VideoJob:
    """One video to extract: the file, the folder for its frames, its class."""

    source: Path
    folder: Path
    label: int

    @property
    def partial_folder(self) -> Path:
        """Where frames are written until the video is complete."""
        return self.folder.with_name(f".{self.folder.name}.partial")

    @property
    def failed_marker(self) -> Path:
        """File that says `folder` was kept although decoding failed; the next run redoes it."""
        return self.folder.with_name(f".{self.folder.name}.failed")


def plan_jobs(
    source: Path, out: Path, list_path: Path | None = None, classes_path: Path | None = None
) -> list[VideoJob]:
    """Return the videos in order.

    Args:
        source: Folder of class folders or, with `list_path`, the folder its paths start from.
        out: Folder that gets `<class>/<video>/`.
        list_path: File of `relative/path.ext label` lines.
        classes_path: File with a class name per line.

    Raises:
        ValueError: A file or folder is not as described, or two videos share a frame folder.
    """
    if not source.is_dir():
        raise ValueError(f"SOURCE must be a folder; got {str(source)!r}")
    names = read_classes(classes_path) if classes_path is not None else None
    if list_path is not None:
        jobs = read_video_list(list_path, source, out, names)
    else:
        jobs = scan_class_tree(source, out, names)
    if not jobs:
        raise ValueError(
            f"no video in {str(list_path or source)!r}; need SOURCE/<class>/<video> or --list, "
            f"with one of {' '.join(sorted(VIDEO_EXTENSIONS))}"
        )
    first: dict[Path, Path] = {}
    for job in jobs:
        if job.folder in first:
            raise ValueError(
                f"{str(first[job.folder])!r} and {str(job.source)!r} would both be written to "
                f"{str(job.folder)!r}; rename one of them"
            )
        first[job.folder] = job.source
    return jobs


def read_classes(path: Path) -> list[str]:
    """Return the class names of a file; the line number from 0 is the label.

    Raises:
        ValueError: A name is empty, twice there, or cannot name a folder.
    """
    names = [line.strip() for line in _read_text(path).rstrip().split("\n")]
    for number, name in enumerate(names, start=1):
        _check_folder_name(name, where=f"{path}:{number}")
        if name in names[: number - 1]:
            raise ValueError(f"{path}:{number}: class {name!r} is there twice; names must differ")
    return names


def read_video_list(
    path: Path, source: Path, out: Path, names: Sequence[str] | None = None
) -> list[VideoJob]:
    """Return the videos of a file of `relative/path.ext label` lines, in its order.

    Blank lines and lines that start with `#` are skipped; paths may hold spaces. The list is not
    one for `datasets.annotations.read_list`: the number of classes need not be known.

    Args:
        path: The file.
        source: Folder that its paths start from.
        out: Folder that gets `<class>/<video>/`.
        names: Class names by label; None names the folders by the label.

    Raises:
        ValueError: A line is not of this form, or its label has no name.
    """
    labels = "an integer from 0" if names is None else f"an integer from 0 to {len(names) - 1}"
    jobs = []
    for number, line in enumerate(_read_text(path).split("\n"), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        video, _, text = line.strip().rpartition(" ")
        is_label = text.isascii() and text.isdecimal()
        if not video.strip() or not is_label or (names is not None and int(text) >= len(names)):
            raise ValueError(
                f"{path}:{number}: got {line!r}; need 'relative/path.ext label', label {labels}"
            )
        stem = Path(video.strip()).stem
        _check_folder_name(stem, where=f"{path}:{number}")
        class_name = names[int(text)] if names is not None else str(int(text))
        jobs.append(VideoJob(source / video.strip(), out / class_name / stem, int(text)))
    return jobs


def scan_class_tree(source: Path, out: Path, names: Sequence[str] | None = None) -> list[VideoJob]:
    """Return the videos of `<source>/<class>/<video>.<ext>`; log how many entries are not videos.

    Args:
        source: Folder of class folders. Hidden folders are no classes, hidden files no videos.
        out: Folder that gets `<class>/<video>/`; not inside `source`, it would become a class.
        names: Class names by label; None takes the class folders in alphabetical order.

    Raises:
        ValueError: `out` lies in `source`, or a class folder is not among `names`.
    """
    if out.resolve().is_relative_to(source.resolve()):
        raise ValueError(f"OUT must not lie in SOURCE; got {str(out)!r} in {str(source)!r}")
    folders = sorted(p for p in source.iterdir() if p.is_dir() and not p.name.startswith("."))
    labels = {name: label for label, name in enumerate(names or [p.name for p in folders])}
    unknown = [folder.name for folder in folders if folder.name not in labels]
    if unknown:
        raise ValueError(f"class folders {unknown} of {str(source)!r} are not in --classes")
    num_ignored = sum(1 for _ in source.iterdir()) - len(folders)
    jobs = []
    for folder in folders:
        for path in sorted(folder.iterdir()):
            if not _is_video(path):
                num_ignored += 1
                continue
            _check_folder_name(path.stem, where=str(path))
            jobs.append(VideoJob(path, out / folder.name / path.stem, labels[folder.name]))
    logger.info("%d videos in %s; %d other entries ignored", len(jobs), source, num_ignored)
    return jobs


def _is_video(path: Path) -> bool:
    is_named = path.suffix.lower() in VIDEO_EXTENSIONS and not path.name.startswith(".")
    return is_named and path.is_file()


def _check_folder_name(name: str, where: str) -> None:
    if name in ("", ".", "..") or any(letter in name for letter in "/\\\r\n"):
        raise ValueError(
            f"{where}: {name!r} cannot name a folder: empty, dots, or with a slash or line break"
        )


def _read_text(path: Path) -> str:
    # surrogateescape: a file name need not be UTF-8.
    with open_regular(path) as file:
        text = file.read().decode("utf-8-sig", errors="surrogateescape")
    return text.replace("\r\n", "\n").replace("\r", "\n")
