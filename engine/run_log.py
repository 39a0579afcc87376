"""Records of a run, kept by rank 0: the console, train.log, log.jsonl and TensorBoard."""

import json
import logging
import math
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from tensorboardX import summary

from config.console import show_every_name
from engine.event_files import EventFile
from engine.kept_records import RecordedPart, cut_records
from engine.run_folder import RunFolder
from engine.whole_file import errors_told, sync_file, unwritable

_log = logging.getLogger(__name__)

_FORMAT = "%(asctime)s %(message)s"
_CELL = 8  # side of a cell of the confusion matrix's picture, pixels


def set_up_console(is_main: bool) -> None:
    """Send log lines to the console: all of the main process, warnings of the others.

    It shows every name, see `config.console`.
    """
    show_every_name()
    logging.basicConfig(
        level=logging.INFO if is_main else logging.WARNING,
        format=_FORMAT,
        datefmt="%H:%M:%S",
        stream=sys.stdout,
        force=True,
    )


def open_runlog(
    folder: RunFolder, is_main: bool, part: RecordedPart | None = None
) -> "RunLog | NullRunLog":
    """Open the records of a run.

    Args:
        folder: Run folder.
        is_main: Whether this process keeps the records.
        part: How far the run is that goes on in this folder: what its records hold beyond is
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
        self._events = EventFile(folder / "tensorboard")
        with errors_told(folder / "train.log"):
            self._console = _ConsoleFile(folder / "train.log", encoding="utf-8")
        self._console.setFormatter(logging.Formatter(_FORMAT))
        logging.getLogger().addHandler(self._console)

    def scalars(self, step: int, values: dict[str, float]) -> None:
        """Record figures by tag in TensorBoard."""
        for tag, value in values.items():
            self._events.add(step, summary.scalar(tag, value))

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

    def text(self, tag: str, text: str) -> None:
        """Record a text in TensorBoard, letter by letter."""
        self._events.add(0, summary.text(tag, f"```\n{text}\n```"))

    def clips(self, clips: np.ndarray) -> None:
        """Show clips, uint8 (B, T, 3, H, W), as strips of frames below one another."""
        B, T, C, H, W = clips.shape
        strips = clips.transpose(2, 0, 3, 1, 4).reshape(C, B * H, T * W)
        self._events.add(0, summary.image("input/clips", strips))

    def confusion(self, step: int, matrix: np.ndarray, kind: str = "val") -> None:
        """Show a confusion matrix (K, K), rows true, as shares of the row from white to black."""
        shares = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
        cell = max(1, _CELL * 32 // max(len(matrix), 32))
        picture = np.kron(255 - (255 * shares).astype(np.uint8), np.ones((cell, cell), np.uint8))
        self._events.add(step, summary.image(f"{kind}/confusion", picture[None]))

    def flush(self) -> None:
        """Bring all that was recorded onto the disk: before what counts on it, a checkpoint."""
        self._events.flush()
        self._console.flush()
        for path in (self._lines, self.folder / "train.log"):
            if path.exists():
                with errors_told(path), path.open("ab") as file:
                    sync_file(file.fileno())

    def close(self) -> None:
        """Close the files."""
        self._events.close()
        logging.getLogger().removeHandler(self._console)
        self._console.close()


class NullRunLog:
    """Takes what `RunLog` takes and keeps nothing: for the other processes."""

    def scalars(self, step: int, values: dict[str, float]) -> None:
        """Do nothing."""

    def line(self, kind: str, **values: Any) -> None:
        """Do nothing."""

    def text(self, tag: str, text: str) -> None:
        """Do nothing."""

    def clips(self, clips: np.ndarray) -> None:
        """Do nothing."""

    def confusion(self, step: int, matrix: np.ndarray, kind: str = "val") -> None:
        """Do nothing."""

    def flush(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


class _ConsoleFile(logging.FileHandler):
    """A file of log lines; where it cannot be written, the run hears of it, and it is no more."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the base class's name
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            super().handleError(record)
            return
        logging.getLogger().removeHandler(self)
        with suppress(OSError):  # it would try to write once more
            self.close()
        raise unwritable(Path(self.baseFilename), error) from error
