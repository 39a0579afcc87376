from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from yacs.config import CfgNode

from datasets import frame_files, loaders, sampling
from datasets.annotations import VideoRecord
from datasets.augment.short_side import crop, crop_boxes, resize_short_side
from datasets.loaders import TestViews
from datasets.readers import FrameFolder, UnreadableVideoError
from datasets.view_crops import TOKSHIFT_CROPS, ViewCrops
from tests.datasets.conftest import RESIZE_LEVELS, items_of

Golden = Callable[[str], dict[str, Any]]
Config = Callable[..., CfgNode]
Open = Callable[[VideoRecord], FrameFolder]

PROTOCOLS = {  # sampling, crops, mirrored; the release's two uniform clips are one and its copy
    "dense3": ("dense", 3, False),
    "dense5flip": ("dense", 5, True),
    "dense1view": ("dense", 3, False),
    "uniform3": ("uniform", 3, False),
    "uniform3flip_once": ("uniform", 3, True),
}


def build_views(
    open_video: Open,
    records: list[VideoRecord],
    sample: Callable[[int], np.ndarray],
    num_crops: int = 3,
    adds_mirrored: bool = False,
    crops: ViewCrops = TOKSHIFT_CROPS,
) -> TestViews:
    return TestViews(
        records,
        open_video,
        sample,
        short_side=34,
        image_size=32,
        num_crops=num_crops,
        adds_mirrored=adds_mirrored,
        crops=crops,
    )


def all_views(dataset: TestViews, index: int) -> Tensor:
    """Every nominal view by the definition: clip, mirror, crop, nothing kept or shared."""
    record = dataset.records[index]
    views = []
    for clip in dataset.sample(record.num_frames):
        frames = torch.from_numpy(dataset.open_video(record).read(clip)).permute(0, 3, 1, 2)
        for is_mirrored in dataset.mirrorings:
            mirrored = frames.flip(-1) if is_mirrored else frames
            resized = resize_short_side(mirrored, dataset.short_side)
            boxes = crop_boxes(*resized.shape[-2:], dataset.image_size, dataset.num_crops)
            views += [crop(resized, box, dataset.image_size) for box in boxes]
    return torch.stack(views)


@pytest.mark.parametrize("tag", PROTOCOLS)
def test_views_equal_the_released_items_within_8_bit_arithmetic(
    tag: str,
    arithmetic: str,
    released_cfg: Config,
    released_items: dict[str, Any],
    released_records: Callable[[str], list[VideoRecord]],
    open_released: Open,
) -> None:
    kind, num_crops, adds_mirrored = PROTOCOLS[tag]
    cfg, records = released_cfg(), released_records("val")
    for _, index, name, shape, label in items_of(released_items, tag):
        num_views, T, _, side, _ = shape
        num_clips = num_views // num_crops // (1 + adds_mirrored)
        dense = partial(
            sampling.dense_clips, clip_len=T, stride=cfg.DATA.FRAME_STRIDE, num_clips=num_clips
        )
        uniform = partial(
            sampling.tsn_uniform_clips, num_segments=T, twice=num_clips == 2, as_released=True
        )
        dataset = TestViews(
            records,
            open_released,
            dense if kind == "dense" else uniform,
            short_side=cfg.DATA.TEST_SHORT_SIDE,
            image_size=side,
            num_crops=num_crops,
            adds_mirrored=adds_mirrored,
        )
        assert (records[index].path.split("/")[-1], records[index].label) == (name, label)
        views = dataset[index]
        assert not views.error
        ours = views.distinct[views.view_of].int().numpy()
        expected = released_items[f"val.{tag}.{index}"].astype(int)
        assert list(ours.shape) == list(expected.shape) == shape
        # one level where another libjpeg rounds
        allowed = 1 if arithmetic == "pillow" else RESIZE_LEVELS + 1
        assert np.abs(ours - expected).max() <= allowed, name


# Test views


SAMPLERS = {
    "dense": partial(sampling.dense_clips, clip_len=4, stride=4, num_clips=10),
    "even": partial(sampling.dense_clips, clip_len=4, stride=4, num_clips=10, even_starts=True),
    "uniform": partial(sampling.tsn_uniform_clips, num_segments=4, twice=True),
}


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("num_crops", [1, 3, 5])
@pytest.mark.parametrize("adds_mirrored", [False, True])
def test_distinct_views_make_up_all_views_and_each_is_kept_once(
    sampler: str,
    num_crops: int,
    adds_mirrored: bool,
    open_video: Open,
    records: list[VideoRecord],
) -> None:
    dataset = build_views(open_video, records, SAMPLERS[sampler], num_crops, adds_mirrored)
    for index in range(len(dataset)):
        views, expected = dataset[index], all_views(dataset, index)
        num_clips = 2 if sampler == "uniform" else 10
        assert len(expected) == num_clips * num_crops * (2 if adds_mirrored else 1)
        assert views.distinct.dtype == torch.uint8
        assert torch.equal(views.distinct[views.view_of], expected)
        # frames of noise: views of the same pixels are the same view
        assert len(views.distinct) == len(torch.unique(expected, dim=0))
        assert (views.video, views.error) == (index, "")


def test_released_starts_leave_few_distinct_views(
    open_video: Open, records: list[VideoRecord]
) -> None:
    dataset = build_views(open_video, records, SAMPLERS["dense"])
    counts = [len(dataset[index].distinct) for index in range(3)]
    # starts 0, 2, 4, 6 and from there 8; the video is shorter than a clip; 0, 4, ..., 24, then 25
    assert counts == [5 * 3, 1 * 3, 8 * 3]


def test_crops_that_coincide_are_kept_once(config: Config, records: list[VideoRecord]) -> None:
    loader = loaders.build_view_loader(config(VAL__VIDEOS_PER_GPU=3), records, "val", 0, 1)
    ((landscape, portrait, square),) = list(loader)
    # the short side is the crop's: only where the width is longer do left and right differ
    assert [len(views.distinct) for views in (landscape, portrait, square)] == [3, 1, 1]
    assert portrait.view_of.tolist() == square.view_of.tolist() == [0, 0, 0]


def test_views_come_in_the_order_clip_mirror_crop(
    open_video: Open, records: list[VideoRecord]
) -> None:
    dataset = build_views(open_video, records, SAMPLERS["dense"], num_crops=3, adds_mirrored=True)
    views = dataset[0]
    nominal = views.distinct[views.view_of].unflatten(0, (10, 2, 3))  # clip, mirror, crop
    plain = build_views(open_video, records, lambda _: dataset.sample(23)[2:3], num_crops=3)[0]
    assert torch.equal(nominal[2, 0], plain.distinct[plain.view_of])
    # 46 x 34 is kept as it is by the resize to 34, so the mirrored left crop is the right one
    left, right = nominal[:, 0, 1], nominal[:, 0, 2]
    assert torch.equal(nominal[:, 1, 1], right.flip(-1))
    assert torch.equal(nominal[:, 1, 2], left.flip(-1))
    assert not torch.equal(left, right)


def test_frames_are_decoded_once_and_resized_once_for_all_views(
    open_video: Open, records: list[VideoRecord], monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: Counter[str] = Counter()
    resized: list[int] = []
    open_image = frame_files.open_regular

    def count_image(path: Path) -> Any:
        decoded[path.name] += 1
        return open_image(path)

    def count_resize(frames: Tensor, short_side: int) -> Tensor:
        resized.append(len(frames))
        return resize_short_side(frames, short_side)

    monkeypatch.setattr(frame_files, "open_regular", count_image)
    counting = replace(TOKSHIFT_CROPS, resize=count_resize)
    for adds_mirrored, passes in ((False, 1), (True, 2)):
        decoded.clear()
        resized.clear()
        dataset = build_views(open_video, records, SAMPLERS["dense"], 3, adds_mirrored, counting)
        views = dataset[0]
        used = set(dataset.sample(23).ravel().tolist())
        assert len(views.view_of) * 4 > 3 * len(used)  # many more frames in views than on disk
        assert decoded == {f"img_{index + 1:05d}.png": 1 for index in used}
        assert len(resized) <= passes  # once for the mirror images, at most
        assert set(resized) == {len(used)}


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (VideoRecord("gone", 5, 0, 1), r"gone: No such file or directory"),
        (VideoRecord("portrait", 9, 0, 1), r"portrait/img_0000\d\.png: no such frame.* 5 frames"),
    ],
)
def test_unreadable_video_is_told(
    record: VideoRecord, reason: str, open_video: Open, records: list[VideoRecord]
) -> None:
    views = build_views(open_video, [*records, record], SAMPLERS["uniform"])[3]
    assert views.video == 3
    assert len(views.distinct) == len(views.view_of) == 0
    with pytest.raises(UnreadableVideoError, match=reason):
        raise UnreadableVideoError(views.error)


def test_frame_zero_of_the_uniform_clips_as_released_is_told(
    open_video: Open, records: list[VideoRecord]
) -> None:
    sample = partial(sampling.tsn_uniform_clips, num_segments=4, as_released=True)
    assert "index -1 is before the first frame" in build_views(open_video, records, sample)[1].error
    assert not build_views(open_video, records, sample)[0].error
