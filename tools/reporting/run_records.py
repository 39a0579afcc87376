"""What a run has left of itself: figures, configs, log, scores and confusion."""

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from config.json_files import read_json
from config.loading import KEYS
from config.text_files import read_text
from config.values import decoded, shown
from config.yaml_tree import parse_yaml
from engine.log_lines import FILE as LOG
from engine.log_lines import read_log
from engine.mean_scores import MeanScores

RESULTS, SCORES, CONFUSION = "results.json", "scores.npz", "confusion.csv"
CONFIGS = {"training": "config.yml", "test": "test_config.yml"}
_SAME_TOP1 = 1e-3  # percent
# What results.json and the start of a training hold that is no plain value.
_FORMS = {
    "run": dict,
    "lists": dict,
    "packages": dict,
    "per_class_accuracy": dict,
    "per_class_ap": dict,
    "hosts": list,
    "remarks": list,
    "unreadable": list,
    "videos_per_class": list,
}


@dataclass(frozen=True)
class RunRecords:
    """What lies in the folder of a run, as far as it is there.

    Attributes:
        name: Name as the user wrote it.
        folder: Folder of the run.
        results: Content of results.json; empty without one.
        lines: Lines of log.jsonl.
        configs: Keys of the ``training`` and of the ``test``, with their values.
        scores: Path of scores.npz; None without one.
    """

    name: str
    folder: Path
    results: Mapping[str, Any]
    lines: list[dict[str, Any]]
    configs: Mapping[str, Mapping[str, Any]]
    scores: Path | None

    def average_logits(self) -> bool:
        """Tell whether the test averaged logits over the views; False: probabilities."""
        return "probabilities averaged" not in str(self.results.get("protocol", ""))

    def mean_scores(self) -> MeanScores | None:
        """Read the scores of the test, averaged as its figures are; None where there are none.

        None, too, where a video may have several classes: what is told of mistakes and classes goes
        by one.

        Raises:
            ValueError: The file is damaged, or is not of the test that results.json is of.
        """
        if self.scores is None or "map" in self.results:
            return None
        mean = MeanScores.load(self.scores, self.average_logits())
        if self.results:
            top1 = 100 * float(mean.hits().mean())
            told = (self.results.get("num_videos"), self.results.get("top1"))
            if told[0] != len(mean.videos) or abs(_number(told[1]) - top1) > _SAME_TOP1:
                raise ValueError(
                    f"{self.scores} gives top-1 {top1:.2f} of {len(mean.videos)} videos and "
                    f"{self.folder / RESULTS} says {told[1]} of {told[0]}: they are of two tests; "
                    "test again, or move the one that is not meant away"
                )
        return mean

    def start(self) -> Mapping[str, Any]:
        """Return what the last start of the training says of it; empty where none does."""
        starts = [line for line in self.lines if line["kind"] == "start"]
        return starts[-1] if starts else {}

    def confusion(self) -> tuple[list[str], np.ndarray] | None:
        """Read confusion.csv: names by label, videos by true (row) and predicted class.

        Raises:
            ValueError: It is damaged.
        """
        path = self.folder / CONFUSION
        if not path.is_file():
            return None
        text = read_text(path, CONFUSION, of_any_encoding=True)
        try:
            # not splitlines: a name may hold a line separator that is no end of a row
            heading, *rows = csv.reader(io.StringIO(text, newline=""))
            matrix = np.array([[int(cell) for cell in row[1:]] for row in rows])
            names = heading[1:]
            if matrix.shape != (len(names), len(names)):
                raise ValueError(f"{matrix.shape} cells, {len(names)} names")
        except (ValueError, csv.Error) as error:
            raise ValueError(f"{path} is no table of a confusion: {error}") from error
        return names, matrix

    def class_names(self, num_classes: int) -> list[str]:
        """Return the names by label as far as they are known, else the labels."""
        table = self.confusion()
        names = table[0] if table else [*self.results.get("per_class_accuracy", {})]
        return names if len(names) == num_classes else [str(k) for k in range(num_classes)]


def open_records(name: str) -> RunRecords:
    """Return the records of a run folder, or of a results.json or a scores.npz.

    Args:
        name: Path of the folder or the file. What lies beside a file belongs to it.

    Raises:
        ValueError: There is nothing of a run, or a file is damaged.
    """
    path = Path(name)
    folder = path if path.is_dir() else path.parent
    if not path.exists():
        raise ValueError(f"{name!r} does not exist; it names a run folder")
    results, scores = folder / RESULTS, folder / SCORES
    if path.is_file() and path.suffix == ".npz":
        scores = path
        results = results if path.name == SCORES else folder / "none"
    elif path.is_file() and path.suffix == ".json":
        results = path
        scores = scores if path.name == RESULTS else folder / "none"
    elif path.is_file():
        raise ValueError(f"{name!r} is no run folder, no {RESULTS} and no {SCORES}")
    try:
        lines = read_log(folder)
    except OSError as error:
        raise ValueError(f"cannot read {error.filename!r}: {error.strerror}") from error
    records = RunRecords(
        name,
        folder,
        read_json(results, RESULTS) if results.is_file() else {},
        lines,
        {kind: read_config(folder / file) for kind, file in CONFIGS.items()},
        scores if scores.is_file() else None,
    )
    _check_forms(records.results, str(results))
    _check_forms(records.start(), str(folder / LOG))
    if not records.results and not records.lines and not records.scores:
        raise ValueError(f"{name!r} is no run folder: it has no {RESULTS}, {SCORES} or log.jsonl")
    return records


def read_config(path: Path) -> dict[str, Any]:
    """Return the keys of a config file with their values, as they stand there; {} without one.

    It may be of another version of the code: it is shown and compared, never run.

    Raises:
        ValueError: It is no yml file.
    """
    if not path.is_file():
        return {}
    return dict(_leaves(parse_yaml(read_text(path, "the config"), str(path))))


def _check_forms(entry: Mapping[str, Any], source: str) -> None:
    """Raise ValueError for an entry that a run of ours cannot have written."""
    for name, value in entry.items():
        form = _FORMS.get(name)
        if form and not isinstance(value, form):
            wanted = "an object" if form is dict else "a list"
            raise ValueError(
                f"{source}: {name} is {shown(value)}, not {wanted}; it is of no run of this "
                "project: move it away"
            )
        if name == "lists":
            _check_lists(value, source)
        elif name == "run":
            _check_forms(value, source)


def _check_lists(lists: Mapping[str, Any], source: str) -> None:
    for split, listed in lists.items():
        if not isinstance(listed, dict):
            raise ValueError(f"{source}: lists: {split} is {shown(listed)}, not an object")
        _check_forms({"videos_per_class": listed.get("videos_per_class", [])}, source)


def _leaves(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    leaves: dict[str, Any] = {}
    for name, value in tree.items():
        key = f"{prefix}{name}"
        if isinstance(value, Mapping):
            leaves |= _leaves(value, f"{key}.")
        else:
            leaves[key] = _typed(value, KEYS.get(key))
    return leaves


def _typed(value: Any, default: Any) -> Any:
    """Read a text as the kind of value that its key takes."""
    if isinstance(default, str):
        return "" if value is None else str(value)
    value = decoded(value)
    return float(value) if isinstance(default, float) and isinstance(value, int) else value


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else float("inf")
