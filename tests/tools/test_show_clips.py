import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.test_main import Experiment
from tools.show_clips import main


@pytest.fixture(scope="module")
def experiment(tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    experiment = Experiment(tmp_path_factory.mktemp("shown"))
    (experiment.folder / "classes.txt").write_text("kick <b>\nrun & jump\n动画\n")
    return experiment


def show(experiment: Experiment, *words: object) -> None:
    names = ("DATA.CLASS_NAMES", experiment.folder / "classes.txt")
    main(["--cfg", str(experiment.config), *map(str, (*words, *names))])


def test_page_needs_nothing_but_itself(experiment: Experiment, tmp_path: Path) -> None:
    show(experiment, "--output", tmp_path / "a.html", "--number", 5, "--epoch", 1)
    page = (tmp_path / "a.html").read_text(encoding="utf-8")
    parser = HTMLParser()
    parser.feed(page)
    assert page.count("<figure>") == page.count('<img alt="') == 5
    assert page.count('src="data:image/png;base64,') == 5
    assert not re.search(r"https?://|<script|<link", page)
    assert "tiny.yml: train" in page
    assert "kick &lt;b&gt;" in page
    assert "epoch 1, DATA.BALANCE 0, dense 4 frames of 16 pixels" in page


def test_sheet_shows_the_views_of_the_test(experiment: Experiment, tmp_path: Path) -> None:
    show(experiment, "--output", tmp_path / "a.png", "--split", "val", "--number", 1)
    pixels = np.asarray(Image.open(tmp_path / "a.png"))
    assert pixels.shape[1] == 4 * (112 + 4)  # frames of 16 pixels, seven times as large
    assert len(np.unique(pixels)) > 50


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("--output", "a.gif"), "--output a.gif: it must end in .html or .png"),
        (("--output", "a.png", "DATA.TRAIN_LIST", "gone.txt"), "cannot read the list file 'gone"),
    ],
)
def test_what_cannot_be_shown_is_a_line(
    experiment: Experiment,
    words: tuple[str, ...],
    text: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as end:
        show(experiment, *words)
    assert end.value.code == 1
    assert text in capsys.readouterr().out
    assert not [*tmp_path.iterdir()]


def test_unreadable_videos_are_said_and_end_in_an_error(
    experiment: Experiment, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    listed = tmp_path / "val.txt"
    listed.write_text(f"gone 9 0\n{(experiment.folder / 'val.txt').read_text()}")
    words = ("--split", "test", "--output", tmp_path / "a.html", "DATA.VAL_LIST", listed)
    with pytest.raises(SystemExit) as end:
        show(experiment, *words)
    assert end.value.code == 1
    assert "/gone: No such file or directory" in capsys.readouterr().out
    assert '<figure class="bad">' in (tmp_path / "a.html").read_text()
