"""A few chains of the campaign, and that it would tell a loss; the whole is its own program."""

import json
from pathlib import Path

import pytest
import torch

from tests.faults.campaign import Campaign
from tests.faults.groups import Batch, Ended, start_server
from tests.faults.toy_run import EPOCHS, Clips, differences, faults_of_records

KINDS = ["kill at rename", "kill in a save", "kill at an iteration", "kill in a file's bytes"]


@pytest.mark.ddp
def test_run_that_is_killed_again_and_again_ends_as_one_that_nothing_struck(tmp_path: Path) -> None:
    start_server()
    campaign = Campaign(tmp_path, seed=2, kinds=[*KINDS, "SIGTERM"])
    campaign.run_chain(0)
    assert not campaign.told, "\n".join(campaign.told)
    assert campaign.num_struck() >= 3


def ended(*batches: Batch) -> Ended:
    return Ended([0], "", [list(batches)], 0.0, 0.0, False)


def names(epoch: int) -> list[str]:
    """The training videos in the order of an epoch."""
    places = Clips().places[epoch]
    return sorted(places, key=places.__getitem__)


def test_clip_that_is_lost_or_doubled_is_told() -> None:
    for wrong in (
        lambda order: order[:10] + order[12:],
        lambda order: order[:12] + order[10:],
        lambda order: order[:-4],
    ):
        clips = Clips()
        for epoch in range(EPOCHS):
            order = names(epoch)[:48]
            order = wrong(order) if epoch == 1 else order
            clips.add(ended(Batch(epoch, tuple(order))), 1)
        assert clips.faults((48, 49))


def test_clips_that_a_resumed_run_learns_from_again_are_no_fault() -> None:
    clips = Clips()
    for epoch in range(EPOCHS):
        order = names(epoch)
        clips.add(ended(Batch(epoch, tuple(order[:30]))), 1)
        clips.add(ended(Batch(epoch, tuple(order[20:48]))), 1)
    assert not clips.faults((48, 49))
    assert clips.lost_iterations == [5, 0, 5, 0, 5]
    clips = Clips()
    for epoch in range(EPOCHS):
        order = names(epoch)
        clips.add(ended(Batch(epoch, tuple(order[:20]))), 1)
        clips.add(ended(Batch(epoch, tuple(order[22:48]))), 1)  # it goes on too late
    assert clips.faults((48, 49))


def test_difference_of_one_bit_is_told() -> None:
    ours = {"a": [torch.zeros(3), 1], "b": {"c": 2.0}}
    theirs = {"a": [torch.tensor([0.0, 0.0, 1e-45]), 1], "b": {"c": 2.0}}
    assert differences(ours, ours) == []
    assert differences(ours, theirs) == [".a[0]"]
    assert differences(ours, {"a": ours["a"]}) == [".b"]
    assert differences({"a": [1]}, {"a": [1, 2]}) == [".a"]


def test_line_of_the_records_that_is_doubled_or_missing_is_told(tmp_path: Path) -> None:
    def written(steps: list[int], validated: list[int]) -> list[str]:
        lines = [{"kind": "train", "step": step} for step in steps]
        lines += [{"kind": "val", "epoch": epoch} for epoch in validated]
        (tmp_path / "log.jsonl").write_text("\n".join(map(json.dumps, lines)))
        return faults_of_records(tmp_path)

    epochs = [*range(1, EPOCHS + 1)]
    assert written([1, 2, 3], epochs) == []
    assert written([1, 2, 3, 2], epochs) == ["step 2 stands 2 times"]
    assert written([2, 4], epochs) == ["step 1 is missing", "step 3 is missing"]
    assert written([], epochs) == ["step 1 is missing"]
    assert written([1, 2], epochs[:2]) == ["epoch 3 validated 0 times"]
