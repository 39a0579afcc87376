from contextlib import nullcontext
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from engine.scores import Scores
from engine.teachers import CachedTeacher, FrozenTeacher, cached_logits, mixed
from ops.losses import soften
from ops.mixing import Mix

CPU = torch.device("cpu")
K = 4


class Batch(NamedTuple):
    """What teachers see of `datasets.clips.Clips`."""

    clips: Tensor
    indices: Tensor
    are_mirrored: Tensor
    teacher_clips: Tensor


def new_batch(B: int = 3, seed: int = 0) -> Batch:
    generator = torch.Generator().manual_seed(seed)

    def pixels(T: int, side: int) -> Tensor:
        size = (B, T, 3, side, side)
        return torch.randint(256, size, generator=generator, dtype=torch.uint8)

    are_mirrored = torch.zeros(B, dtype=torch.bool)
    return Batch(pixels(2, 4), torch.arange(B), are_mirrored, pixels(5, 6))


class MeanColour(nn.Module):
    """Logits of the mean colour, with what behaves otherwise in training: dropout, a batch norm."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(3)
        self.dropout = nn.Dropout(0.5)
        self.fc = nn.Linear(3, K)

    def forward(self, clips: Tensor) -> Tensor:
        return self.fc(self.dropout(self.norm(clips.mean((1, 3, 4)))))


def prepare(clips: Tensor) -> Tensor:
    return clips.float() / 100 - 1


def new_teacher(sees_student_clip: bool = True, temperature: float = 2.0) -> FrozenTeacher:
    torch.manual_seed(0)
    model = MeanColour()
    return FrozenTeacher(model, prepare, temperature, nullcontext, sees_student_clip)


# A frozen model


def test_teacher_is_never_changed_and_gets_no_gradient() -> None:
    teacher, batch = new_teacher(), new_batch()
    before = {name: value.clone() for name, value in teacher.model.state_dict().items()}
    answers = teacher.answers(batch, None)
    assert not answers.requires_grad
    assert not any(weight.requires_grad for weight in teacher.model.parameters())
    assert not teacher.model.training
    assert torch.equal(teacher.answers(batch, None), answers)  # no dropout
    after = teacher.model.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())


def test_answers_are_the_softened_logits_of_the_prepared_clips() -> None:
    teacher, batch = new_teacher(temperature=3.0), new_batch()
    expected = soften(teacher.model(prepare(batch.clips)), 3.0)
    assert torch.equal(teacher.answers(batch, None), expected)


def test_teacher_sees_the_students_mixed_clips() -> None:
    teacher, batch = new_teacher(), new_batch()
    for mix in (Mix(torch.tensor([2, 0, 1]), 0.3), a_box(), None):
        clips = prepare(batch.clips)
        expected = soften(teacher.model(mix.apply(clips) if mix else clips), 2.0)
        assert torch.equal(teacher.answers(batch, mix), expected)


def a_box() -> Mix:
    return Mix(torch.tensor([1, 2, 0]), 0.75, (slice(0, 2), slice(0, 2), slice(1, 3)))


@pytest.mark.parametrize("mix", [None, Mix(torch.tensor([2, 0, 1]), 0.3), a_box()])
def test_answers_on_views_of_its_own_are_mixed_themselves(mix: Mix | None) -> None:
    teacher, batch = new_teacher(sees_student_clip=False), new_batch()
    expected = mixed(soften(teacher.model(prepare(batch.teacher_clips)), 2.0), mix)
    assert torch.equal(teacher.answers(batch, mix), expected)


def test_answers_are_mixed_as_labels_are() -> None:
    probs = torch.eye(3)
    mix = Mix(torch.tensor([1, 2, 0]), 0.75)
    ours = mixed(probs, mix)
    assert ours.tolist() == [[0.75, 0.25, 0], [0, 0.75, 0.25], [0.25, 0, 0.75]]
    other = mix.other_labels(torch.arange(3))
    assert ours[torch.arange(3), other].tolist() == [0.25] * 3


# Answers from a file


def new_scores(videos: list[str], num_classes: int = K) -> Scores:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(len(videos), 6, num_classes)).astype(np.float32)
    labels = np.array([int(name[-1]) % K for name in videos])
    return Scores(np.array(videos), labels, logits, num_clips=2, num_crops=3)


def test_cached_logits_are_the_means_of_the_views_in_the_lists_order() -> None:
    scores = new_scores(["v0", "v1", "v2", "v3"])
    ours = cached_logits(scores, "file", ["v2", "v0"], [2, 0], K)
    expected = scores.view_logits.mean(1)[[2, 0]]
    np.testing.assert_allclose(ours.numpy(), expected, rtol=1e-6)  # float32, summed by rows


def test_cached_answers_are_those_of_the_batch() -> None:
    logits = torch.randn(5, K, generator=torch.Generator().manual_seed(0))
    teacher = CachedTeacher(logits, 2.0, CPU, range(K))
    batch = new_batch()._replace(indices=torch.tensor([4, 1, 1]))
    assert torch.equal(teacher.answers(batch, None), soften(logits, 2.0)[[4, 1, 1]])
    mix = Mix(torch.tensor([1, 2, 0]), 0.4)
    expected = mixed(soften(logits, 2.0)[[4, 1, 1]], mix)
    assert torch.equal(teacher.answers(batch, mix), expected)


def test_cached_answer_to_a_mirrored_clip_is_that_of_the_mirrored_classes() -> None:
    # 0 and 1 are left and right; 2 is its own mirror image; 3 has none
    logits = torch.tensor([[4.0, 3.0, 2.0, 1.0]]).repeat(2, 1)
    teacher = CachedTeacher(logits, 1.0, CPU, [1, 0, 2, None])
    batch = new_batch(2)._replace(are_mirrored=torch.tensor([False, True]))
    plain, mirrored = teacher.answers(batch._replace(indices=torch.tensor([0, 1])), None)
    assert torch.equal(mirrored, plain[[1, 0, 2, 3]])


@pytest.mark.parametrize(
    ("videos", "named", "text"),
    [
        (["v0", "v1"], ["v0", "v2", "v3"], r"'file' has 'v2' 0 times; .* once, 2 of 3 are not"),
        (["v0", "v1", "v1"], ["v0", "v1"], r"'file' has 'v1' 2 times; .* once, 1 of 2 are not"),
    ],
)
def test_first_video_that_is_not_there_exactly_once_is_named(
    videos: list[str], named: list[str], text: str
) -> None:
    labels = [int(name[-1]) for name in named]
    with pytest.raises(ValueError, match=text):
        cached_logits(new_scores(videos), "file", named, labels, K)


def test_cached_logits_of_other_classes_are_an_error() -> None:
    with pytest.raises(ValueError, match=r"logits of 5 classes, MODEL.NUM_CLASSES is 4; .* equal"):
        cached_logits(new_scores(["v0"], num_classes=5), "file", ["v0"], [0], K)
    with pytest.raises(ValueError, match=r"has 'v1' under label 1, the training list under 3"):
        cached_logits(new_scores(["v0", "v1"]), "file", ["v0", "v1"], [0, 3], K)
