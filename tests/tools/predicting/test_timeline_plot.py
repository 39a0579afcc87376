import numpy as np
import pytest

pytest.importorskip("matplotlib")

from tools.predicting import timeline_plot
from tools.predicting.timeline_plot import plot_timeline

BLUE = (0, 114, 178)


def blue_columns(pixels: np.ndarray) -> np.ndarray:
    """The columns of a picture in which the first class's bars or its line are."""
    red, _, blue = pixels.astype(int).transpose(2, 0, 1)
    return np.flatnonzero(((blue - red) > 40).sum(0) > 20)


def test_axis_goes_from_nought_to_the_end_and_each_window_is_a_bar() -> None:
    spans = np.array([[0.0, 2.0], [6.0, 10.0]])
    image = plot_timeline(spans, 10.0, [("up", np.array([0.9, 0.4]))], "title")
    columns = blue_columns(np.asarray(image))
    left, right = columns.min(), columns.max()
    inside = set(columns.tolist())
    for second, is_bar in [(1.0, True), (4.0, False), (7.0, True), (9.9, True)]:
        place = round(left + second / 10 * (right - left))
        assert (place in inside) == is_bar, second
    assert right > 1150  # the end of the axis


def test_one_window_is_a_bar() -> None:
    image = plot_timeline(np.array([[0.0, 0.64]]), 0.64, [("up", np.array([0.7]))], "one")
    assert len(blue_columns(np.asarray(image))) > 900


def test_edge_is_the_highest_of_the_windows_at_each_time() -> None:
    spans = np.array([[0.0, 2.0], [1.0, 3.0], [2.0, 4.0]])
    times, edge = timeline_plot._upper_edge(spans, np.array([0.5, 0.2, 0.7]))
    assert times.tolist() == [0, 1, 2, 3, 4]
    assert edge.tolist() == [0.5, 0.5, 0.7, 0.7, 0.7]


@pytest.mark.parametrize("title", ["$x_1^", "caf\udce9.mp4", "a\\b"])
def test_any_name_is_a_title(title: str) -> None:
    plot_timeline(np.array([[0.0, 1.0]]), 1.0, [("up $", np.array([0.7]))], title)
