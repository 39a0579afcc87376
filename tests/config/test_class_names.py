import pytest

from config.class_names import check_same_names

NAMES = ["run", "swim", "walk"]


@pytest.mark.parametrize("other", [NAMES, ["0", "1", "2"], []])
def test_same_names_and_mere_numbers_fit(other: list[str]) -> None:
    check_same_names(NAMES, other, "t.pth", "do so")
    check_same_names(other, NAMES, "t.pth", "do so")


def test_names_in_another_order_are_refused_with_the_first_that_differs() -> None:
    with pytest.raises(
        ValueError, match=r"^label 1 is 'walk' in t\.pth and 'swim' in DATA.CLASS_NAMES; do so$"
    ):
        check_same_names(NAMES, ["run", "walk", "swim"], "t.pth", "do so")
