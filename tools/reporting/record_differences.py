"""What the records of several runs say differently: protocol, data, config, code."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from config.loading import KEYS
from engine.run_differences import FREE_KEYS
from tools.reporting.run_records import RunRecords

PROTOCOL, DATA, TRAINING = "protocol", "data", "model and training"
CODE, MACHINE = "code", "where and how fast"
TOPICS = (PROTOCOL, DATA, TRAINING, CODE, MACHINE)
UNTOLD = "not told"

_DIGITS = 12  # of a digest
_SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Difference:
    """One thing that is not alike in all runs.

    Attributes:
        topic: Topic, one of `TOPICS`.
        name: Name of what differs.
        values: Values of each run.
    """

    topic: str
    name: str
    values: list[str]


def record_differences(runs: Sequence[RunRecords]) -> list[Difference]:
    """Return what differs between runs, by topic.

    Where files of the code were changed against its revision, the code counts as different.
    """
    found = [*_of_results(runs), *_of_lists(runs), *_of_configs(runs), *_of_sources(runs)]
    return sorted(found, key=lambda one: TOPICS.index(one.topic))


def _of_results(runs: Sequence[RunRecords]) -> Iterator[Difference]:
    yield from _compared(PROTOCOL, "protocol of the test", runs, lambda r: r.get("protocol"))
    yield from _compared(PROTOCOL, "views of a video", runs, lambda r: r.get("num_views"))
    yield from _compared(DATA, "tested videos", runs, lambda r: r.get("num_videos"))
    yield from _compared(DATA, "videos in the tested list", runs, lambda r: r.get("num_listed"))
    yield from _compared(DATA, "remarks", runs, _remarks)
    yield from _differing(DATA, "classes", _classes(runs))


def _remarks(results: Mapping[str, Any]) -> str:
    """Return what makes the figures mean something else, of whatever checkpoint."""
    remarks = "; ".join(map(str, results.get("remarks", ()))) or "none"
    checkpoint = str(results.get("checkpoint", ""))
    return remarks.replace(checkpoint, "the checkpoint") if checkpoint else remarks


def _classes(runs: Sequence[RunRecords]) -> list[str | None]:
    """Say of each run how many classes it has and, where names differ, the first that does."""
    names = [[*map(str, run.results.get("per_class_accuracy", {}))] for run in runs]
    rows = enumerate(zip(*filter(None, names), strict=False))
    label = next((label for label, row in rows if len({*row}) > 1), None)
    differs = "" if label is None else f", label {label} is {{!r}}"
    return [f"{len(own)}{differs.format(own[label or 0])}" if own else None for own in names]


def _compared(
    topic: str,
    name: str,
    runs: Sequence[RunRecords],
    value: Callable[[Mapping[str, Any]], Any],
) -> Iterator[Difference]:
    """Compare what each results.json says; runs without one are not told."""
    values = [value(run.results) if run.results else None for run in runs]
    yield from _differing(topic, name, values)


def _of_lists(runs: Sequence[RunRecords]) -> Iterator[Difference]:
    for split in _SPLITS:
        values = [_list_of(run, split) for run in runs]
        if len({str(value.get("sha256")) for value in values}) > 1:
            yield from _differing(DATA, f"{split} list", [_in_words(value) for value in values])


def _list_of(run: RunRecords, split: str) -> Mapping[str, Any]:
    """Return what is recorded of a list: with the test, or with the start of the training."""
    for source in (run.results.get("run", {}), run.start()):
        lists = source.get("lists", {})
        if split in lists:
            return lists[split]
    return {}


def _in_words(listed: Mapping[str, Any]) -> str | None:
    if not listed:
        return None
    digest = str(listed.get("sha256"))[:_DIGITS]
    return f"{listed.get('file')}: {listed.get('num_videos')} videos, SHA-256 {digest}"


def _of_configs(runs: Sequence[RunRecords]) -> Iterator[Difference]:
    """Compare the keys of the trainings, and what the tests do otherwise than those."""
    trainings = [run.configs["training"] or run.configs["test"] for run in runs]
    tests = [run.configs["test"] or run.configs["training"] for run in runs]
    for key in dict.fromkeys(key for config in (*trainings, *tests) for key in config):
        trained, tested = _values(trainings, key), _values(tests, key)
        if key == "OUTPUT_DIR":
            continue
        if key.startswith("TEST."):
            yield from _differing(PROTOCOL, key, tested)
            continue
        yield from _differing(_topic_of(key), key, trained)
        if tested != trained and key.startswith(("DATA.", "MODEL.")) and key not in FREE_KEYS:
            yield from _differing(PROTOCOL, f"{key} of the test", tested)


def _values(configs: Sequence[Mapping[str, Any]], key: str) -> list[Any]:
    """Return a key's values; one that a config lacks, which is older, has its default there."""
    return [config.get(key, KEYS.get(key)) if config else None for config in configs]


def _topic_of(key: str) -> str:
    if key in FREE_KEYS:
        return MACHINE
    section = key.partition(".")[0]
    return DATA if section == "DATA" else TRAINING


def _of_sources(runs: Sequence[RunRecords]) -> Iterator[Difference]:
    """Compare what made the figures: of the test, and else of the training."""
    sources = [run.results.get("run") or run.start() for run in runs]
    revisions = [_revision(source) for source in sources]
    if any(source.get("is_changed") is True for source in sources):
        yield Difference(CODE, "revision", [_plain(value) for value in revisions])
    else:
        yield from _differing(CODE, "revision", revisions)
    yield from _differing(CODE, "python", [source.get("python") for source in sources])
    packages = [source.get("packages", {}) for source in sources]
    for name in dict.fromkeys(name for found in packages for name in found):
        yield from _differing(CODE, name, [found.get(name) for found in packages])
    for name in ("device", "cuda", "num_processes", "platform"):
        yield from _differing(MACHINE, name, [source.get(name) for source in sources])


def _revision(source: Mapping[str, Any]) -> str | None:
    if "revision" not in source:
        return None
    changed = " and files changed since" if source.get("is_changed") is True else ""
    return f"{str(source['revision'])[:_DIGITS]}{changed}"


def _differing(topic: str, name: str, values: Sequence[Any]) -> Iterator[Difference]:
    texts = [_plain(value) for value in values]
    if len({*texts}) > 1:
        yield Difference(topic, name, texts)


def _plain(value: Any) -> str:
    return UNTOLD if value is None else str(value) if value != "" else "''"
