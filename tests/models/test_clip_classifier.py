import pytest
import torch
from torch import Tensor, nn

from models.clip_classifier import ClipClassifier
from ops.pixels import normalize

MEAN, STD = [0.5, 0.2, 0.4], [0.5, 0.25, 0.3]


class MeanOfChannels(nn.Module):
    """(B, T, 3, H, W) to (B, 3)."""

    def forward(self, clips: Tensor) -> Tensor:
        return 3 * clips.mean((1, 3, 4))


@pytest.fixture
def views() -> Tensor:
    return torch.randint(0, 256, (2, 4, 3, 3, 5, 5), dtype=torch.uint8)  # (B, V, T, 3, H, W)


def test_pixels_are_normalised_inside(views: Tensor) -> None:
    clips = views[:, 0]
    expected = MeanOfChannels()(normalize(clips, MEAN, STD))
    assert torch.equal(ClipClassifier(MeanOfChannels(), MEAN, STD)(clips), expected)


def test_normalised_clips_are_left_alone(views: Tensor) -> None:
    clips = normalize(views[:, 0], MEAN, STD)
    classify = ClipClassifier(MeanOfChannels(), MEAN, STD, takes_normalized=True)
    assert torch.equal(classify(clips), MeanOfChannels()(clips))


@pytest.mark.parametrize("averages_logits", [True, False])
def test_views_of_a_video_are_averaged(views: Tensor, averages_logits: bool) -> None:
    single = ClipClassifier(MeanOfChannels(), MEAN, STD)
    averaging = ClipClassifier(
        MeanOfChannels(), MEAN, STD, num_views=4, averages_logits=averages_logits
    )
    for video, answer in zip(views, averaging(views), strict=True):
        scores = torch.stack([single(view[None])[0] for view in video])  # (V, K)
        scores = scores if averages_logits else scores.softmax(-1)
        torch.testing.assert_close(answer, scores.mean(0))
    if not averages_logits:
        torch.testing.assert_close(averaging(views).sum(-1), torch.ones(2))


def test_views_of_several_classes_are_averaged_as_sigmoids(views: Tensor) -> None:
    single = ClipClassifier(MeanOfChannels(), MEAN, STD)
    averaging = ClipClassifier(
        MeanOfChannels(), MEAN, STD, num_views=4, averages_logits=False, is_multi_label=True
    )
    expected = single(views.flatten(0, 1)).sigmoid().unflatten(0, (2, 4)).mean(1)
    torch.testing.assert_close(averaging(views), expected)
