import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from engine.moving_average import MovingAverage


def test_average_is_bit_by_bit_that_of_torch_and_buffers_are_copied() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2).double())
    ours = MovingAverage(model, 0.9)
    theirs = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.9))
    for _ in range(4):
        with torch.no_grad():
            for tensor in (*model.parameters(), model[1].running_mean):
                tensor += torch.randn_like(tensor)
        ours.update(model)
        theirs.update_parameters(model)
    expected = theirs.module.state_dict()
    assert all(torch.equal(value, expected[key]) for key, value in ours.module.state_dict().items())
    assert ours.num_steps == 4
    assert not torch.equal(ours.module[0].weight, model[0].weight)


def test_first_step_sets_the_average() -> None:
    model = nn.Linear(2, 2)
    average = MovingAverage(model, 0.9)
    nn.init.ones_(model.weight)
    average.update(model)
    assert torch.equal(average.module.weight, model.weight)
