"""The page, by its text and, where there is one, in a browser."""

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tools.report import main
from tools.reporting.markup import text

MakeRun = Callable[..., Path]

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
VOID = {"meta", "link", "img", "br"}


class Reader(HTMLParser):
    """Reads a page strictly: tags match, and what it would fetch or run is kept."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.addresses: list[str] = []
        self.handlers: list[str] = []
        self.tags: list[str] = []
        self.shown = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)
        self.addresses += [v or "" for n, v in attrs if n in ("src", "href", "srcset", "action")]
        self.handlers += [name for name, _ in attrs if name.startswith("on")]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("script", "style"):
            self.shown += data


def page_of(*words: object) -> str:
    assert main([*map(str, words)]) == 0
    folder = Path(str(words[0]))
    several = len(words) > 1 and Path(str(words[1])).is_dir()
    return (folder / ("run_comparison.html" if several else "run_report.html")).read_text(
        encoding="utf-8"
    )


def test_page_stands_alone_and_shows_every_name_as_it_is(make_run: MakeRun) -> None:
    page = page_of(make_run("a<b>&'\""))
    reader = Reader(page)
    assert reader.open == []
    assert {address.partition(",")[0] for address in reader.addresses} == {"data:"}
    assert reader.handlers == []
    assert reader.tags.count("script") == 1
    assert not {"iframe", "object", "embed", "i", "form"} & {*reader.tags}
    for name in ("<b>down & \"out\" 'x'</b>", r"caf\udce9", "</script><img src=x onerror=boom()>"):
        assert reader.shown.count(name) >= 2
    assert "v/<i>" in reader.shown
    assert "default-src 'none'" in page


def test_page_has_every_part(make_run: MakeRun) -> None:
    page = page_of(make_run("a", map=12.5, per_class_ap={"up": 77.25}, remarks=["too <good>"]))
    shown = Reader(page).shown
    for words in (
        *("Figures", "Curves", "Classes", "Confusion", "surest of", "What made it"),
        *("top-1, %", "test: mAP, %", "12.50", "last validation: mAP, %", "77.2", "too <good>"),
        *("1x3 views, logits averaged", "abcdef0123456789", "torch 2.14.1", "SHA-256 abab"),
        *("SHA-256 7777", "MODEL.NUM_CLASSES: 4", "calibration error, %", "learning rate"),
    ):
        assert words in shown, words
    assert page.count("<svg") == 5
    assert "What differs" not in shown


def test_interval_stands_beside_top1(make_run: MakeRun) -> None:
    folder = make_run("a")
    found = json.loads((folder / "results.json").read_text())
    low, high = found["top1_interval"]
    assert f"{found['top1']:.2f} ({low:.2f} to {high:.2f})" in page_of(folder)


def test_of_several_runs_what_differs_comes_first(make_run: MakeRun) -> None:
    a, b = make_run("a"), make_run("b", "OPTIM.LR", "0.5", seed=1)
    c = make_run("c", names=["x", "y"])
    shown = Reader(page_of(a, b)).shown
    assert shown.index("OPTIM.LR") < shown.index("Figures")
    assert f"top-1 {a}" in shown
    assert "difference" in shown
    shown = Reader(page_of(a, b, c)).shown
    assert "The classes differ." in shown


@pytest.mark.parametrize("lacking", [["scores.npz"], ["results.json", "scores.npz"], ["log.jsonl"]])
def test_run_that_lacks_something_has_the_rest(make_run: MakeRun, lacking: list[str]) -> None:
    folder = make_run("a")
    for name in lacking:
        (folder / name).unlink()
    shown = Reader(page_of(folder)).shown
    assert ("There is no scores.npz of a test with" in shown) == ("scores.npz" in lacking)
    assert ("has not been tested yet" in shown) == ("results.json" in lacking)
    assert ("There is no log of a training." in shown) == ("log.jsonl" in lacking)
    assert "Of the last validation: 12 videos" in shown or "results.json" not in lacking


def test_mistakes_show_frames_of_videos_that_are_here(make_run: MakeRun, tmp_path: Path) -> None:
    for number in range(12):
        folder = tmp_path / "data" / f"v{number}"
        folder.mkdir(parents=True)
        pixels = np.full((30, 40, 3), 20 * number, np.uint8)
        for frame in range(1, 7):
            Image.fromarray(pixels).save(folder / f"img_{frame:05d}.jpg")
    videos = [f"v{number}" for number in range(11)] + ["gone"]
    run = make_run("a", videos=videos, seed=3)
    page = page_of(run)
    assert "Frames are left out where the videos are not here: " in page
    assert "image/jpeg" not in page
    page = page_of(run, "--data-root", tmp_path / "data")
    num_wrong = len(re.findall("taken for <b>", page))
    assert num_wrong > 3
    assert page.count("data:image/jpeg") in (num_wrong, num_wrong - 1)
    assert page_of(run, "--mistakes", 2).count("taken for <b>") == 2
    assert "surest of" not in page_of(run, "--mistakes", 0)


def test_many_classes_are_a_picture_and_a_table(make_run: MakeRun) -> None:
    names = [f"class {label}" for label in range(40)]
    page = page_of(make_run("a", names=names, num_videos=200, seed=1))
    assert page.count("data:image/png") == 1
    assert 'class="pixels"' in page
    assert Reader(page).shown.count("class 39") >= 1


def test_classes_are_told_by_the_results_where_there_is_nothing_else(make_run: MakeRun) -> None:
    folder = make_run("a", per_class_ap={"up": 12.25, "down": None})
    for name in ("scores.npz", "confusion.csv"):
        (folder / name).unlink()
    shown = Reader(page_of(folder)).shown
    assert "12.2" in shown
    assert "ap" in shown


def test_errors_are_one_line_and_write_nothing(
    make_run: MakeRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_run("a")
    results = (run / "results.json").read_bytes()
    for words, told in [
        ([tmp_path / "none"], "does not exist"),
        ([tmp_path], "is no run folder"),
        ([run, "--output", run / "results.json"], "is what is read"),
        ([run, "--data-root", tmp_path / "none"], "--data-root"),
    ]:
        assert main([*map(str, words)]) == 1
        error = capsys.readouterr().err
        assert told in error
        assert error.count("\n") == 1
    assert (run / "results.json").read_bytes() == results
    assert not (run / "run_report.html").exists()


def test_letters_that_html_cannot_have_are_escapes() -> None:
    assert text("a\0b\x1b<\udcff>&\"'") == r"a\x00b\x1b&lt;\udcff&gt;&amp;&quot;&#x27;"


SORTS = """<script>
const clicked = [], errors = [];
addEventListener("error", (event) => errors.push(event.message));
addEventListener("securitypolicyviolation", (event) => errors.push(event.violatedDirective));
const buttons = [...document.querySelectorAll("thead button")].filter(
  (button) => button.textContent.startsWith("top-1"));
for (const turn of [0, 1]) {
  buttons[0].click();
  const rows = [...buttons[0].closest("table").tBodies[0].rows];
  clicked.push(rows.map((row) => row.cells[3].textContent));
}
const wide = document.documentElement.scrollWidth > document.documentElement.clientWidth;
const found = {clicked, errors, wide, dark: matchMedia("(prefers-color-scheme: dark)").matches,
  paper: getComputedStyle(document.body).backgroundColor};
document.title = JSON.stringify(found);
</script>"""


def browser() -> str:
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if not found:
        pytest.skip("there is no Chromium")
    return found


def test_browser_renders_and_sorts_without_an_error(make_run: MakeRun, tmp_path: Path) -> None:
    page = page_of(make_run("a", names=["x", "y", "z", *map(str, range(5))], num_videos=60))
    path = tmp_path / "tried.html"
    path.write_text(page.replace("</body>", f"{SORTS}</body>"), encoding="utf-8")
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
    flags += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
    flags += [f"--user-data-dir={tmp_path / 'profile'}", "--enable-logging=stderr", "--dump-dom"]
    done = subprocess.run(
        [browser(), *flags, "--window-size=500,800", path.as_uri()],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert "CONSOLE" not in done.stderr
    title = re.search(r"<title>(\{.*?\})</title>", done.stdout)
    assert title, done.stdout[:500]
    found = json.loads(title[1])
    assert found["errors"] == []
    assert not found["wide"]
    up, down = ([float(cell) for cell in column] for column in found["clicked"])
    assert up == sorted(up)
    assert len({*up}) > 2
    assert down == sorted(down, reverse=True)
