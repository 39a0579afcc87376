"""The clip that a teacher with its own sampling and size sees beside the student's."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from yacs.config import CfgNode

from config import load_cfg_text
from datasets.loaders import TrainClips, build_train_loader, build_view_loader, read_records
from datasets.readers import UnreadableVideoError

STUDENT = """
DATA:
  ROOT: {root}
  TRAIN_LIST: {root}/list.txt
  VAL_LIST: {root}/list.txt
  FRAME_TEMPLATE: frame{{:03d}}.png
  NUM_FRAMES: 2
  FRAME_STRIDE: 3
  IMAGE_SIZE: 16
  TEST_SHORT_SIDE: 16
  WORKERS: 0
AUG: {{SHORT_SIDE_RANGE: [16, 20], JITTER_ONE_IN: 2, FLIP_PAIRS: 0-1}}
MODEL:
  NUM_CLASSES: 3
  BACKBONE: toy
  VIT: {{PATCH_SIZE: 8, HIDDEN_SIZE: 8, MLP_DIM: 8, NUM_HEADS: 1, NUM_LAYERS: 1, DROPOUT: 0.0}}
TRAIN: {{CLIPS_PER_GPU: 3}}
DISTILL: {{TEACHER: teacher.pth, SEES: own_clip}}
"""
TEACHER = (
    *("DATA.NUM_FRAMES", 4, "DATA.SAMPLING", "uniform", "DATA.IMAGE_SIZE", 24),
    *("DATA.TEST_SHORT_SIDE", 28, "AUG.SHORT_SIDE_RANGE", [28, 32], "VAL.NUM_CROPS", 3),
    *("DATA.ROOT", "elsewhere"),  # of its own data
)


def cfg_of(root: Path, *words: object) -> CfgNode:
    return load_cfg_text(STUDENT.format(root=root), "test", [str(word) for word in words])


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Three videos of noise, 12 frames each, one of each class."""
    rng = np.random.default_rng(0)
    for video in range(3):
        (tmp_path / f"v{video}").mkdir()
        for number in range(1, 13):
            noise = rng.integers(0, 256, (20, 30, 3), dtype=np.uint8)
            Image.fromarray(noise).save(tmp_path / f"v{video}" / f"frame{number:03d}.png")
    (tmp_path / "list.txt").write_text("".join(f"v{k} 12 {k}\n" for k in range(3)))
    return tmp_path


def clips_of(root: Path, *words: object, teacher: tuple[object, ...] = TEACHER) -> TrainClips:
    cfg, teacher_cfg = cfg_of(root, *words), cfg_of(root, *teacher)
    loader = build_train_loader(cfg, read_records(cfg, "train"), 0, 1, teacher_cfg)
    assert isinstance(loader.dataset, TrainClips)
    return loader.dataset


def test_teacher_has_the_first_centre_crop_of_its_validation_mirrored_as_the_clip(
    root: Path,
) -> None:
    dataset = clips_of(root)
    teacher_cfg = cfg_of(root, *TEACHER[:-2])
    records = read_records(teacher_cfg, "val")
    views = build_view_loader(teacher_cfg, records, "val", 0, 1).dataset
    seen = set()
    for epoch in range(6):
        for index in range(3):
            sample, expected = dataset[epoch, index], views[index]
            centre = expected.distinct[expected.view_of[0]]  # (4, 3, 24, 24)
            is_mirrored = bool(sample.are_mirrored)
            assert torch.equal(sample.teacher_clips, centre.flip(-1) if is_mirrored else centre)
            # the label is that of what both show
            assert sample.labels == ([1, 0, 2][index] if is_mirrored else index)
            seen.add(is_mirrored)
    assert seen == {False, True}


def test_students_clips_are_those_without_a_teacher(root: Path) -> None:
    with_view, without = clips_of(root), clips_of(root, "DISTILL.SEES", "student_clip")
    for index in range(3):
        ours, expected = with_view[0, index], without[0, index]
        assert all(torch.equal(a, b) for a, b in zip(ours[:4], expected[:4], strict=True))
        assert expected.teacher_clips.shape == (0,)


def test_batches_hold_the_teachers_clips(root: Path) -> None:
    cfg, teacher_cfg = cfg_of(root), cfg_of(root, *TEACHER)
    records = read_records(cfg, "train")
    (batch,) = build_train_loader(cfg, records, 0, 1, teacher_cfg)
    assert batch.clips.shape == (3, 2, 3, 16, 16)
    assert (batch.teacher_clips.shape, batch.teacher_clips.dtype) == (
        (3, 4, 3, 24, 24),
        torch.uint8,
    )
    assert (batch.are_mirrored.shape, batch.are_mirrored.dtype) == ((3,), torch.bool)
    (batch,) = build_train_loader(cfg, records, 0, 1)
    assert batch.teacher_clips.shape == (3, 0)


def test_first_clip_is_the_teachers_however_many_it_validates_on(root: Path) -> None:
    dense = ("DATA.SAMPLING", "dense", "DATA.FRAME_STRIDE", 2, "VAL.NUM_CLIPS", 3)
    sample = clips_of(root, "AUG.FLIP", False, teacher=(*TEACHER, *dense))[0, 0]
    teacher_cfg = cfg_of(root, *TEACHER[:-2], *dense)
    views = build_view_loader(teacher_cfg, read_records(teacher_cfg, "val"), "val", 0, 1).dataset[0]
    assert len(set(views.view_of[::3].tolist())) > 1  # centre crops of clips that differ
    assert torch.equal(sample.teacher_clips, views.distinct[views.view_of[0]])


def test_frame_that_the_teacher_alone_cannot_read_is_an_error(root: Path) -> None:
    dataset = clips_of(root, teacher=TEACHER)
    for frame in (root / "v1").iterdir():
        frame.write_bytes(b"no image")
    assert dataset.teacher_views is not None
    with pytest.raises(UnreadableVideoError, match="v1"):
        dataset._teacher_clip(1, is_mirrored=False)
