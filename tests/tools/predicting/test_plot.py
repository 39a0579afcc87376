from PIL import ImageFont

from tools.predicting.plot import LEGEND_WIDTH, NUM_TICKS, fitted, plot_lines, ticks


def test_line_goes_through_its_points() -> None:
    image = plot_lines([0.0, 1.0, 2.0], {"up": [0.0, 0.5, 1.0]}, "title", "seconds", "probability")
    blue = [
        (x, y)
        for x in range(80, 900)
        for y in range(50, 531)
        if image.getpixel((x, y)) == (0, 114, 178)
    ]
    for corner in [(80, 530), (490, 290), (899, 51)]:  # value 0 at second 0, 0.5 at 1, 1 at 2
        assert min(abs(x - corner[0]) + abs(y - corner[1]) for x, y in blue) <= 2


def test_ticks_are_round_and_few() -> None:
    assert [text for _, text in ticks(0.0, 5.0)] == ["0", "1", "2", "3", "4", "5"]
    for end in (0.01, 0.37, 3.0, 61.0, 7200.0):
        shown = [tick for tick, _ in ticks(0.3 * end, end)]
        assert 2 <= len(shown) <= NUM_TICKS
        assert 0.3 * end - 1e-9 <= shown[0] < shown[-1] <= end + 1e-9


def test_one_point_is_drawn() -> None:
    image = plot_lines([3.0], {"only": [0.7]}, "", "", "")
    assert (0, 114, 178) in {colour for _, colour in image.getcolors(1 << 20) or []}


def test_long_names_are_shortened_to_the_legend() -> None:
    font = ImageFont.load_default(16)
    assert fitted("archery", font) == "archery"
    short = fitted("a very long name of a class " * 5, font)
    assert short.endswith("...")
    assert font.getlength(short) <= LEGEND_WIDTH
