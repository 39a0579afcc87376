"""The folder of a run: who may write there, what in it is a run's, and where an old run goes."""

import itertools
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from engine.distributed import World, decided_by_main
from engine.folder_lock import FILE_NAME as LOCK
from engine.folder_lock import FolderLock
from engine.whole_file import remove_stale_parts

_OF_A_RUN = (  # what a training or a test writes; a folder with any of these is a run
    *("last.pth", "last.*.pth", "best.pth", "best.json", "swa.pth", "epoch_*.pth", "*.pth.aside"),
    *("ckpt_e*.pth", "best_ckpt_e*.pth", "config.yml", "test_config.yml", "log.jsonl", "train.log"),
    *("tensorboard", "bad_videos.txt", "results.json", "scores.npz"),
    *("confusion.csv", "confusion.png", "curves.png", "run_report.html", "run_comparison.html"),
    "trackers",
)

_log = logging.getLogger(__name__)


@contextmanager
def held_folder(path: Path, world: World) -> Iterator["RunFolder"]:
    """Have rank 0 hold the run folder within the block; all processes call this together.

    Raises:
        ValueError: See `RunFolder.claim`.
    """
    folder = RunFolder(path)
    decided_by_main(folder.claim, world)
    try:
        yield folder
    finally:
        folder.release()


class RunFolder:
    """The run folder, which rank 0 holds from `claim` to `release`.

    Args:
        path: Path of the folder. It may be ``.`` or a link, which stays a link.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = FolderLock(path)
        self._made: list[Path] = []

    def claim(self) -> None:
        """Make the folder, try that it can be written, and hold it, before any work is spent.

        What killed writers left of their files is removed.

        Raises:
            ValueError: The folder cannot be written, or another run goes on there.
        """
        try:
            missing = [path for path in (self.path, *self.path.parents) if not path.exists()]
            self.path.mkdir(parents=True, exist_ok=True)
            self._made = missing
            self._lock.take()
            num_bytes = remove_stale_parts(self.path)
        except OSError as error:
            self.release()
            reason = error.strerror or error
            raise ValueError(
                f"the run folder {str(self.path)!r} cannot be written: {reason}; choose another "
                "with --output, or OUTPUT_DIR"
            ) from error
        if num_bytes:
            _log.warning(
                "%s: removed %.1f MB of files that a killed run left unfinished",
                *(self.path, num_bytes / 1e6),
            )

    def release(self) -> None:
        """Let others write there; a folder that was made and stayed empty is removed."""
        self._lock.release()
        with suppress(OSError):  # it holds the run
            for made in self._made:
                made.rmdir()
        self._made = []

    def holds(self, checkpoint: str | None) -> bool:
        """Whether a run that takes up a checkpoint goes on in this folder, with its records."""
        if checkpoint is None:
            return False
        return Path(checkpoint).resolve().parent == self.path.resolve()

    def move_run_aside(self) -> None:
        """Move a run that the folder holds to a numbered name beside it.

        A folder that holds other things too, or in which this process works, stays where it is:
        then what belongs to the run moves alone. What a link points to moves, not the link.

        Raises:
            ValueError: It cannot be moved.
        """
        folder = self.path.resolve()
        if not folder.is_dir():
            return
        entries = [entry for entry in folder.iterdir() if entry.name != LOCK]
        own = [entry for entry in entries if _is_of_a_run(entry)]
        if not own:
            return
        names = (Path(f"{folder}.{number}") for number in itertools.count(1))
        kept = next(name for name in names if not os.path.lexists(name))
        try:
            if len(own) < len(entries) or folder in (Path.cwd(), *Path.cwd().parents):
                kept.mkdir()
                # checkpoints first: without them nobody takes what is left for a run to go on with
                for entry in sorted(own, key=lambda entry: entry.suffix != ".pth"):
                    entry.rename(kept / entry.name)
            else:
                self._rename(folder, kept)
        except OSError as error:
            with suppress(OSError):
                kept.rmdir()
            raise ValueError(
                f"{self.path} holds a run, which cannot be moved aside to {kept}: "
                f"{error.strerror or error}; choose another run folder with --output, or go on "
                "with that run: --resume"
            ) from error
        shown = (
            kept if self.path.is_symlink() or not self.path.name else self.path.parent / kept.name
        )
        _log.warning("%s held a run; it is now %s (--resume goes on with a run)", self.path, shown)

    def _rename(self, folder: Path, kept: Path) -> None:
        """Rename the folder and hold a new one in its place."""
        folder.rename(kept)
        folder.mkdir()
        if self._lock.is_held:
            old, self._lock = self._lock, FolderLock(self.path)
            self._lock.take()
            old.path = kept / LOCK
            old.release()


def _is_of_a_run(entry: Path) -> bool:
    return any(entry.match(pattern) for pattern in _OF_A_RUN)
