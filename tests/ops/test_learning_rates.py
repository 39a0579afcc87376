import itertools
import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch.optim.swa_utils import SWALR

from config import load_cfg_text
from engine.schedule import build_schedule
from ops.learning_rates import annealed, cosine, cyclic, multistep, warmup_factor, warmup_line
from tests.conftest import golden_content

SWA = "{OPTIM: {LR: 0.5, MILESTONES: [1], GAMMA: 0.5}, TRAIN: {EPOCHS: 9, SWA: {START_EPOCH: 3%s}}}"


def schedule_of(text: str) -> Callable[[float], float]:
    return build_schedule(load_cfg_text(text, "test"))


def optim_of_paddlevideo(facts: dict[str, Any]) -> tuple[dict[str, Any], int]:
    """Our keys of OPTIM, and the epochs, for one of PaddleVideo's schedules."""
    if facts["name"] == "CustomWarmupCosineDecay":
        rate = facts["cosine_base_lr"]
        start = facts["warmup_start_lr"] / rate
        warmup = {"WARMUP_EPOCHS": facts["warmup_epochs"], "WARMUP_START": start}
        keys = {"SCHEDULE": "cosine", "LR": rate, "WARMUP_RULE": "line", **warmup}
        return keys, facts["max_epoch"]
    if facts["name"] == "PiecewiseDecay":
        rates, milestones = facts["values"], facts["boundaries"]
        gamma = rates[1] / rates[0]
    else:
        rates, milestones = [facts["learning_rate"]], facts["milestones"]
        gamma = facts["gamma"]
    return {"LR": rates[0], "MILESTONES": milestones, "GAMMA": gamma}, max(milestones) + 1


def test_multistep_worked_by_hand() -> None:
    rates = [multistep(0.5, epoch, [2, 3, 3], 0.25) for epoch in range(5)]
    assert rates == [0.5, 0.5, 0.125, 0.0078125, 0.0078125]  # powers of two: exact


def test_multistep_equals_the_released_rates_to_the_last_bit(
    golden: Callable[[str], dict[str, Any]],
) -> None:
    rows = golden("tokshift/g_lr_schedule.npz")["rows"]
    assert len(rows)
    for base_lr, *milestones, resumed_at, epoch, expected in rows.tolist():
        rate = multistep(base_lr, int(epoch), milestones, 0.1)
        if not resumed_at:
            assert rate == expected
        elif all(milestone <= resumed_at or milestone > epoch for milestone in milestones):
            assert multistep(base_lr, int(epoch), milestones, 0.1, at_once=True) == expected
        else:  # at once up to where it resumed, and step by step from there
            assert abs(rate - expected) <= math.ulp(expected)


@pytest.mark.parametrize("base_lr", [0.1, 0.076, 0.08, 0.06, 0.003])
def test_multistep_equals_torch_to_the_last_bit(base_lr: float) -> None:
    weight = torch.nn.Parameter(torch.zeros(1))
    for milestones, gamma in itertools.product(([1, 2], [3], [2, 2, 4], [4, 1, 2, 3]), (0.1, 0.3)):
        optimizer = torch.optim.SGD([weight], base_lr)
        schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, milestones, gamma)
        for epoch in range(6):
            assert multistep(base_lr, epoch, milestones, gamma) == schedule.get_last_lr()[0]
            optimizer.step()
            schedule.step()


def test_milestones_between_epochs_count_from_the_next_one() -> None:
    rate = schedule_of("OPTIM: {LR: 0.5, MILESTONES: [1.5, 3], GAMMA: 0.5}")
    assert [rate(epoch) for epoch in (1, 1.75, 2, 2.9, 3)] == [0.5, 0.5, 0.25, 0.25, 0.125]


def test_cosine_goes_from_the_base_rate_through_the_middle_to_the_lowest() -> None:
    assert cosine(0.5, 0.0, 0.125) == 0.5
    assert cosine(0.5, 1.0, 0.125) == 0.125
    assert cosine(0.5, 0.5, 0.1) == pytest.approx(0.3, rel=1e-15)  # cos(pi / 2) is 6e-17
    assert cosine(1.0, 1 / 3, 0.0) == pytest.approx(0.75, rel=1e-15)


def test_cosine_never_rises() -> None:
    rates = [cosine(0.1, step / 100, 1e-4) for step in range(101)]
    assert all(later < earlier for earlier, later in itertools.pairwise(rates))


def test_warmup_rises_in_a_line_and_then_leaves_the_rate_alone() -> None:
    factors = [warmup_factor(epoch, 2.0, 0.25) for epoch in (0, 0.5, 1, 1.5, 2, 2.5, 30)]
    assert factors == [0.25, 0.4375, 0.625, 0.8125, 1, 1, 1]
    assert warmup_factor(0, 0.0, 0.01) == 1  # no warm-up: full rate from the start


def test_multistep_schedule_of_a_config_steps_at_whole_epochs() -> None:
    rate = schedule_of("OPTIM: {LR: 0.5, MILESTONES: [1, 3], GAMMA: 0.5}")
    rates = [rate(epoch) for epoch in (0, 0.99, 1, 2.5, 3, 17.9)]
    assert rates == [0.5, 0.5, 0.25, 0.25, 0.125, 0.125]


def test_cosine_schedule_of_a_config_ends_at_the_last_epoch() -> None:
    rate = schedule_of("{OPTIM: {SCHEDULE: cosine, LR: 0.5, MIN_LR: 0.125}, TRAIN: {EPOCHS: 4}}")
    assert rate(0) == 0.5
    assert rate(4) == 0.125
    assert rate(1) == pytest.approx(0.125 + 0.375 * (1 + math.sqrt(0.5)) / 2, rel=1e-15)


def test_warmup_line_worked_by_hand() -> None:
    rates = [warmup_line(epoch, 2.0, start=0.25, end=0.75) for epoch in (0, 0.5, 1, 2)]
    assert rates == [0.25, 0.375, 0.5, 0.75]


@pytest.mark.parametrize("name", ["multistep", "cosine"])
def test_line_of_a_config_leads_to_the_schedule_at_the_end_of_the_warmup(name: str) -> None:
    keys = f"SCHEDULE: {name}, LR: 0.5, MILESTONES: [1, 3]"
    line = schedule_of(
        f"OPTIM: {{{keys}, WARMUP_EPOCHS: 2.0, WARMUP_START: 0.5, WARMUP_RULE: line}}"
    )
    without = schedule_of(f"OPTIM: {{{keys}}}")
    end = without(2)
    assert [line(epoch) for epoch in (0, 1)] == [0.25, pytest.approx((0.25 + end) / 2)]
    assert line(2 - 1e-9) == pytest.approx(end, rel=1e-8)
    for epoch in (2, 2.5, 3, 9):
        assert line(epoch) == without(epoch)


def test_line_without_warmup_is_the_schedule() -> None:
    rate = schedule_of("OPTIM: {LR: 0.5, MILESTONES: [1], WARMUP_RULE: line}")
    assert (rate(0), rate(1)) == (0.5, 0.05)


@pytest.mark.parametrize("name", ["multistep", "cosine"])
def test_warmup_of_a_config_multiplies_either_schedule(name: str) -> None:
    with_warmup = schedule_of(
        f"OPTIM: {{SCHEDULE: {name}, MILESTONES: [1], WARMUP_EPOCHS: 2.0, WARMUP_START: 0.5}}"
    )
    without = schedule_of(f"OPTIM: {{SCHEDULE: {name}, MILESTONES: [1]}}")
    for epoch, factor in ((0, 0.5), (1, 0.75), (1.5, 0.875), (2, 1), (9, 1)):
        assert with_warmup(epoch) == factor * without(epoch)


@pytest.mark.parametrize("name", golden_content("paddlevideo/data/lr.json"))
def test_rates_of_paddlevideo(name: str, golden_json: Callable[[str], Any]) -> None:
    facts = golden_json("paddlevideo/data/lr.json")[name]
    optim, epochs = optim_of_paddlevideo(facts["cfg"])
    rate = schedule_of(json.dumps({"OPTIM": optim, "TRAIN": {"EPOCHS": epochs}}))
    num_steps = facts["num_iters"] if facts["cfg"].get("iter_step") else 1
    rates = [rate(step / num_steps) for step in range(len(facts["values"]))]
    # theirs adds up 1 / num_iters step by step, 143 roundings of an epoch of up to 20; found:
    # 1e-15 of the base rate
    np.testing.assert_allclose(rates, facts["values"], atol=1e-14 * optim["LR"], rtol=0)


@pytest.mark.parametrize("num_epochs", [0, 1, 4, 10])
def test_annealed_rate_equals_torch_s_swalr(num_epochs: int) -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], 0.3)
    schedule = SWALR(optimizer, swa_lr=0.05, anneal_epochs=num_epochs)
    for epoch in range(1, 13):
        optimizer.step()
        schedule.step()
        # torch works back to the first rate in every epoch: roundings of its own
        expected = pytest.approx(schedule.get_last_lr()[0], rel=1e-12)
        assert annealed(0.3, 0.05, epoch, num_epochs) == expected


def test_annealed_rate_starts_where_it_is_and_stays_at_its_end() -> None:
    rates = [annealed(0.5, 0.125, epoch, 2) for epoch in (0, 1, 2, 2.5, 9)]
    assert rates == [0.5, pytest.approx(0.3125, rel=1e-15), 0.125, 0.125, 0.125]


def test_cyclic_rate_worked_by_hand() -> None:
    rates = [cyclic(1.0, 0.5, epoch / 2, 2) for epoch in range(9)]
    assert rates == [1, 0.875, 0.75, 0.625, 1, 0.875, 0.75, 0.625, 1]


def test_cyclic_rate_is_the_paper_s_of_one_iteration_before() -> None:
    c, per_epoch = 6, 3  # iterations a cycle and an epoch, so that a cycle has two epochs
    for i in range(1, 20):
        t = ((i - 1) % c + 1) / c  # arXiv:1803.05407, section 3.1, i counted from 1
        expected = (1 - t) * 0.1 + t * 0.02
        rate = cyclic(0.1, 0.02, i / per_epoch, 2)
        assert rate == pytest.approx(expected if t < 1 else 0.1, rel=1e-12)


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ("", [0.5, 0.25, 0.25, 0.25, 0.25, 0.25, 0.25]),
        (", LR: 0.125", [0.5, 0.25, 0.25, 0.125, 0.125, 0.125, 0.125]),
        (", LR: 0.125, ANNEAL_EPOCHS: 2", [0.5, 0.25, 0.25, 0.25, 0.1875, 0.125, 0.125]),
        (", LR: 0.125, CYCLE_EPOCHS: 3", [0.5, 0.25, 0.25, 0.5, 0.375, 0.25, 0.5]),
    ],
    ids=["the schedule's", "constant", "annealed", "cyclic"],
)
def test_averaging_of_a_config_changes_the_rate_after_its_first_epoch(
    keys: str, expected: list[float]
) -> None:
    rate = schedule_of(SWA % keys)
    assert [rate(epoch) for epoch in range(7)] == pytest.approx(expected, rel=1e-14)


def test_rate_of_the_averaging_is_not_used_without_averaging() -> None:
    rate = schedule_of(SWA.replace("START_EPOCH: 3", "START_EPOCH: 0") % ", LR: 0.125")
    assert rate(8) == 0.25
