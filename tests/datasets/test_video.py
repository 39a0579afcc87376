from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DistributedSampler
from yacs.config import CfgNode

from config import load_cfg_text
from datasets import readers, sampling, video
from datasets.annotations import VideoRecord, read_list
from datasets.clips import ClipMaker
from datasets.readers import FrameFolder, UnreadableVideoError
from datasets.transforms import TrainTransform, crop, crop_boxes, resize_short_side
from datasets.video import Clips, EpochSampler, TestViews, TrainClips
from datasets.view_crops import TOKSHIFT_CROPS, ViewCrops

Golden = Callable[[str], dict[str, Any]]
Config = Callable[..., CfgNode]

NUM_FRAMES = {"landscape": 23, "portrait": 5, "square": 40}
SIZES = {"landscape": (46, 34), "portrait": (32, 50), "square": (33, 33)}  # width, height


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three videos of noise, as PNG, so that no two frames agree by chance."""
    folder = tmp_path_factory.mktemp("frames")
    rng = np.random.default_rng(0)
    for name, (width, height) in SIZES.items():
        (folder / name).mkdir()
        for number in range(1, NUM_FRAMES[name] + 1):
            noise = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
            Image.fromarray(noise).save(folder / name / f"img_{number:05d}.png")
    return folder


@pytest.fixture(scope="module")
def records() -> list[VideoRecord]:
    return [
        VideoRecord(name, count, label, label + 1)
        for label, (name, count) in enumerate(NUM_FRAMES.items())
    ]


@pytest.fixture
def config(root: Path, tmp_path: Path) -> Config:
    """A config over the three videos, with overrides given as SECTION__KEY=value."""
    listed = tmp_path / "list.txt"
    lines = [f"{name} {label}\n" for label, name in enumerate(NUM_FRAMES)]
    listed.write_text("".join(lines))

    def build(**overrides: Any) -> CfgNode:
        settings = {
            "DATA__ROOT": root,
            "DATA__TRAIN_LIST": listed,
            "DATA__VAL_LIST": listed,
            "DATA__FRAME_TEMPLATE": "img_{:05d}.png",
            "DATA__NUM_FRAMES": 4,
            "DATA__FRAME_STRIDE": 3,
            "DATA__IMAGE_SIZE": 32,
            "DATA__TEST_SHORT_SIDE": 32,
            "DATA__WORKERS": 0,
            "AUG__SHORT_SIDE_RANGE": [32, 44],
            "AUG__JITTER_ONE_IN": 2,
            "MODEL__NUM_CLASSES": 3,
            "TRAIN__CLIPS_PER_GPU": 1,
        } | overrides
        words = [str(word) for key, value in settings.items() for word in (key, value)]
        return load_cfg_text("", "test", [word.replace("__", ".") for word in words])

    return build


def open_in(folder: Path, record: VideoRecord) -> FrameFolder:
    return FrameFolder(folder / record.path, "img_{:05d}.png")


def build_views(
    root: Path,
    records: list[VideoRecord],
    sample: Callable[[int], np.ndarray],
    num_crops: int = 3,
    adds_mirrored: bool = False,
    crops: ViewCrops = TOKSHIFT_CROPS,
) -> TestViews:
    return TestViews(
        records,
        partial(open_in, root),
        sample,
        short_side=34,
        image_size=32,
        num_crops=num_crops,
        adds_mirrored=adds_mirrored,
        crops=crops,
    )


def build_clips(root: Path, records: list[VideoRecord], seed: int = 0) -> TrainClips:
    sample = partial(sampling.random_dense_clip, clip_len=4, stride=2)
    transform = TrainTransform(32, [32, 44], jitter_one_in=2)
    return TrainClips(records, ClipMaker(partial(open_in, root), sample, transform), seed)


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


# The golden items: what the released dataset returns, in grey levels.

PROTOCOLS = {  # clips, crops, mirrored; None: uniform, and whether twice
    "dense3": (2, 3, False),
    "dense5flip": (2, 5, True),
    "dense1view": (1, 3, False),
    "uniform3": ("twice", 3, False),
    "uniform3flip_once": ("once", 3, True),
}


@pytest.fixture(scope="module")
def items(golden: Golden) -> dict[str, Any]:
    return golden("tokshift/f_dataset_items.npz")


@pytest.fixture(scope="module")
def released_records(golden_root: Path) -> list[VideoRecord]:
    listed = golden_root / "tokshift/f_e2e/val.txt"
    if not listed.exists():
        pytest.skip("the golden frames are not here")
    return read_list(listed, num_classes=6)


def open_released(golden_root: Path, record: VideoRecord) -> FrameFolder:
    return FrameFolder(golden_root / "tokshift/f_e2e/frames" / record.path)


@pytest.mark.parametrize("tag", PROTOCOLS)
def test_views_equal_the_released_items_within_two_levels(
    tag: str, items: dict[str, Any], released_records: list[VideoRecord], golden_root: Path
) -> None:
    clips, num_crops, adds_mirrored = PROTOCOLS[tag]
    sample = partial(sampling.dense_clips, clip_len=4, stride=4, num_clips=clips)
    if isinstance(clips, str):
        is_twice = clips == "twice"
        sample = partial(
            sampling.tsn_uniform_clips, num_segments=4, twice=is_twice, as_released=True
        )
    dataset = TestViews(
        released_records,
        partial(open_released, golden_root),
        sample,
        short_side=32,
        image_size=32,
        num_crops=num_crops,
        adds_mirrored=adds_mirrored,
    )
    rows = [row for row in items["meta"] if row[0] == tag]
    assert rows
    for _, index, name, shape, label in rows:
        record = released_records[index]
        assert (record.path.split("/")[-1], record.label) == (name, label)
        views = dataset[index]
        assert not views.error
        ours = views.distinct[views.view_of].int().numpy()
        expected = items[f"val.{tag}.{index}"].astype(int)
        assert list(ours.shape) == list(expected.shape) == shape
        # one level where the resize rounds, one where another libjpeg does
        assert np.abs(ours - expected).max() <= 2, name


@pytest.mark.parametrize("kind", ["dense", "uniform"])
def test_training_clips_equal_the_released_items_within_8_bit_arithmetic(
    kind: str,
    items: dict[str, Any],
    released_records: list[VideoRecord],
    golden_root: Path,
    legacy_rng: type,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sample = {
        "dense": partial(sampling.random_dense_clip, clip_len=4, stride=4),
        "uniform": partial(sampling.tsn_uniform, num_segments=4),
    }[kind]
    transform = TrainTransform(32, [32, 44])
    records = released_records[::-1]  # the training list is the other reversed
    maker = ClipMaker(partial(open_released, golden_root), sample, transform)
    clips = TrainClips(records, maker, seed=0)
    rows = [row for row in items["meta"] if row[0] == kind]
    assert rows
    for _, index, name, shape, label, seed in rows:
        monkeypatch.setattr(np.random, "default_rng", lambda _, seed=seed: legacy_rng(seed))
        clip = clips[0, index]
        assert (records[index].path.split("/")[-1], int(clip.labels)) == (name, label)
        expected = items[f"train.{kind}.{index}.s{seed}"].astype(int)
        assert list(clip.clips.shape) == list(expected.shape) == shape
        # as for the views; what colour changes add is bounded in test_transforms.py
        assert np.abs(clip.clips.int().numpy() - expected).max() <= 2, (name, seed)


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
    root: Path,
    records: list[VideoRecord],
) -> None:
    dataset = build_views(root, records, SAMPLERS[sampler], num_crops, adds_mirrored)
    for index in range(len(dataset)):
        views, expected = dataset[index], all_views(dataset, index)
        num_clips = 2 if sampler == "uniform" else 10
        assert len(expected) == num_clips * num_crops * (2 if adds_mirrored else 1)
        assert views.distinct.dtype == torch.uint8
        assert torch.equal(views.distinct[views.view_of], expected)
        # frames of noise: views of the same pixels are the same view
        assert len(views.distinct) == len(torch.unique(expected, dim=0))
        assert (views.video, views.error) == (index, "")


def test_released_starts_leave_few_distinct_views(root: Path, records: list[VideoRecord]) -> None:
    dataset = build_views(root, records, SAMPLERS["dense"])
    counts = [len(dataset[index].distinct) for index in range(3)]
    # starts 0, 2, 4, 6 and from there 8; the video is shorter than a clip; 0, 4, ..., 24, then 25
    assert counts == [5 * 3, 1 * 3, 8 * 3]


def test_crops_that_coincide_are_kept_once(config: Config, records: list[VideoRecord]) -> None:
    loader = video.build_view_loader(config(VAL__VIDEOS_PER_GPU=3), records, "val", 0, 1)
    ((landscape, portrait, square),) = list(loader)
    # the short side is the crop's: only where the width is longer do left and right differ
    assert [len(views.distinct) for views in (landscape, portrait, square)] == [3, 1, 1]
    assert portrait.view_of.tolist() == square.view_of.tolist() == [0, 0, 0]


def test_views_come_in_the_order_clip_mirror_crop(root: Path, records: list[VideoRecord]) -> None:
    dataset = build_views(root, records, SAMPLERS["dense"], num_crops=3, adds_mirrored=True)
    views = dataset[0]
    nominal = views.distinct[views.view_of].unflatten(0, (10, 2, 3))  # clip, mirror, crop
    plain = build_views(root, records, lambda _: dataset.sample(23)[2:3], num_crops=3)[0]
    assert torch.equal(nominal[2, 0], plain.distinct[plain.view_of])
    # 46 x 34 is kept as it is by the resize to 34, so the mirrored left crop is the right one
    left, right = nominal[:, 0, 1], nominal[:, 0, 2]
    assert torch.equal(nominal[:, 1, 1], right.flip(-1))
    assert torch.equal(nominal[:, 1, 2], left.flip(-1))
    assert not torch.equal(left, right)


def test_frames_are_decoded_once_and_resized_once_for_all_views(
    root: Path, records: list[VideoRecord], monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: Counter[str] = Counter()
    resized: list[int] = []
    open_image = Image.open

    def count_image(path: Path) -> Any:
        decoded[Path(path).name] += 1
        return open_image(path)

    def count_resize(frames: Tensor, short_side: int) -> Tensor:
        resized.append(len(frames))
        return resize_short_side(frames, short_side)

    monkeypatch.setattr(readers.Image, "open", count_image)
    counting = replace(TOKSHIFT_CROPS, resize=count_resize)
    for adds_mirrored, passes in ((False, 1), (True, 2)):
        decoded.clear()
        resized.clear()
        dataset = build_views(root, records, SAMPLERS["dense"], 3, adds_mirrored, counting)
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
def test_unreadable_video_is_an_error_in_training_and_told_in_testing(
    record: VideoRecord, reason: str, root: Path, records: list[VideoRecord]
) -> None:
    views = build_views(root, [*records, record], SAMPLERS["uniform"])[3]
    assert views.video == 3
    assert len(views.distinct) == len(views.view_of) == 0
    with pytest.raises(UnreadableVideoError, match=reason):
        raise UnreadableVideoError(views.error)
    clips = build_clips(root, [record])
    with pytest.raises(UnreadableVideoError, match=reason):
        # some start of twenty reaches the frames that are missing
        [clips[epoch, 0] for epoch in range(20)]


def test_frame_zero_of_the_uniform_clips_as_released_is_told(
    root: Path, records: list[VideoRecord]
) -> None:
    sample = partial(sampling.tsn_uniform_clips, num_segments=4, as_released=True)
    assert "index -1 is before the first frame" in build_views(root, records, sample)[1].error
    assert not build_views(root, records, sample)[0].error


# Training clips


def test_training_clip_is_sampled_and_transformed_with_draws_of_seed_epoch_and_index(
    root: Path, records: list[VideoRecord]
) -> None:
    clips = build_clips(root, records, seed=7)
    for epoch, index in ((0, 0), (0, 2), (3, 0)):
        rng = np.random.default_rng((7, epoch, index))
        maker = clips.maker
        indices = maker.sample(records[index].num_frames, rng=rng)
        frames = maker.open_video(records[index]).read(indices)
        expected = maker.transform(torch.from_numpy(frames).permute(0, 3, 1, 2), rng)
        clip = clips[epoch, index]
        assert torch.equal(clip.clips, expected)
        assert clip.clips.dtype == torch.uint8
        assert clip.clips.is_contiguous()
        assert (clip.labels.item(), clip.indices.item()) == (records[index].label, index)


def test_training_clips_differ_with_epoch_index_and_seed(
    root: Path, records: list[VideoRecord]
) -> None:
    twins = [records[0], records[0]]
    clips, others = build_clips(root, twins), build_clips(root, twins, seed=1)
    reference = clips[0, 0].clips
    assert torch.equal(clips[0, 0].clips, reference)
    for other in (clips[1, 0], clips[0, 1], others[0, 0]):
        assert not torch.equal(other.clips, reference)


# Samplers


@pytest.mark.parametrize("world_size", [1, 2, 3])
@pytest.mark.parametrize("num_videos", [12, 13, 14])
def test_epoch_order_is_that_of_the_distributed_sampler(num_videos: int, world_size: int) -> None:
    for rank in range(world_size):
        ours = EpochSampler(num_videos, rank, world_size, seed=5)
        theirs = DistributedSampler(
            range(num_videos), world_size, rank, shuffle=True, seed=5, drop_last=True
        )
        for epoch in (0, 1, 4):
            ours.set_epoch(epoch)
            theirs.set_epoch(epoch)
            assert list(ours) == [(epoch, index) for index in theirs]
            assert len(list(ours)) == len(ours)


@pytest.mark.parametrize(("num_videos", "world_size"), [(12, 3), (13, 3), (14, 4)])
def test_processes_share_the_videos_of_an_epoch_without_overlap(
    num_videos: int, world_size: int
) -> None:
    samplers = [EpochSampler(num_videos, rank, world_size, seed=0) for rank in range(world_size)]
    dealt = [index for sampler in samplers for _, index in sampler]
    assert len(dealt) == len(set(dealt)) == num_videos // world_size * world_size
    assert set(dealt) <= set(range(num_videos))


def test_batches_of_two_processes_make_the_batch_of_one() -> None:
    one = [index for _, index in EpochSampler(16, 0, 1, seed=3)]
    halves = [[index for _, index in EpochSampler(16, rank, 2, seed=3)] for rank in range(2)]
    for first in range(0, 16, 8):
        half = slice(first // 2, first // 2 + 4)
        assert set(one[first : first + 8]) == {*halves[0][half], *halves[1][half]}


def test_every_epoch_shuffles_anew() -> None:
    sampler = EpochSampler(20, 0, 1, seed=0)
    orders = []
    for epoch in range(3):
        sampler.set_epoch(epoch)
        orders.append([index for _, index in sampler])
    assert all(sorted(order) == list(range(20)) for order in orders)
    assert orders[0] != orders[1] != orders[2] != orders[0]


# Loaders


def batches_of(loader: Any, epoch: int) -> list[Clips]:
    loader.sampler.set_epoch(epoch)
    return list(loader)


def test_training_clips_do_not_depend_on_the_number_of_workers(
    config: Config, records: list[VideoRecord]
) -> None:
    alone = video.build_train_loader(config(), records, rank=0, world_size=1)
    helped = video.build_train_loader(config(DATA__WORKERS=2), records, rank=0, world_size=1)
    epochs = [batches_of(alone, epoch) for epoch in (0, 1)]
    for epoch, expected in enumerate(epochs):
        for ours, theirs in zip(batches_of(helped, epoch), expected, strict=True):
            assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))
    clips = [torch.cat([batch.clips for batch in batches]) for batches in epochs]
    order = [torch.cat([batch.indices for batch in batches]).argsort() for batches in epochs]
    for first, second in zip(clips[0][order[0]], clips[1][order[1]], strict=True):
        assert not torch.equal(first, second)


def test_views_do_not_depend_on_the_number_of_workers(
    config: Config, records: list[VideoRecord]
) -> None:
    by_workers = [
        list(video.build_view_loader(config(DATA__WORKERS=n), records, "test", 0, 1))
        for n in (0, 2)
    ]
    for ours, theirs in zip(*by_workers, strict=True):
        for a, b in zip(ours, theirs, strict=True):
            assert torch.equal(a.distinct, b.distinct)
            assert torch.equal(a.view_of, b.view_of)
            assert (a.video, a.error) == (b.video, b.error)


def test_training_batches_are_whole_and_hold_clips_labels_and_indices(
    config: Config, records: list[VideoRecord]
) -> None:
    loader = video.build_train_loader(config(TRAIN__CLIPS_PER_GPU=2), records, 0, 1)
    (batch,) = batches_of(loader, 0)  # three videos, two in the batch
    assert len(loader) == 1
    assert batch.clips.shape == (2, 4, 3, 32, 32)
    assert batch.labels.tolist() == [records[index].label for index in batch.indices]


@pytest.mark.parametrize("world_size", [1, 2, 5])
def test_processes_share_the_test_videos_without_padding(
    world_size: int, config: Config, records: list[VideoRecord]
) -> None:
    seen = [
        views.video
        for rank in range(world_size)
        for batch in video.build_view_loader(config(), records, "test", rank, world_size)
        for views in batch
    ]
    assert sorted(seen) == [0, 1, 2]


@pytest.mark.parametrize(
    ("split", "overrides", "num_views"),
    [
        ("val", {}, 1 * 3),
        ("val", {"VAL__NUM_CLIPS": 2, "VAL__NUM_CROPS": 5}, 2 * 5),
        ("test", {}, 10 * 3),
        ("test", {"TEST__NUM_CLIPS": 4, "TEST__NUM_CROPS": 1}, 4),
        ("test", {"TEST__FLIP": True}, 10 * 2 * 3),
        ("val", {"TEST__FLIP": True}, 1 * 2 * 3),
        ("test", {"DATA__SAMPLING": "uniform"}, 1 * 3),
        ("test", {"DATA__SAMPLING": "uniform", "DATA__UNIFORM_TWICE": True}, 2 * 3),
    ],
)
def test_number_of_views_is_that_of_the_split_s_protocol(
    split: str,
    overrides: dict[str, Any],
    num_views: int,
    config: Config,
    records: list[VideoRecord],
) -> None:
    cfg = config(**overrides)
    (batch, *_) = video.build_view_loader(cfg, records, split, 0, 1)
    assert len(batch[0].view_of) == num_views
    mirrorings, crops = 1 + cfg.TEST.FLIP, cfg[split.upper()].NUM_CROPS
    assert video.num_test_clips(cfg, split) * mirrorings * crops == num_views


def test_even_starts_reach_the_test_views(config: Config, records: list[VideoRecord]) -> None:
    released, even = (
        next(iter(video.build_view_loader(config(TEST__EVEN_STARTS=flag), records, "test", 0, 1)))
        for flag in (False, True)
    )
    # 23 frames, clips of 12: starts 0, 2, 4, 6, 9, 11, 12 against 0..11 in ten steps
    assert [len(views[0].distinct) for views in (released, even)] == [7 * 3, 10 * 3]


def test_draws_last_start_reaches_the_training_clips(config: Config) -> None:
    long = [VideoRecord("landscape", 4 * 3 + 1, 0, 1)]  # two full starts, the release draws one
    for flag, expected in ((False, 1), (True, 2)):
        cfg = config(DATA__DRAWS_LAST_START=flag)
        dataset = video.build_train_loader(cfg, long, 0, 1).dataset
        rngs = (np.random.default_rng(seed) for seed in range(50))
        starts = {int(dataset.maker.sample(13, rng=rng)[0]) for rng in rngs}
        assert len(starts) == expected


@pytest.mark.parametrize(("clips", "world_size"), [(4, 1), (2, 2)])
def test_fewer_videos_than_a_batch_are_an_error(
    clips: int, world_size: int, config: Config, records: list[VideoRecord]
) -> None:
    reason = rf"3 videos, .*TRAIN\.CLIPS_PER_GPU={clips} on each of {world_size} processes"
    cfg = config(TRAIN__CLIPS_PER_GPU=clips)
    with pytest.raises(ValueError, match=reason):
        video.build_train_loader(cfg, records, rank=0, world_size=world_size)


# Lists


def test_frames_are_counted_where_the_list_does_not(config: Config, root: Path) -> None:
    counted = video.read_records(config(), "val")
    assert {record.path: record.num_frames for record in counted} == NUM_FRAMES
    listed = root / "counted.txt"
    listed.write_text("landscape 7 0\nsquare 2\n")
    counted = video.read_records(config(DATA__VAL_LIST=listed), "val")
    assert [record.num_frames for record in counted] == [7, 40]


def test_test_list_is_the_validation_s_where_there_is_none(config: Config, tmp_path: Path) -> None:
    assert video.read_records(config(), "test") == video.read_records(config(), "val")
    other = tmp_path / "test.txt"
    other.write_text("square 3 0\n")
    (record,) = video.read_records(config(DATA__TEST_LIST=other), "test")
    assert record == VideoRecord("square", 3, 0, 1)


@pytest.mark.parametrize(
    ("overrides", "reason"),
    [
        ({"DATA__VAL_LIST": ""}, r"DATA\.VAL_LIST is not set"),
        ({"DATA__VAL_LIST": "gone.txt"}, r"cannot read the list file 'gone\.txt'"),
        ({"DATA__ROOT": "gone"}, r"DATA\.ROOT='gone' is not a folder"),
        ({"MODEL__NUM_CLASSES": 2}, r"line 3: label 2 is not in 0\.\.1"),
    ],
)
def test_unusable_list_is_an_error(overrides: dict[str, Any], reason: str, config: Config) -> None:
    with pytest.raises(ValueError, match=reason):
        video.read_records(config(**overrides), "val")


@pytest.mark.parametrize(
    ("folder", "reason"),
    [("empty", "line 2: 'empty' holds no frames"), ("gone", "gone: No such file or directory")],
)
def test_video_without_frames_to_count_is_an_error(
    folder: str, reason: str, config: Config, root: Path, tmp_path: Path
) -> None:
    (root / "empty").mkdir(exist_ok=True)
    listed = tmp_path / "broken.txt"
    listed.write_text(f"square 0\n{folder} 1\n")
    with pytest.raises(ValueError, match=reason):
        video.read_records(config(DATA__VAL_LIST=listed), "val")


# Description


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({}, "10x3 views, dense 4x3, short side 32, crop 32, logits averaged"),
        (
            {"TEST__FLIP": True, "TEST__AVERAGE_LOGITS": False, "TEST__EVEN_STARTS": True},
            "10x3 views and their mirror images, dense 4x3, short side 32, crop 32, "
            "probabilities averaged, clips spread evenly",
        ),
        (
            {"DATA__SAMPLING": "uniform", "DATA__UNIFORM_TWICE": True, "TEST__NUM_CROPS": 5},
            "2x5 views, uniform 4, short side 32, crop 32, logits averaged",
        ),
    ],
)
def test_protocol_is_told_in_words(overrides: dict[str, Any], words: str, config: Config) -> None:
    assert video.describe_protocol(config(**overrides)) == words
