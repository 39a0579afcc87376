import pytest
import torch

from ops.running_mean import FadingMean, RunningMean, WholeMean, WindowMean


def means(running: RunningMean, values: list[float]) -> list[float]:
    return [float(running.add(torch.tensor(value))) for value in values]


def test_means_by_hand() -> None:
    values = [1.0, 3.0, 8.0, 0.0]
    assert means(WholeMean(), values) == [1, 2, 4, 3]
    assert means(WindowMean(2), values) == [1, 2, 5.5, 4]
    assert means(FadingMean(0.5), values) == pytest.approx([1, 7 / 3, 39 / 7, 39 / 15])


def test_a_window_longer_than_the_stream_and_slow_fading_give_the_whole_mean() -> None:
    values = torch.randn(20).tolist()
    whole = means(WholeMean(), values)
    assert means(WindowMean(20), values) == pytest.approx(whole, abs=1e-6)
    assert means(FadingMean(1 - 1e-9), values) == pytest.approx(whole, abs=1e-6)


def test_a_change_is_forgotten_by_the_window_and_the_fading_mean_alone() -> None:
    values = [0.0] * 1000 + [1.0] * 40
    assert means(WindowMean(8), values)[-1] == 1
    assert means(FadingMean(1 - 1 / 8), values)[-1] > 0.99
    assert means(WholeMean(), values)[-1] < 0.05


def test_the_whole_mean_of_a_long_stream_does_not_drift() -> None:
    running, value = WholeMean(), torch.full((3,), 0.1)
    for _ in range(20_000):
        mean = running.add(value)
    assert mean.dtype == torch.float32
    torch.testing.assert_close(mean, value, rtol=1e-7, atol=0)


def test_values_are_left_as_they_are() -> None:
    for running in (WholeMean(), WindowMean(2), FadingMean(0.5)):
        value = torch.ones(2)
        first = running.add(value).clone()
        running.add(torch.zeros(2))
        assert value.tolist() == first.tolist() == [1, 1]


@pytest.mark.parametrize("decay", [0.0, 1.0, -0.5])
def test_impossible_settings_are_errors(decay: float) -> None:
    with pytest.raises(ValueError, match=f"decay above 0 and below 1, got {decay}"):
        FadingMean(decay)
    with pytest.raises(ValueError, match="at least 1 value, got 0"):
        WindowMean(0)
