import pytest
import torch

from datasets.augment.scale_jitter import jitter_scale
from datasets.view_crops import VIEW_CROPS, ViewCrops, tsm_boxes


@pytest.fixture(params=sorted(VIEW_CROPS))
def crops(request: pytest.FixtureRequest) -> ViewCrops:
    return VIEW_CROPS[request.param]


@pytest.mark.parametrize("num_crops", [1, 3])
@pytest.mark.parametrize(("height", "width"), [(32, 57), (61, 32), (32, 32)])
def test_first_box_is_the_centre_and_all_lie_in_the_frame(
    crops: ViewCrops, height: int, width: int, num_crops: int
) -> None:
    boxes = crops.boxes(height, width, 32, num_crops)
    assert len(boxes) == num_crops
    top, left = boxes[0]
    # of TSM's three crops the centre goes by whole quarters of the spare pixels
    assert abs(2 * top + 32 - height) <= 4
    assert abs(2 * left + 32 - width) <= 4
    for top, left in boxes:
        assert 0 <= top <= height - 32
        assert 0 <= left <= width - 32


def test_resized_frames_have_the_short_side(crops: ViewCrops) -> None:
    frames = torch.randint(0, 256, (2, 3, 40, 57), dtype=torch.uint8)
    resized = crops.resize(frames, 24)
    assert resized.dtype == torch.uint8
    assert resized.shape == (2, 3, 24, 34)


def test_every_choice_is_its_releases() -> None:
    assert VIEW_CROPS["tokshift"].mirrors_before_resize
    assert VIEW_CROPS["tsm"].boxes is tsm_boxes
    for name in ("uniform", "multi_centre"):
        assert VIEW_CROPS[name].resize is jitter_scale
        assert not VIEW_CROPS[name].mirrors_before_resize
