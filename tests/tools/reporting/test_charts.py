import re

import pytest

from engine.curves import Curve
from tools.reporting.charts import Line, chart


def curve(values: list[float], is_of_epochs: bool = False) -> Curve:
    return Curve("loss <i>", [float(n) for n in range(1, len(values) + 1)], values, is_of_epochs)


def labels_of(markup: str) -> list[str]:
    return re.findall(r'class="tick"[^>]*>([^<]*)<', markup)


def test_axes_have_round_numbers_around_the_values() -> None:
    markup = chart("loss", [Line("a", curve([0.7, 2.2, 1.1]), 0)])
    assert labels_of(markup) == ["0", "0.5", "1", "1.5", "2", "2.5", "0", "1", "2", "3", "epochs"]


@pytest.mark.parametrize("values", [[0.0], [5.0], [-1.0, -1.0], [1e-6, 5e-6], [1e9, 3e9]])
def test_every_curve_stays_in_the_drawing(values: list[float]) -> None:
    markup = chart("x", [Line("a", curve(values), 0)])
    (route,) = re.findall(r'd="M([^"]*)"', markup)
    for point in route.split("L"):
        x, y = map(float, point.split())
        assert 0 <= x <= 420
        assert 0 <= y <= 250
    assert "nan" not in markup


def test_values_of_epochs_say_themselves_and_names_are_shown_as_they_are() -> None:
    markup = chart("<b>", [Line("a & b", curve([1.0, 2.0], is_of_epochs=True), 7, is_dashed=True)])
    assert "<title>loss &lt;i&gt; after epoch 2: 2</title>" in markup
    assert "a &amp; b" in markup
    assert "<b>" not in markup
    assert 'class="line c1 dashed"' in markup
