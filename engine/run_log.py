"""Records of a run, kept by rank 0: the console, train.log, log.jsonl and TensorBoard."""

import atexit
import itertools
import json
import logging
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from tensorboardX import SummaryWriter

_log = logging.getLogger(__name__)

_FORMAT = "%(asctime)s %(message)s"
_CELL = 8  # side of a cell of the confusion matrix's picture, pixels


def set_up_console(is_main: bool) -> None:
    """Send log lines to the console: all of the main process, warnings of the others."""
    logging.basicConfig(
        level=logging.INFO if is_main else logging.WARNING,
        format=_FORMAT,
        datefmt="%H:%M:%S",
        stream=sys.stdout,
        force=True,
    )


def open_runlog(folder: Path, is_main: bool, is_fresh: bool) -> "RunLog | NullRunLog":
    """Open the records of a run.

    Args:
        folder: Run folder. If it holds a run already and this one is fresh, the old one is moved to
            a numbered name beside it, so that nothing is overwritten.
        is_main: Whether this process keeps the records.
        is_fresh: Whether the run begins, rather than goes on.
    """
    if not is_main:
        return NullRunLog()
    if is_fresh and (folder / "log.jsonl").exists():
        names = (folder.with_name(f"{folder.name}.{number}") for number in itertools.count(1))
        kept = next(name for name in names if not name.exists())
        folder.rename(kept)
        _log.warning("%s held a run; it is now %s (--resume goes on with a run)", folder, kept)
    return RunLog(folder)


class RunLog:
    """Writes the records of a run into its folder.

    Args:
        folder: Run folder; TensorBoard files go to its ``tensorboard``.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        # a run that an error ends: the writer's thread would meet the end of the interpreter
        atexit.register(self.close)
        folder.mkdir(parents=True, exist_ok=True)
        self._file = logging.FileHandler(folder / "train.log", encoding="utf-8")
        self._file.setFormatter(logging.Formatter(_FORMAT))
        logging.getLogger().addHandler(self._file)
        self._writer = SummaryWriter(str(folder / "tensorboard"))

    def scalars(self, step: int, values: dict[str, float]) -> None:
        """Record figures by tag in TensorBoard."""
        for tag, value in values.items():
            self._writer.add_scalar(tag, value, step)

    def line(self, kind: str, **values: Any) -> None:
        """Append a line to log.jsonl: the kind, the time in seconds, the values."""
        entry = {"kind": kind, "time": round(time.time(), 3), **values}
        with (self.folder / "log.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")

    def text(self, tag: str, text: str) -> None:
        """Record a text in TensorBoard, letter by letter."""
        self._writer.add_text(tag, f"```\n{text}\n```")

    def clips(self, clips: np.ndarray) -> None:
        """Show clips, uint8 (B, T, 3, H, W), as strips of frames below one another."""
        B, T, C, H, W = clips.shape
        strips = clips.transpose(2, 0, 3, 1, 4).reshape(C, B * H, T * W)
        self._writer.add_image("input/clips", strips, 0)

    def confusion(self, step: int, matrix: np.ndarray, kind: str = "val") -> None:
        """Show a confusion matrix (K, K), rows true, as shares of the row from white to black."""
        shares = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
        cell = max(1, _CELL * 32 // max(len(matrix), 32))
        picture = np.kron(255 - (255 * shares).astype(np.uint8), np.ones((cell, cell), np.uint8))
        self._writer.add_image(f"{kind}/confusion", picture[None], step)

    def flush(self) -> None:
        """Write what is still in memory."""
        self._writer.flush()
        self._file.flush()

    def close(self) -> None:
        """Flush and close the files."""
        self._writer.close()
        logging.getLogger().removeHandler(self._file)
        self._file.close()
        atexit.unregister(self.close)


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
