from collections import Counter

import pytest

from tools.listing.splitting import count_table, divide, read_shares, recordings


@pytest.mark.parametrize(
    ("text", "shares"),
    [("0.8", [0.8, 0.2]), ("0.7,0.2", [0.7, 0.2, 0.1]), ("0.6,0.2,0.2", [0.6, 0.2, 0.2])],
)
def test_the_rest_is_the_last_part(text: str, shares: list[float]) -> None:
    assert read_shares(text) == pytest.approx(shares)


@pytest.mark.parametrize("text", ["1", "0", "-0.5", "x", "0.5,0.5", "0.5,0.6", "0.1,0.1,0.1", ""])
def test_other_shares_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="--split"):
        read_shares(text)


def test_classes_are_divided_in_proportion_and_the_same_each_time() -> None:
    labels = [0] * 40 + [1] * 10 + [2] * 2
    groups = [str(n) for n in range(len(labels))]
    parts = divide(labels, groups, [0.8, 0.2], seed=0)
    counts = Counter(zip(labels, parts, strict=True))
    assert counts == {(0, 0): 32, (0, 1): 8, (1, 0): 8, (1, 1): 2, (2, 0): 1, (2, 1): 1}
    assert parts == divide(labels, groups, [0.8, 0.2], seed=0)
    assert parts != divide(labels, groups, [0.8, 0.2], seed=1)


def test_recordings_stay_whole_even_with_several_classes() -> None:
    paths = [f"{c}/rec{n % 10}_{c}{n}.mp4" for n in range(60) for c in "ab"]
    labels = [path.startswith("b") + 0 for path in paths]
    groups = recordings(paths, r"rec\d+")
    parts = divide(labels, groups, [0.7, 0.15, 0.15], seed=0)
    of_group = {(group, part) for group, part in zip(groups, parts, strict=True)}
    assert len(of_group) == 10
    assert Counter(part for _, part in of_group) == {0: 7, 1: 2, 2: 1}


def test_folds_are_equal_parts() -> None:
    parts = divide([0] * 10 + [1] * 5, [str(n) for n in range(15)], [0.2] * 5, seed=0)
    assert Counter(zip([0] * 10 + [1] * 5, parts, strict=True)) == {
        (label, part): 2 - label for label in (0, 1) for part in range(5)
    }


def test_groups_of_the_expression_name_the_recording_together() -> None:
    assert recordings(["a/g1_c1", "a/g1_c2"], r"(\w)/(g\d)") == ["a\0g1", "a\0g1"]
    assert recordings(["a", "a"], "") == ["a", "a"]
    with pytest.raises(ValueError, match="finds nothing in 1 of 2 paths; first: 'b'"):
        recordings(["a1", "b"], r"\d")
    with pytest.raises(ValueError, match="no regular expression"):
        recordings(["a"], "(")


def test_table_has_a_row_for_each_class() -> None:
    assert count_table([0, 0, 1], [0, 1, 0], ["run", "walk"], ["train", "val"]) == [
        "class   train     val",
        "run         1       1",
        "walk        1       0",
    ]
