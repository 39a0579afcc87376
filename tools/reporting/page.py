"""A report as one page of HTML that needs nothing but itself."""

from collections.abc import Sequence
from pathlib import Path

from tools.reporting.classes import (
    Classes,
    class_table,
    classes_of,
    confusion_picture,
    told_table,
)
from tools.reporting.markup import text
from tools.reporting.mistakes import mistakes_section
from tools.reporting.record_differences import record_differences
from tools.reporting.run_records import RunRecords
from tools.reporting.run_sections import (
    curves_section,
    differences_section,
    figures_section,
    source_section,
)

_BESIDE = Path(__file__).parent
# Nothing is fetched and nothing is sent, whatever stands in a name.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"


def report_page(runs: Sequence[RunRecords], num_mistakes: int, root: str | None = None) -> str:
    """Return the page of one run, or of several side by side, what differs first.

    Args:
        runs: Records of the runs, at least one.
        num_mistakes: Number of mistakes of each run that are shown, with frames.
        root: Folder that the videos' paths start from; None: that of the test's config.

    Raises:
        ValueError: A file of a run is damaged.
    """
    means = [run.mean_scores() for run in runs]
    classes = [classes_of(run, mean) for run, mean in zip(runs, means, strict=True)]
    sections = []
    if len(runs) > 1:
        differences = differences_section([run.name for run in runs], record_differences(runs))
        sections.append(_section("What differs", differences))
    sections.append(_section("Figures", figures_section(runs)))
    sections.append(_section("Curves", curves_section(runs)))
    sections.append(_section("Classes", _class_tables(runs, classes)))
    confusions = [
        f"<p class=faint>Of {own.source}: {int(own.matrix.sum())} videos.</p>"
        f"{confusion_picture(own)}"
        if own
        else "<p>There is none.</p>"
        for own in classes
    ]
    sections.append(_section("Confusion", _side_by_side(runs, confusions)))
    if num_mistakes:
        mistakes = [
            mistakes_section(run, mean, own.names, num_mistakes, root)
            if mean is not None and own
            else "<p>There is no scores.npz of a test with one class a video.</p>"
            for run, mean, own in zip(runs, means, classes, strict=True)
        ]
        sections.append(_section("Mistakes that it is surest of", _side_by_side(runs, mistakes)))
    sources = _side_by_side(runs, [source_section(run) for run in runs], has_names=False)
    sections.append(_section("What made it", sources))
    return _page(", ".join(run.name for run in runs), "".join(sections))


def _class_tables(runs: Sequence[RunRecords], classes: Sequence[Classes | None]) -> str:
    """Return one table of runs with the same classes, else one of each."""
    known = [(run.name, own) for run, own in zip(runs, classes, strict=True) if own]
    if not known:
        told = [told_table(run.results) or "<p>There is no table.</p>" for run in runs]
        return _side_by_side(runs, told)
    if len({tuple(own.names) for _, own in known}) == 1:
        names = [name for name, _ in known] if len(known) > 1 else [""]
        return class_table(names, [own for _, own in known])
    tables = [f"<h3>{text(name)}</h3>{class_table([''], [own])}" for name, own in known]
    return f"<p>The classes differ.</p>{''.join(tables)}"


def _side_by_side(runs: Sequence[RunRecords], parts: Sequence[str], has_names: bool = True) -> str:
    if len(runs) == 1:
        return parts[0]
    columns = (
        f"<div>{f'<h3>{text(run.name)}</h3>' if has_names else ''}{part}</div>"
        for run, part in zip(runs, parts, strict=True)
    )
    return f'<div class="runs">{"".join(columns)}</div>'


def _section(title: str, content: str) -> str:
    return f"<section><h2>{text(title)}</h2>\n{content}\n</section>\n"


def _page(title: str, content: str) -> str:
    style, script = ((_BESIDE / f"report.{kind}").read_text("utf-8") for kind in ("css", "js"))
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<link rel="icon" href="data:,">\n<title>{text(title)}</title>\n'
        f"<style>\n{style}</style>\n</head>\n<body>\n<h1>{text(title)}</h1>\n"
        f"{content}<script>\n{script}</script>\n</body>\n</html>\n"
    )
