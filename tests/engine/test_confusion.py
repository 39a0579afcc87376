import csv
import logging
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from engine import canvas
from engine.confusion import draw_confusion, write_confusion


@pytest.fixture(autouse=True)
def forgets_matplotlib() -> Iterator[None]:
    canvas.can_draw.cache_clear()
    yield
    canvas.can_draw.cache_clear()


def matrix_of(num_classes: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 90, (num_classes, num_classes))


def rows_of(folder: Path) -> list[list[str]]:
    text = (folder / "confusion.csv").read_text(errors="surrogateescape")
    return list(csv.reader(text.splitlines()))


def test_table_has_true_classes_in_rows_and_predicted_in_columns(tmp_path: Path) -> None:
    write_confusion(tmp_path, np.array([[5, 1], [0, 7]]), ["go, left", "caf\udce9"], "")
    assert rows_of(tmp_path) == [
        ["true \\ predicted", "go, left", "caf\udce9"],
        ["go, left", "5", "1"],
        ["caf\udce9", "0", "7"],
    ]


@pytest.mark.parametrize("num_classes", [1, 2, 8, 30, 31, 121, 400])
def test_picture_is_as_large_as_its_classes_need(num_classes: int, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    names = [f"class_{label} of $x^2$" for label in range(num_classes)]
    pixels = write_confusion(tmp_path, matrix_of(num_classes), names, "test: $ and _")
    assert pixels is not None
    with Image.open(tmp_path / "confusion.png") as image:
        assert np.array_equal(np.asarray(image), pixels)
    assert 300 < pixels.shape[0] < 2200
    assert 450 < pixels.shape[1] < 2200


def test_each_cell_is_coloured_by_its_share_of_the_true_class() -> None:
    pytest.importorskip("matplotlib")
    shown = [draw_confusion(np.array([[9, 0], [0, wrong]]), ["a", "b"], "") for wrong in (3, 5000)]
    blue = [(picture.astype(int) @ [1, 1, -2] < -100).sum() for picture in shown]
    assert blue[0] == pytest.approx(blue[1], rel=0.05)  # the letters alone differ


def test_names_that_no_font_has_are_drawn_as_numbers(caplog: pytest.LogCaptureFixture) -> None:
    pytest.importorskip("matplotlib")
    with caplog.at_level(logging.WARNING):
        draw_confusion(matrix_of(2), ["up", "\U00010d30\U00010d31"], "")
    assert "of 1 class names" in caplog.text
    assert "Glyph" not in caplog.text


def test_matplotlib_that_is_missing_is_said_once_and_the_table_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.delitem(sys.modules, "matplotlib.figure", raising=False)
    (tmp_path / "confusion.png").write_text("of an earlier test")
    for count in (3, 4):
        assert write_confusion(tmp_path, np.full((1, 1), count), ["a"], "") is None
        assert rows_of(tmp_path)[1] == ["a", str(count)]
    assert not (tmp_path / "confusion.png").exists()
    (record,) = caplog.records
    assert "matplotlib cannot be imported" in record.message
    assert record.message.endswith("python -m pip install matplotlib")


def test_pyplot_is_not_touched(monkeypatch: pytest.MonkeyPatch) -> None:
    matplotlib = pytest.importorskip("matplotlib")
    settings = matplotlib.rcParams.copy()
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)  # an import of it fails
    draw_confusion(matrix_of(3), ["a", "b", "c"], "")
    assert [*settings] == [*matplotlib.rcParams]
    assert matplotlib.rcParams["text.usetex"] == settings["text.usetex"]
