"""Which videos to turn into frames, and the folder and label of each: a class tree or a list."""

import hashlib
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from config.regular_file import open_regular
from datasets.list_lines import Disk, is_comment, readings, syntax_fault, written_path
from datasets.video_suffixes import PACK_SUFFIX, VIDEO_SUFFIXES
from tools.listing.class_tree import FILE, check_parts, read_class_tree

MAX_NAME_BYTES = 255  # of a file, on most systems

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class VideoJob:
    """One video to extract: the file, the folder for its frames, its class."""

    source: Path
    folder: Path  # with --pack the file
    label: int
    fault: str = ""  # why it is not even tried

    @property
    def partial_folder(self) -> Path:
        """Where frames are written until the video is complete."""
        return self._beside("partial")

    @property
    def failed_marker(self) -> Path:
        """File that says `folder` was kept although decoding failed; the next run redoes it."""
        return self._beside("failed")

    def _beside(self, ending: str) -> Path:
        name = os.fsencode(self.folder.name)
        if len(name) > MAX_NAME_BYTES - len(ending) - 2:  # a hash is as good, and short enough
            name = hashlib.sha256(name).hexdigest().encode()
        return self.folder.with_name(f".{os.fsdecode(name)}.{ending}")


def plan_jobs(
    source: Path,
    out: Path,
    list_path: Path | None = None,
    classes_path: Path | None = None,
    packs: bool = False,
) -> list[VideoJob]:
    """Return the videos in order.

    Args:
        source: Folder of class folders or, with `list_path`, the folder its paths start from.
        out: Folder that gets `<class>/<video>/`.
        list_path: Path of a file of `relative/path.ext label` lines.
        classes_path: Path of a file with a class name per line.
        packs: Whether it gets `<class>/<video>.zip` instead.

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
            f"with one of {' '.join(sorted(VIDEO_SUFFIXES))}"
        )
    if packs:
        jobs = [_packed(job) for job in jobs]
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

    A number of frames between the two is passed over: tools/make_lists.py --count writes it.

    Blank lines and lines that start with `#` are skipped; paths may hold spaces. The list is not
    one for `datasets.annotations.read_list`: the number of classes need not be known.

    Args:
        path: Path of the file.
        source: Folder that its paths start from.
        out: Folder that gets `<class>/<video>/`.
        names: Names of the classes by label; None names the folders by the label.

    Raises:
        ValueError: A line is not of this form, or its label has no name.
    """
    labels = "an integer from 0" if names is None else f"an integer from 0 to {len(names) - 1}"
    disk, jobs = Disk(source), []
    for number, line in enumerate(_read_text(path).split("\n"), start=1):
        if is_comment(line, disk):
            continue
        *found, _ = readings(line.strip())
        text = found[-1].label if found else ""
        is_label = text.isascii() and text.isdecimal()
        if not is_label or (names is not None and int(text) >= len(names)):
            hint = syntax_fault(line.strip(), disk)
            raise ValueError(
                f"{path}:{number}: got {line!r}; need 'relative/path.ext label', label {labels}"
                + (f"; {hint}" if hint else "")
            )
        there = [fields.path for fields in found if disk.holds(fields.path)]
        video = there[-1] if there else found[-1].path  # a count is passed over
        stem = Path(video).stem
        _check_folder_name(stem, where=f"{path}:{number}")
        class_name = names[int(text)] if names is not None else str(int(text))
        jobs.append(VideoJob(source / video, out / class_name / stem, int(text)))
    return jobs


def scan_class_tree(source: Path, out: Path, names: Sequence[str] | None = None) -> list[VideoJob]:
    """Return the videos of `<source>/<class>/<video>.<ext>`; log how many entries are not videos.

    Args:
        source: Folder of class folders, see `read_class_tree`.
        out: Folder that gets `<class>/<video>/`; not inside `source`, it would become a class.
        names: Names of the classes by label; None takes the class folders in the order of the
            alphabet, or of their numbers where all are numbers.

    Raises:
        ValueError: `out` lies in `source`, a class folder is not among `names`, or without `names`
            another part of the data beside `source` has other classes.
    """
    if out.resolve().is_relative_to(source.resolve()):
        raise ValueError(f"OUT must not lie in SOURCE; got {str(out)!r} in {str(source)!r}")
    tree = read_class_tree(source)
    if names is None:
        check_parts(source, tree.classes)
    labels = {name: label for label, name in enumerate(names or tree.classes)}
    unknown = [name for name in tree.classes if name not in labels]
    if unknown:
        raise ValueError(f"class folders {unknown} of {str(source)!r} are not in --classes")
    files = [video for video in tree.videos if video.kind == FILE]
    tree.ignored["folders and packs of frames"] = len(tree.videos) - len(files)
    number = tree.ignored.total()
    kinds = f": {tree.describe_ignored()}" if number else ""
    logger.info("%d videos in %s; %d other entries ignored%s", len(files), source, number, kinds)
    if tree.note and names is None:
        logger.warning("%s", tree.note)
    return [
        VideoJob(source / path, out / stem, labels[class_name], _fault_of_name(stem))
        for path, stem, class_name in ((v.path, v.stem, v.class_name) for v in files)
    ]


def _packed(job: VideoJob) -> VideoJob:
    return replace(job, folder=job.folder.with_name(job.folder.name + PACK_SUFFIX))


def _fault_of_name(stem: str) -> str:
    """Say why a list cannot name the frames of a video; "" where it can."""
    try:
        written_path(stem)
    except ValueError as error:
        return f"{error}; rename it"
    return ""


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
