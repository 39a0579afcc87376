import numpy as np
import pytest
import torch
from PIL import Image

from tools.looking.pictures import (
    CELL,
    GAP,
    LINE_HEIGHT,
    SCALE_WIDTH,
    colour,
    drawn_side,
    enlarge_frames,
    enlarge_maps,
    overlay,
    strip,
    time_map,
    to_unit_range,
    with_caption,
    with_scale,
)


@pytest.mark.parametrize(("side", "drawn"), [(32, 224), (224, 224), (256, 256), (112, 224)])
def test_frames_are_drawn_at_a_whole_multiple(side: int, drawn: int) -> None:
    assert drawn_side(side) == drawn
    frames = np.random.default_rng(0).integers(0, 256, (2, side, side, 3), dtype=np.uint8)
    enlarged = enlarge_frames(frames)
    assert enlarged.shape == (2, drawn, drawn, 3)
    assert (enlarged[:, :: drawn // side, :: drawn // side] == frames).all()


def test_colours_go_from_blue_to_red_and_maps_of_a_clip_share_one_scale() -> None:
    least, most = colour(np.array([0.0, 1.0]))
    assert least.tolist() == [20, 20, 90]
    assert most.tolist() == [220, 30, 30]
    maps = torch.tensor([[[1.0, 2.0]], [[3.0, 5.0]]])
    assert to_unit_range(maps).tolist() == [[[0, 0.25]], [[0.5, 1]]]
    assert to_unit_range(torch.ones(2, 1, 1)).tolist() == [[[0]], [[0]]]


def test_a_map_lies_over_what_it_covers() -> None:
    maps = torch.zeros(1, 2, 2)
    maps[0, 0, 1] = 1
    pixels = enlarge_maps(maps, covered=8, side=10)[0]
    assert pixels.shape == (10, 10)
    assert pixels[:2, 6:8].tolist() == [[1, 1], [1, 1]]  # the place's own corner
    assert pixels[8:].sum() + pixels[:, 8:].sum() == 0
    over = overlay(np.zeros((1, 10, 10, 3), np.uint8), maps, covered_share=0.8)
    assert over[0, 0, 7].tolist() == [110, 15, 15]  # half of the colour, half of the frame


def test_a_strip_shows_its_rows_below_the_caption() -> None:
    rows = [np.full((3, 8, 8, 3), value, np.uint8) for value in (10, 200)]
    image = np.asarray(strip(rows, ["a", "b", "c"], ["one", "two"]))
    top = 2 * LINE_HEIGHT
    assert image.shape == (top + 16 + 2 * LINE_HEIGHT, 3 * (8 + GAP), 3)
    assert (image[top : top + 8, :8] == 10).all()
    assert (image[top + 8 : top + 16, 8 + GAP : 16 + GAP] == 200).all()
    assert (image[top : top + 16, 8 : 8 + GAP] == 255).all()


def test_scale_goes_from_the_least_colour_to_the_most() -> None:
    image = np.asarray(with_scale(Image.new("RGB", (600, 10), "white")))
    assert image.shape == (10 + LINE_HEIGHT, 600, 3)
    row = image[10 + LINE_HEIGHT // 2]
    first = next(x for x in range(600) if row[x].tolist() == [20, 20, 90])
    last = max(x for x in range(600) if row[x].tolist() == [220, 30, 30])
    assert last - first == SCALE_WIDTH - 1


def test_text_that_is_too_wide_is_cut_off_and_odd_letters_are_no_error() -> None:
    blank = np.zeros((4, 60, 3), np.uint8)
    long, short = (np.asarray(with_caption(blank, [text])) for text in ("x" * 500, "č走"))
    assert long.shape == short.shape == (4 + LINE_HEIGHT, 60, 3)
    assert (long[:LINE_HEIGHT, -4:] == 255).all()


def test_the_map_in_time_is_scaled_by_what_frames_have_of_others() -> None:
    shares = torch.tensor([[0.8, 0.2], [0.1, 0.9]])
    image = np.asarray(time_map(shares, ["0", "8"], ["caption"]))
    assert image.shape == (3 * LINE_HEIGHT + 2 * CELL, 3 * CELL, 3)
    middle = LINE_HEIGHT + CELL // 2
    colours = [image[middle, CELL // 2 + column * CELL].tolist() for column in (1, 2)]
    assert colours == [[220, 30, 30]] * 2  # itself, and the most of another
    assert image[middle + CELL, CELL + CELL // 2].tolist() == [20, 20, 90]
    assert time_map(torch.ones(1, 1), ["0"], ["caption"]).size == (2 * CELL, 3 * LINE_HEIGHT + CELL)
