from pathlib import Path

import numpy as np
import pytest
import torch
from yacs.config import CfgNode

from config import load_cfg
from datasets.loaders import build_test_views, build_train_loader, open_frames, read_records
from engine.objective import build_mixer
from ops.mixing import batch_rng
from tests.test_main import CLASSES, Experiment
from tools.showing.fed_clips import FedClip, training_clips, views_of_test


@pytest.fixture(scope="module")
def experiment(tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    return Experiment(tmp_path_factory.mktemp("shown"))


def cfg_of(experiment: Experiment, *words: object) -> CfgNode:
    return load_cfg(experiment.config, [str(word) for word in words])


def clips_of(cfg: CfgNode, number: int, epoch: int = 0) -> list[FedClip]:
    return list(training_clips(cfg, read_records(cfg, "train"), CLASSES, epoch, number))


def fed(cfg: CfgNode, epoch: int) -> tuple[torch.Tensor, list[int]]:
    """The clips of an epoch as the run has them, in 0..255, and the videos."""
    loader, clips, indices = build_train_loader(cfg, read_records(cfg, "train"), 0, 1), [], []
    loader.sampler.set_epoch(epoch)
    for i, batch in enumerate(loader):
        mix = build_mixer(cfg).draw(batch.clips.shape, batch_rng(cfg.SEED, epoch, i, 0))
        pixels = batch.clips.float()
        clips.append(mix.apply(pixels) if mix else pixels)
        indices += batch.indices.tolist()
    return torch.cat(clips), indices


@pytest.mark.parametrize(
    "words",
    [(), ("DATA.BALANCE", 1.0), ("AUG.MIXUP_ALPHA", 0.4), ("AUG.CUTMIX_ALPHA", 1.0)],
    ids=["plain", "balance", "mixup", "cutmix"],
)
def test_training_clips_are_those_of_the_run(
    words: tuple[object, ...], experiment: Experiment
) -> None:
    cfg = cfg_of(experiment, *words)
    expected, indices = fed(cfg, epoch=1)
    records = read_records(cfg, "train")
    shown = clips_of(cfg, number=6, epoch=1)
    assert len(shown) == 6  # one batch and a half
    for clip, pixels, index in zip(shown, expected, indices, strict=False):
        assert clip.video == records[index].path
        # normalised and back: float32 rounds to the same level, or a mix of two to the next
        apart = clip.frames.astype(float) - pixels.permute(0, 2, 3, 1).numpy()
        assert np.abs(apart).max() <= (0.51 if "AUG.MIXUP_ALPHA" in words else 0)
        assert len(clip.indices) == 4
        assert CLASSES[records[index].label] in clip.label
    if "AUG.MIXUP_ALPHA" in words:
        assert "mixed with " in shown[0].what
        assert " + " in shown[0].label


def test_frames_are_named_by_their_numbers_in_the_video(experiment: Experiment) -> None:
    cfg = cfg_of(experiment, "AUG.FLIP", False, "AUG.SHORT_SIDE_RANGE", [16, 17])
    shown = clips_of(cfg, number=12)
    assert {clip.what for clip in shown} == {"not mirrored"}
    for clip in (clip for clip in shown if clip.video.endswith("train_3")):  # of 40 frames
        assert np.diff(clip.indices).tolist() == [2, 2, 2]


def test_more_clips_than_an_epoch_feeds_are_not_shown(experiment: Experiment) -> None:
    assert len(clips_of(cfg_of(experiment, "TRAIN.CLIPS_PER_GPU", 5), number=100)) == 10


def test_views_are_the_distinct_ones_of_the_test(experiment: Experiment) -> None:
    cfg = cfg_of(experiment, "TEST.NUM_CLIPS", 3)
    records = read_records(cfg, "test")
    shown = list(views_of_test(cfg, records, CLASSES, "test", number=2))
    assert {clip.video for clip in shown} == {records[0].path, records[-1].path}
    views = build_test_views(cfg, records, "test", lambda record: open_frames(cfg, record))[0]
    of_first = [clip for clip in shown if clip.video == records[0].path]
    assert len(of_first) == len(views.distinct)
    for clip, pixels in zip(of_first, views.distinct, strict=True):
        np.testing.assert_array_equal(clip.frames, pixels.permute(0, 2, 3, 1).numpy())
    assert of_first[0].what.startswith("clip 1 of 3, crop 1 of 3")
    assert of_first[0].label == CLASSES[records[0].label]


def test_unreadable_video_is_told_and_the_others_are_shown(
    experiment: Experiment, tmp_path: Path
) -> None:
    listed = tmp_path / "val.txt"
    listed.write_text(f"gone 9 0\n{(experiment.folder / 'val.txt').read_text()}")
    cfg = cfg_of(experiment, "DATA.VAL_LIST", listed)
    shown = list(views_of_test(cfg, read_records(cfg, "val"), CLASSES, "val", number=3))
    bad = [clip for clip in shown if not clip.is_readable]
    assert [clip.video for clip in bad] == ["gone"]
    assert "No such file" in bad[0].what
    assert len(shown) > 1
