"""Records of a run, kept by rank 0: the console, train.log, log.jsonl and TensorBoard."""

import json
import logging
import math
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from yacs.config import CfgNode

from config.class_names import names_of
from config.console import show_every_name
from engine.board import Board
from engine.confusion import write_confusion
from engine.curves import write_curves
from engine.kept_records import RecordedPart, cut_records
from engine.run_folder import RunFolder
from engine.trackers import Tracker, build_trackers
from engine.whole_file import errors_told, sync_file, unwritable

_log = logging.getLogger(__name__)

_CURVES_SECONDS = 60.0  # between two pictures of a training that goes on
_FORMAT = "%(asctime)s %(message)s"
# What warns of config, weights and checkpoint, which are the same in every process.
_COMMON = ("config.", "models.", "engine.resuming", "engine.fonts")


def set_up_console(is_main: bool) -> None:
    """Send log lines to the console: all of the main process, warnings of the others.

    Warnings that the main process has too are left out of the others. It shows every name, see
    `config.console`.
    """
    show_every_name()
    logging.basicConfig(
        level=logging.INFO if is_main else logging.WARNING,
        format=_FORMAT,
        datefmt="%H:%M:%S",
        stream=sys.stdout,
        force=True,
    )
    if not is_main:
        for handler in logging.getLogger().handlers:
            handler.addFilter(lambda record: not record.name.startswith(_COMMON))


def open_runlog(
    folder: RunFolder, is_main: bool, part: RecordedPart | None = None
) -> "RunLog | NullRunLog":
    """Open the records of a run.

    Args:
        folder: Run folder.
        is_main: Whether this process keeps the records.
        part: Progress of the run that goes on in this folder: what its records hold beyond is
            removed. None for a run that begins here: one that the folder holds already is moved to
            a numbered name beside it, so that nothing is overwritten.

    Raises:
        ValueError: The run that the folder holds cannot be moved.
        UnwritableError: The records cannot be written.
    """
    if not is_main:
        return NullRunLog()
    if part is None:
        folder.move_run_aside()
    else:
        cut_records(folder.path, part)
    return RunLog(folder.path)


class RunLog:
    """Writes the records of a run into its folder, each as it comes.

    Args:
        folder: Run folder; TensorBoard files go to its ``tensorboard``.

    Raises:
        UnwritableError: A file cannot be written; likewise the methods.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lines = folder / "log.jsonl"
        self._drawn_at = time.monotonic()
        self._trackers: list[Tracker] = []
        self._board = Board(folder / "tensorboard")
        with errors_told(folder / "train.log"):
            self._console = _ConsoleFile(folder / "train.log", encoding="utf-8")
        self._console.setFormatter(logging.Formatter(_FORMAT))
        logging.getLogger().addHandler(self._console)

    def scalars(self, step: int, values: dict[str, float]) -> None:
        """Record figures by tag in TensorBoard."""
        self._board.scalars(step, values)
        for tracker in self._trackers:
            tracker.scalars(step, values)

    def line(self, kind: str, **values: Any) -> None:
        """Append a line to log.jsonl: the kind, the time in seconds, the values.

        JSON has no number that is not finite: it is null, as the gradient norm of an fp16 step that
        overflowed and was left out.
        """
        entry = {"kind": kind, "time": round(time.time(), 3), **values}
        entry = {
            key: None if isinstance(value, float) and not math.isfinite(value) else value
            for key, value in entry.items()
        }
        with errors_told(self._lines), self._lines.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")

    def config(self, cfg: CfgNode) -> None:
        """Record the config in TensorBoard, what differs from the defaults first.

        From here on the figures go to the services, too, that its LOG names.
        """
        self._board.config(cfg)
        self._trackers = build_trackers(cfg, self.folder)

    def clips(
        self, clips: np.ndarray, labels: Sequence[int | list[float]], names: Sequence[str]
    ) -> None:
        """Show clips, (B, T, 3, H, W) in 0..255, each below the name of its class or classes.

        Args:
            clips: Clips to show.
            labels: Class of each, or what is 1 for each of its classes.
            names: Names of the classes.
        """
        named = [names_of(label, names) for label in labels]
        self._board.clips(clips.round().astype(np.uint8), named)

    def confusion(self, step: int, matrix: np.ndarray, names: Sequence[str], kind: str) -> None:
        """Write a confusion matrix (K, K), rows true, into the folder and show it in TensorBoard.

        Args:
            step: Number of finished epochs.
            matrix: Number of videos by true and predicted class.
            names: Names of the classes.
            kind: Kind of the validation, ``val`` or ``swa``.
        """
        title = f"{kind} after epoch {step}: {matrix.sum()} videos"
        pixels = write_confusion(self.folder, matrix, names, title)
        if pixels is not None:
            self._board.picture(step, f"{kind}/confusion", pixels)

    def curves(self) -> None:
        """Draw curves.png from log.jsonl anew, once a minute: `close` draws it whole."""
        if time.monotonic() - self._drawn_at >= _CURVES_SECONDS:
            write_curves(self.folder)
            self._drawn_at = time.monotonic()

    def flush(self) -> None:
        """Bring all that was recorded onto the disk: before what counts on it, a checkpoint."""
        self._board.flush()
        self._console.flush()
        for path in (self._lines, self.folder / "train.log"):
            if path.exists():
                with errors_told(path), path.open("ab") as file:
                    sync_file(file.fileno())

    def close(self) -> None:
        """Close the files, and draw the curves."""
        self._board.close()
        write_curves(self.folder)
        for tracker in self._trackers:
            tracker.close()
        logging.getLogger().removeHandler(self._console)
        self._console.close()


class NullRunLog:
    """Takes what `RunLog` takes and keeps nothing: for the other processes."""

    def scalars(self, step: int, values: dict[str, float]) -> None:
        """Do nothing."""

    def line(self, kind: str, **values: Any) -> None:
        """Do nothing."""

    def config(self, cfg: CfgNode) -> None:
        """Do nothing."""

    def clips(
        self, clips: np.ndarray, labels: Sequence[int | list[float]], names: Sequence[str]
    ) -> None:
        """Do nothing."""

    def confusion(self, step: int, matrix: np.ndarray, names: Sequence[str], kind: str) -> None:
        """Do nothing."""

    def curves(self) -> None:
        """Do nothing."""

    def flush(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


class _ConsoleFile(logging.FileHandler):
    """A file of log lines; if it cannot be written, it is given up and the run gets the error."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the base class's name
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            super().handleError(record)
            return
        logging.getLogger().removeHandler(self)
        with suppress(OSError):  # it would try to write once more
            self.close()
        raise unwritable(Path(self.baseFilename), error) from error
