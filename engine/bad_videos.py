"""The videos that a training cannot read: said, counted, kept in a file, and few, or it stops."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from engine.distributed import World, gather_objects
from engine.whole_file import whole_file

FILE_NAME = "bad_videos.txt"

_log = logging.getLogger(__name__)


class TooManyBadVideosError(ValueError):
    """So many videos are unreadable that the training is not what its list says."""


class BadVideos:
    """Collects the unreadable videos of a run; the process that meets one reports it, once.

    The file holds a line for each: its path in the list, a tab, and the reason, which names the
    file, what decoded it, and the exception. What it holds of an earlier part of the run stays.

    Args:
        folder: Run folder.
        videos: Path of every training video.
        max_share: Largest share of the videos that may be unreadable.
        world: Rank and device of this process, and the number of processes.
    """

    def __init__(self, folder: Path, videos: Sequence[str], max_share: float, world: World) -> None:
        self.file = folder / FILE_NAME
        self.videos = videos
        self.max_share = max_share
        self.world = world
        self._reasons: dict[int, str] = {}

    def add(self, reasons: Mapping[int, str]) -> None:
        """Take the unreadable videos of a batch.

        Args:
            reasons: Reason why each is unreadable, by its place in the list.

        Raises:
            TooManyBadVideosError: This process alone has met more than are allowed.
        """
        for index in reasons.keys() - self._reasons.keys():
            self._reasons[index] = reasons[index]
            _log.warning("left out of the training: %s", reasons[index])
            self._check(self._reasons)

    def state(self) -> dict[int, str]:
        """Return the reasons that this process knows, by place in the list."""
        return dict(self._reasons)

    def restore(self, reasons: Mapping[int, str]) -> None:
        """Take up those that a checkpoint knew of; they are not reported again."""
        self._reasons |= reasons

    def collect(self) -> None:
        """Write those of all processes, which all call this, to the file.

        Raises:
            TooManyBadVideosError: There are more than are allowed.
        """
        gathered = gather_objects(self._reasons, self.world)
        if gathered is None:
            return
        reasons = {index: text for part in gathered for index, text in part.items()}
        if reasons:
            self._write(reasons)
            self._check(reasons)
            _log.warning(
                "%d of %d training videos were unreadable and left out so far: %s",
                *(len(reasons), len(self.videos), self.file),
            )

    def _check(self, reasons: Mapping[int, str]) -> None:
        if len(reasons) <= self.max_share * len(self.videos):
            return
        self._write(reasons)
        raise TooManyBadVideosError(
            f"{len(reasons)} of {len(self.videos)} training videos are unreadable, more than "
            f"TRAIN.MAX_BAD_SHARE={self.max_share:g} allows; all in {self.file}; the last: "
            f"{list(reasons.values())[-1]}"
        )

    def _write(self, reasons: Mapping[int, str]) -> None:
        lines: dict[str, str] = {}
        if self.file.exists():
            old = self.file.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
            lines = dict(line.partition("\t")[::2] for line in old)
        for index in sorted(reasons):
            lines[self.videos[index]] = " ".join(reasons[index].split())
        text = "".join(f"{video}\t{reason}\n" for video, reason in lines.items())
        with whole_file(self.file) as file:
            file.write(text.encode(errors="surrogateescape"))
