import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor
from yacs.config import CfgNode

from config import load_cfg_text
from engine.distillation import build_teacher
from engine.distributed import World
from engine.learner import build_learner
from engine.mutual import MutualPair
from engine.objective import build_objective
from engine.scores import Scores
from engine.teachers import CachedTeacher, FrozenTeacher
from models import build_model
from models.pretrained import load_weights
from ops.losses import dml_loss
from tests.one_batch import accumulate

WORLD = World(rank=0, size=1, local_rank=0, device=torch.device("cpu"))
TEXT = """
DATA: {IMAGE_SIZE: 16, TEST_SHORT_SIDE: 20, NUM_FRAMES: 4, FRAME_STRIDE: 3}
MODEL:
  BACKBONE: tiny
  NUM_CLASSES: 3
  VIT: {PATCH_SIZE: 8, HIDDEN_SIZE: 16, MLP_DIM: 24, NUM_HEADS: 2, NUM_LAYERS: 2, DROPOUT: 0.25}
OPTIM: {LR: 0.05, MOMENTUM: 0.0, CLIP_GRAD_NORM: 0.0}
"""
STUDENT = ("MODEL.NAME", "vit", "MODEL.VIT.HIDDEN_SIZE", 8, "MODEL.VIT.DROPOUT", 0.0)


class Video(NamedTuple):
    path: str
    label: int


VIDEOS = [Video("a", 2), Video("b", 0)]


def cfg_of(*words: object) -> CfgNode:
    return load_cfg_text(TEXT, "test", [str(word) for word in words])


def new_model(cfg: CfgNode, seed: int = 0) -> torch.nn.Module:
    torch.manual_seed(seed)
    model = build_model(cfg)
    for weight in model.parameters():
        torch.nn.init.normal_(weight, std=0.3)
    return model


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    torch.save({"state_dict": new_model(cfg_of(), seed=7).state_dict()}, tmp_path / "teacher.pth")
    return tmp_path / "teacher.pth"


def prepare(clips: Tensor) -> Tensor:
    return clips.float()


def build(
    *words: object, teacher_cfg: CfgNode | None = None
) -> tuple[torch.nn.Module, FrozenTeacher | CachedTeacher | None, str]:
    cfg = cfg_of(*STUDENT, *words)
    student = new_model(cfg)
    built = build_teacher(cfg, teacher_cfg, student, VIDEOS, range(3), prepare, WORLD)
    trained = built[0].student if isinstance(built[0], MutualPair) else built[0]
    assert trained is student
    return built


def test_without_a_teacher_the_student_is_trained_alone() -> None:
    trained, teacher, report = build()
    assert (isinstance(trained, MutualPair), teacher, report) == (False, None, "")


def test_frozen_teacher_holds_the_weights_of_its_file(checkpoint: Path) -> None:
    words = ("DISTILL.TEACHER", checkpoint, "DISTILL.TEMPERATURE", 3.0)
    _, teacher, report = build(*words, teacher_cfg=cfg_of())
    assert isinstance(teacher, FrozenTeacher)
    for name, weight in new_model(cfg_of(), seed=7).state_dict().items():
        assert torch.equal(teacher.model.state_dict()[name], weight)
    assert (teacher.temperature, teacher.sees_student_clip) == (3.0, True)
    assert f"teacher: weights from {checkpoint} (checkpoint, its state_dict)" in report
    assert "frozen, which sees the student's clip: weight 0.5, temperature 3" in report


def test_frozen_teacher_computes_in_the_students_precision(checkpoint: Path) -> None:
    words = ("DISTILL.TEACHER", checkpoint, "TRAIN.AMP", "bf16")
    _, teacher, _ = build(*words, teacher_cfg=cfg_of())
    assert isinstance(teacher, FrozenTeacher)
    with teacher.autocast():
        assert torch.ones(2, 2).mm(torch.ones(2, 2)).dtype is torch.bfloat16


def test_head_of_the_teacher_must_be_in_its_file(checkpoint: Path, tmp_path: Path) -> None:
    state = torch.load(checkpoint, weights_only=True)["state_dict"]
    headless = {name: weight for name, weight in state.items() if not name.startswith("head.")}
    torch.save({"state_dict": headless}, tmp_path / "headless.pth")
    for loss in ("kd", "dml"):
        words = ("DISTILL.TEACHER", tmp_path / "headless.pth", "DISTILL.LOSS", loss)
        with pytest.raises(ValueError, match=r"head\.weight: not in the file"):
            build(*words, teacher_cfg=cfg_of())


def test_cached_teacher_follows_the_training_list(tmp_path: Path) -> None:
    logits = np.random.default_rng(0).normal(size=(2, 6, 3)).astype(np.float32)
    scores = Scores(np.array(["b", "a"]), np.array([0, 2]), logits, num_clips=2, num_crops=3)
    scores.save(tmp_path / "scores.npz", scores.averaged())
    _, teacher, report = build("DISTILL.LOGITS", tmp_path / "scores.npz")
    assert isinstance(teacher, CachedTeacher)
    expected = torch.from_numpy(logits.mean(1)[[1, 0]] / 4).softmax(-1)
    torch.testing.assert_close(teacher.probs, expected)
    assert report.endswith("mean of 6 views of each of 2 videos: weight 0.5, temperature 4")


# Two models that learn from each other


def test_step_of_a_pair_is_that_of_its_total_loss_by_hand(checkpoint: Path) -> None:
    words = ("DISTILL.TEACHER", checkpoint, "DISTILL.LOSS", "dml", "DISTILL.WEIGHT", 0.5)
    teacher_cfg = cfg_of("MODEL.VIT.DROPOUT", 0.0)
    pair, teacher, report = build(*words, teacher_cfg=teacher_cfg)
    assert teacher is None
    assert isinstance(pair, MutualPair)
    assert re.search(
        r"learns with tokshift tiny of .* which learns too: mutual loss .* 0\.5", report
    )
    cfg = cfg_of(*STUDENT, *words)
    clips = torch.randn(3, 4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([0, 2, 1])

    student, other = (new_model(cfg_of(*STUDENT)), new_model(teacher_cfg, seed=7))
    s, t = student(clips), other(clips)
    smoothed = torch.nn.CrossEntropyLoss(label_smoothing=0.1)
    total = smoothed(s, labels) + smoothed(t, labels) + 0.5 * dml_loss(s, t)
    total.backward()

    learner = build_learner(cfg, pair, WORLD)
    learner.set_rate(0.05)
    pair.train()
    value, logits = accumulate(learner, clips, build_objective(cfg)(labels).loss, 1.0, is_last=True)
    learner.step()
    torch.testing.assert_close(value, total.detach())
    torch.testing.assert_close(logits, torch.stack([s, t]).detach())
    for ours, model in ((pair.student, student), (pair.teacher, other)):
        for weight, before in zip(ours.parameters(), model.parameters(), strict=True):
            assert before.grad is not None
            assert before.grad.abs().sum() > 0
            # float32: the same sums, in kernels of one batch
            torch.testing.assert_close(weight, before - 0.05 * before.grad, atol=1e-6, rtol=1e-5)


def test_gradients_of_a_pair_are_clipped_together(checkpoint: Path) -> None:
    words = ("DISTILL.TEACHER", checkpoint, "DISTILL.LOSS", "dml", "OPTIM.CLIP_GRAD_NORM", 0.01)
    pair, _, _ = build(*words, teacher_cfg=cfg_of())
    learner = build_learner(cfg_of(*STUDENT, *words), pair, WORLD)
    before = [weight.detach().clone() for weight in pair.parameters()]
    learner.set_rate(1.0)
    pair.train()
    clips, labels = torch.randn(2, 4, 3, 16, 16), torch.tensor([0, 1])
    objective = build_objective(cfg_of(*STUDENT, *words))
    accumulate(learner, clips, objective(labels).loss, 1.0, is_last=True)
    assert learner.step() > 0.01
    steps = [(old - new).norm() for old, new in zip(before, pair.parameters(), strict=True)]
    assert torch.stack(steps).norm().item() == pytest.approx(0.01, rel=1e-3)  # plain SGD of rate 1


def test_student_is_taken_out_of_a_pairs_file(checkpoint: Path, tmp_path: Path) -> None:
    words = ("DISTILL.TEACHER", checkpoint, "DISTILL.LOSS", "dml")
    pair, _, _ = build(*words, teacher_cfg=cfg_of())
    torch.save({"state_dict": pair.state_dict()}, tmp_path / "pair.pth")
    student = new_model(cfg_of(*STUDENT), seed=3)
    report = load_weights(student, tmp_path / "pair.pth", head_may_differ=False)
    assert report.kind == "checkpoint, its state_dict, of a pair the student"
    assert len(report.loaded) == len(student.state_dict())
    assert isinstance(pair, MutualPair)
    for name, weight in pair.student.state_dict().items():
        assert torch.equal(student.state_dict()[name], weight)
