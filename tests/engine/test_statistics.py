import math

import numpy as np
import pytest

from engine.statistics import calibration_error, mcnemar_test, wilson_interval


@pytest.mark.parametrize(
    ("correct", "total", "expected"),
    [
        (5, 10, (0.2366, 0.7634)),
        (0, 10, (0.0, 0.2775)),
        (10, 10, (0.7225, 1.0)),
        (1, 1, (0.2065, 1.0)),
        (397, 400, (0.9782, 0.9974)),
    ],
)
def test_interval_of_known_counts(correct: int, total: int, expected: tuple[float, float]) -> None:
    assert wilson_interval(correct, total) == pytest.approx(expected, abs=1e-4)


def test_interval_holds_the_share_and_mirrors_with_it() -> None:
    for total in (1, 7, 1000):
        for correct in range(0, total + 1, max(total // 7, 1)):
            low, high = wilson_interval(correct, total)
            assert 0 <= low <= correct / total <= high <= 1
            mirrored = wilson_interval(total - correct, total)
            assert mirrored == pytest.approx((1 - high, 1 - low), abs=1e-12)


def test_ends_of_the_interval_solve_its_equation() -> None:
    low, high = wilson_interval(30, 90, z=2.5)
    for end in (low, high):
        assert abs(30 / 90 - end) == pytest.approx(2.5 * math.sqrt(end * (1 - end) / 90))


@pytest.mark.parametrize(("correct", "total"), [(0, 0), (-1, 5), (6, 5)])
def test_counts_that_cannot_be_have_no_interval(correct: int, total: int) -> None:
    with pytest.raises(ValueError, match=f"got {correct} of {total}"):
        wilson_interval(correct, total)


def test_calibration_error_worked_by_hand() -> None:
    probabilities = np.array([[0.9, 0.1], [0.9, 0.1], [0.4, 0.6], [0.3, 0.7]])
    labels = np.array([0, 1, 1, 1])
    # two bins of ten: 0.9 right half the time, 0.6 right, 0.7 right
    expected = (2 * abs(0.9 - 0.5) + abs(0.6 - 1) + abs(0.7 - 1)) / 4
    assert calibration_error(probabilities, labels, bins=10) == pytest.approx(expected)
    assert calibration_error(probabilities, labels, bins=1) == pytest.approx(abs(3.1 - 3) / 4)


def test_calibration_error_equals_a_slow_loop() -> None:
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet(np.full(4, 0.3), 300)
    labels = rng.integers(0, 4, 300)
    error = 0.0
    for number in range(15):
        best = probabilities.max(1)
        inside = (best > number / 15) & (best <= (number + 1) / 15)
        if inside.any():
            hits = (probabilities.argmax(1) == labels)[inside]
            error += inside.mean() * abs(best[inside].mean() - hits.mean())
    assert calibration_error(probabilities, labels) == pytest.approx(error, abs=1e-12)


def test_sure_and_right_is_calibrated_and_sure_and_wrong_is_not() -> None:
    probabilities = np.eye(3, dtype=np.float32)
    assert calibration_error(probabilities, np.arange(3)) == 0
    assert calibration_error(probabilities, np.array([1, 2, 0])) == 1


def test_faults_of_the_arguments_are_told() -> None:
    with pytest.raises(ValueError, match=r"got \(2, 3\) and \(3,\)"):
        calibration_error(np.zeros((2, 3)), np.zeros(3))
    with pytest.raises(ValueError, match=r"got \(0, 3\)"):
        calibration_error(np.zeros((0, 3)), np.zeros(0))
    with pytest.raises(ValueError, match="got 0"):
        calibration_error(np.zeros((1, 3)), np.zeros(1), bins=0)
    with pytest.raises(ValueError, match="got -1 and 2"):
        mcnemar_test(-1, 2)


@pytest.mark.parametrize(("first", "second"), [(0, 0), (1, 0), (5, 5), (2, 9), (11, 3)])
def test_mcnemar_equals_the_sum_over_coins(first: int, second: int) -> None:
    total = first + second
    tail = sum(math.comb(total, n) for n in range(min(first, second) + 1)) / 2**total
    assert mcnemar_test(first, second) == pytest.approx(min(1.0, 2 * tail))
