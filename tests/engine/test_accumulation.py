import pytest

from config import load_cfg_text
from config.checks import CHOICES
from engine.accumulation import LAST_GROUPS, Accumulation, build_accumulation


def steps_and_shares(groups: Accumulation) -> tuple[list[int], list[float]]:
    batches = range(groups.num_batches)
    return [i for i in batches if groups.steps_after(i)], [groups.share(i) for i in batches]


@pytest.mark.parametrize(
    ("last_group", "steps", "last_share"),
    [("underweight", [2, 5, 7], 1 / 3), ("reweight", [2, 5, 7], 1 / 2), ("drop", [2, 5], 1 / 3)],
)
def test_groups_worked_by_hand(last_group: str, steps: list[int], last_share: float) -> None:
    groups = Accumulation(3, num_batches=8, last_group=last_group)
    assert steps_and_shares(groups) == (steps, 6 * [1 / 3] + 2 * [last_share])


@pytest.mark.parametrize("last_group", LAST_GROUPS)
def test_groups_that_go_round_are_alike_whatever_becomes_of_the_last(last_group: str) -> None:
    assert steps_and_shares(Accumulation(2, 4, last_group)) == ([1, 3], 4 * [0.5])


@pytest.mark.parametrize("size", [1, 2, 3, 7])
@pytest.mark.parametrize("num_batches", [7, 8, 20])
def test_shares_of_reweighted_groups_add_up_to_the_number_of_steps(
    size: int, num_batches: int
) -> None:
    steps, shares = steps_and_shares(Accumulation(size, num_batches, "reweight"))
    assert sum(shares) == pytest.approx(len(steps))


def test_drop_of_every_batch_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"3 batches, and TRAIN\.LAST_GROUP drop makes a step "):
        Accumulation(4, num_batches=3, last_group="drop")
    assert steps_and_shares(Accumulation(3, 3, "drop"))[0] == [2]


def test_unknown_rule_for_the_last_group_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"one of \('underweight', 'reweight', 'drop'\), got 'a'"):
        Accumulation(2, 4, "a")
    assert CHOICES["TRAIN.LAST_GROUP"] == LAST_GROUPS


@pytest.mark.parametrize(("num_processes", "size"), [(1, 16), (2, 8), (8, 2), (16, 1)])
def test_global_batch_stays_whatever_the_number_of_processes(num_processes: int, size: int) -> None:
    cfg = load_cfg_text("TRAIN: {GLOBAL_BATCH: 64, CLIPS_PER_GPU: 4, ACCUMULATION: 3}", "test")
    assert build_accumulation(cfg, 100, num_processes).size == size


def test_without_global_batch_the_accumulation_counts() -> None:
    cfg = load_cfg_text("TRAIN: {ACCUMULATION: 3, LAST_GROUP: reweight}", "test")
    groups = build_accumulation(cfg, 4, world_size=2)
    assert steps_and_shares(groups) == ([2, 3], [1 / 3, 1 / 3, 1 / 3, 1.0])


def test_global_batch_that_does_not_go_round_is_an_error() -> None:
    cfg = load_cfg_text("TRAIN: {GLOBAL_BATCH: 64, CLIPS_PER_GPU: 4}", "test")
    text = r"TRAIN\.GLOBAL_BATCH=64; it must be a multiple of 12, which 3 processes x 4 clips"
    with pytest.raises(ValueError, match=text):
        build_accumulation(cfg, 100, world_size=3)
