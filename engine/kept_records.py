"""What stays of a run's records when it goes on from a checkpoint: each step once, none beyond."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.event_files import cut_events
from engine.whole_file import errors_told, whole_file

_BY_ITERATION = ("Iteration", "input")  # groups of tags
_BY_EPOCH = ("Accuracy", "LearningRate", "Loss")  # the release's, whose steps count from 0
_OF_START = ("config", "_hparams_")  # each start says it anew


@dataclass(frozen=True)
class RecordedPart:
    """How far a run that goes on has come, in the counts of its records.

    Attributes:
        iterations: Number of batches of each process since the run began.
        epochs: Number of finished epochs.
        validated: Number of epochs after which there was a validation that counts; the next one of
            them is validated again, or first.
    """

    iterations: int
    epochs: int
    validated: int

    def has_line(self, entry: Mapping[str, Any]) -> bool:
        """Tell whether a line of log.jsonl lies within; one of an unknown kind does."""
        kind, epoch = str(entry.get("kind")), entry.get("epoch", 0)
        if kind == "train":  # older lines lack the step, and count epochs from 0
            return entry["step"] <= self.iterations if "step" in entry else epoch < self.epochs
        ends = self._epochs_of_validations()
        return kind not in ends or epoch <= ends[kind]

    def has_event(self, tag: str, step: int) -> bool:
        """Tell whether an event of TensorBoard lies within; one of an unknown tag does."""
        group, _, name = tag.partition("/")
        if group in _OF_START:
            return False
        if group in _BY_ITERATION:
            return step < self.iterations
        ends = {"train": self.epochs, "test": self.epochs - 1, **self._epochs_of_validations()}
        if group in _BY_EPOCH:
            validation = name.removeprefix("best_").partition("_")[0].replace("test", "val")
            return step < self._epochs_of_validations().get(validation, self.epochs)
        kind = group.removesuffix("_top1_of_class").removesuffix("_ap_of_class")
        return kind not in ends or step <= ends[kind]

    def _epochs_of_validations(self) -> dict[str, int]:
        """Return by kind how many epochs' validations stay; the averaged weights' comes last."""
        return {"val": min(self.validated, self.epochs), "swa": self.epochs - 1}


def cut_records(folder: Path, part: RecordedPart) -> None:
    """Remove from log.jsonl and TensorBoard's files what lies beyond, and what is torn.

    Args:
        folder: Run folder.
        part: Part of the records that stays: as far as the run has come.

    Raises:
        UnwritableError: A file cannot be written.
    """
    cut_events(folder / "tensorboard", part.has_event)
    path = folder / "log.jsonl"
    if not path.exists():
        return
    with errors_told(path):
        lines = path.read_bytes().splitlines(keepends=True)
    kept = [line for line in map(_mended, lines) if _stays(line, part)]
    if kept == lines:
        return
    with whole_file(path) as file:
        file.writelines(kept)


def _mended(line: bytes) -> bytes:
    """Return a line with its end, which a killed run may have left out."""
    return line if line.endswith(b"\n") else line + b"\n"


def _stays(line: bytes, part: RecordedPart) -> bool:
    try:
        entry = json.loads(line)
    except ValueError:  # torn
        return False
    return isinstance(entry, dict) and part.has_line(entry)
