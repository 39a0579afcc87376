"""The sections of a report: figures, curves, and what made them."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from config.loading import KEYS
from engine.curves import Curve, Panel, panels_of
from tools.reporting.charts import NUM_COLOURS, Line, chart
from tools.reporting.markup import Cell, named, number, table, text
from tools.reporting.record_differences import UNTOLD, Difference
from tools.reporting.run_records import RunRecords

_WORDS = {
    "map": "mAP, %",
    "top1": "top-1, %",
    "top5": "top-5, %",
    "mean_class_accuracy": "mean-class accuracy, %",
    "calibration_error": "calibration error, %",
    "loss_single_views": "loss of single views",
    "num_videos": "videos scored",
    "num_listed": "videos in the list",
    "num_views": "views of a video",
}
_OF_SOURCE = ("command", "revision", "is_changed", "python", "platform", "device", "cuda", "seed")
_SPLITS = ("train", "val", "test")


def differences_section(runs: Sequence[str], differences: Sequence[Difference]) -> str:
    """Return a table of what differs, by topic."""
    if not differences:
        return "<p>Nothing differs of what is recorded, but the checkpoints.</p>"
    rows, topic = [], ""
    for one in differences:
        if one.topic != topic:
            topic = one.topic
            rows.append([Cell(f"<b>{text(topic)}</b>"), *[Cell("")] * len(runs)])
        rows.append([named(one.name), *(Cell(text(value), None, "long") for value in one.values)])
    return table(["", *runs], rows)


def figures_section(runs: Sequence[RunRecords]) -> str:
    """Return a table of every figure of the tests and of the last validations."""
    tests = [_figures(run.results) for run in runs]
    validations = [_figures(_last(run, "val")) for run in runs]
    rows = [*_rows("test", tests), *_rows("last validation", validations)]
    for name in ("protocol", "checkpoint", "checkpoint_sha256", "list"):
        told = [run.results.get(name) for run in runs]
        if any(told):
            cells = (Cell(text(value or UNTOLD), None, "long") for value in told)
            rows.append([named(f"test: {name.replace('_', ' ')}"), *cells])
    remarks = [
        f'<p class="warn">Of the figures of {text(run.name)}: {text(remark)}</p>'
        for run in runs
        for remark in run.results.get("remarks", ())
    ]
    untested = [
        f'<p class="warn">{text(run.name)} has not been tested yet.</p>'
        for run in runs
        if not run.results
    ]
    names = [run.name for run in runs]
    return "".join([*untested, *remarks, table(["", *names], rows) if rows else ""])


def _rows(kind: str, figures: Sequence[Mapping[str, Any]]) -> Iterator[list[Cell]]:
    for name in dict.fromkeys(name for own in figures for name in own):
        cells = [_figure(own.get(name)) for own in figures]
        yield [named(f"{kind}: {_WORDS.get(name, name.replace('_', ' '))}"), *cells]


def _figure(value: Any) -> Cell:
    if isinstance(value, tuple):  # an accuracy and its interval
        return Cell(f"{value[0]:.2f} ({value[1]:.2f} to {value[2]:.2f})")
    return Cell(number(value, digits=0 if isinstance(value, int) else 2).markup)


def _figures(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return every number at the top, whatever it is, top-1 with its interval."""
    figures: dict[str, Any] = {
        name: value
        for name, value in found.items()
        if isinstance(value, int | float) and not isinstance(value, bool) and name != "time"
    }
    ends = found.get("top1_interval")
    if "top1" in figures and isinstance(ends, list) and len(ends) == 2:
        figures["top1"] = (figures["top1"], *map(float, ends))
    return figures


def _last(run: RunRecords, kind: str) -> Mapping[str, Any]:
    found = [line for line in run.lines if line["kind"] == kind]
    return found[-1] if found else {}


def curves_section(runs: Sequence[RunRecords]) -> str:
    """Return charts of the trainings: of one run all its curves, of several theirs in each."""
    found = [panels_of(run.lines) for run in runs]
    if not any(found):
        return "<p>There is no log of a training.</p>"
    if len(runs) == 1:
        charts = [
            chart(panel.title, [Line(c.name, c, i) for i, c in enumerate(panel.curves)])
            for panel in found[0]
        ]
    else:
        titles = dict.fromkeys(panel.title for panels in found for panel in panels)
        charts = [_chart_of_runs(title, [run.name for run in runs], found) for title in titles]
    return f'<div class="charts">{"".join(charts)}</div>'


def _chart_of_runs(title: str, names: Sequence[str], found: Sequence[Sequence[Panel]]) -> str:
    lines, has_both = [], False
    for number_of_run, (name, panels) in enumerate(zip(names, found, strict=True)):
        curves = next((panel.curves for panel in panels if panel.title == title), [])
        chosen = _to_compare(curves)
        has_both |= len(chosen) > 1
        for place, curve in enumerate(chosen):
            is_dashed = len(chosen) > 1 and not curve.is_of_epochs
            lines.append(Line("" if place else name, curve, number_of_run, is_dashed))
    note = "dashed: training, with dots: validation" if has_both else ""
    return chart(title, lines, note + (" (colours repeat)" if len(names) > NUM_COLOURS else ""))


def _to_compare(curves: Sequence[Curve]) -> list[Curve]:
    """Return the curve of the training and the first of the validations."""
    of_epochs = [curve for curve in curves if curve.is_of_epochs]
    return [curve for curve in curves if not curve.is_of_epochs][:1] + of_epochs[:1]


def source_section(run: RunRecords) -> str:
    """Return what made a run: command, code, machine, lists, config."""
    source = run.results.get("run") or run.start()
    rows = [[named(name.replace("_", " ")), _told(source.get(name))] for name in _OF_SOURCE]
    rows.append([named("processes"), _told(source.get("num_processes"))])
    rows.append([named("hosts"), _told(", ".join(map(str, source.get("hosts", ()))))])
    packages = source.get("packages", {})
    rows.append([named("packages"), _told(", ".join(f"{n} {v}" for n, v in packages.items()))])
    lists = {**run.start().get("lists", {}), **run.results.get("run", {}).get("lists", {})}
    for split in _SPLITS:
        if split in lists:
            rows.append([named(f"{split} list"), Cell(_list_in_words(lists[split]), None, "long")])
    for kind, config in run.configs.items():
        if config:
            rows.append([named(f"{kind} config"), Cell(_config(config), None, "long")])
    unreadable = run.results.get("unreadable", ())
    if unreadable:
        shown = "<br>".join(map(text, unreadable[:50]))
        rows.append([named(f"{len(unreadable)} unreadable videos"), Cell(shown, None, "long")])
    return table(["", run.name], rows)


def _told(value: Any) -> Cell:
    return Cell(text(UNTOLD if value is None or value == "" else value), None, "long")


def _list_in_words(listed: Mapping[str, Any]) -> str:
    spread = listed.get("videos_per_class") or ["?", "?"]
    return (
        f"{text(listed.get('file'))}: {text(listed.get('num_videos'))} videos of "
        f"{text(listed.get('num_classes'))} classes, {text(spread[0])} to {text(spread[-1])} of a "
        f"class<br>SHA-256 {text(listed.get('sha256'))}"
    )


def _config(config: Mapping[str, Any]) -> str:
    changed = {key: value for key, value in config.items() if value != KEYS.get(key)}
    return (
        f"<pre>{_keys(changed)}</pre><details><summary>all {len(config)} keys</summary>"
        f"<pre>{_keys(config)}</pre></details>"
    )


def _keys(config: Mapping[str, Any]) -> str:
    return "\n".join(f"{text(key)}: {text(repr(value))}" for key, value in config.items())
