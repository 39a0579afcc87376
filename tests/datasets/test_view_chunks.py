import numpy as np
import pytest
import torch
from torch import Tensor

from datasets.view_chunks import classify_views, views_per_forward
from datasets.views import Views

DISTINCT = (3, 1, 9, 2, 0, 4)  # views that differ, by video; 0: unreadable
BATCHES = ((0, 1), (2,), (3, 4, 5))


def views_of(video: int) -> Views:
    number = DISTINCT[video]
    if not number:
        return Views(torch.empty(0), torch.empty(0), video, "broken")
    pixels = torch.arange(number, dtype=torch.uint8).reshape(-1, 1, 1, 1, 1) + 20 * video
    order = torch.from_numpy(np.random.default_rng(video).integers(0, number, 12))
    return Views(pixels.expand(-1, 2, 3, 4, 4), order, video, "")


class Device:
    """Computes one logit of a view, its pixel, and notes in what order it is asked."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.sizes: list[int] = []

    def classify(self, clips: Tensor) -> "Flying":
        self.sizes.append(len(clips))
        self.events.append(f"sent {len(self.sizes)}")
        return Flying(self, len(self.sizes), clips[:, 0, 0, 0, :1].float())


class Flying:
    def __init__(self, device: Device, number: int, logits: Tensor) -> None:
        self.device, self.number, self.logits = device, number, logits

    def tensor(self) -> Tensor:
        self.device.events.append(f"fetched {self.number}")
        return self.logits


@pytest.mark.parametrize("size", [1, 2, 4, 5, 19, 100])
def test_each_video_gets_its_views_whatever_the_chunks(size: int) -> None:
    device = Device()
    batches = [[views_of(video) for video in batch] for batch in BATCHES]
    results = {place: rest for place, *rest in classify_views(batches, device.classify, size)}
    assert sorted(results) == list(range(len(DISTINCT)))
    assert results.pop(4) == [None, "broken"]
    for video, (logits, error) in results.items():
        assert error == ""
        np.testing.assert_array_equal(logits[:, 0], views_of(video).view_of + 20 * video)
    *full, last = device.sizes
    assert full == [size] * (sum(DISTINCT) // size - (sum(DISTINCT) % size == 0))
    assert 0 < last <= size


def test_logits_are_fetched_when_the_next_chunk_is_on_its_way() -> None:
    device = Device()
    list(classify_views([[views_of(2)]], device.classify, 3))
    assert device.events == ["sent 1", "sent 2", "fetched 1", "sent 3", "fetched 2", "fetched 3"]


def test_no_video_is_no_work() -> None:
    device = Device()
    assert list(classify_views([[], [views_of(4)]], device.classify, 3)) == [(4, None, "broken")]
    assert device.events == []


def test_more_views_go_through_a_gpu_at_once_unless_a_number_is_asked_for() -> None:
    cpu, gpu = torch.device("cpu"), torch.device("cuda", 0)
    assert [views_per_forward(0, device) for device in (cpu, gpu)] == [16, 64]
    assert [views_per_forward(5, device) for device in (cpu, gpu)] == [5, 5]
