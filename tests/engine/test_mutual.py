import torch
from torch import nn

from engine.mutual import MutualPair, models_by_prefix


def new_pair() -> MutualPair:
    torch.manual_seed(0)
    return MutualPair(nn.Linear(3, 2), nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)))


def test_both_answer_in_training_and_the_student_alone_in_evaluation() -> None:
    pair, clips = new_pair(), torch.randn(5, 3)
    both = pair(clips)
    assert both.shape == (2, 5, 2)
    assert torch.equal(both[0], pair.student(clips))
    assert torch.equal(both[1], pair.teacher(clips))
    assert torch.equal(pair.eval()(clips), both[0])


def test_state_dict_has_a_prefix_for_each() -> None:
    pair = new_pair()
    models = models_by_prefix(pair)
    names = [prefix + name for prefix, model in models.items() for name in model.state_dict()]
    assert names == list(pair.state_dict())
    assert models_by_prefix(pair.student) == {"": pair.student}
