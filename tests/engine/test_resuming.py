from typing import Any

import pytest
import torch
from yacs.config import CfgNode

from config import load_cfg_text
from engine.checkpoint_folder import BestRecord
from engine.checkpoints import TrainingList
from engine.distributed import World
from engine.position import Position
from engine.resuming import find_start

LISTED = TrainingList("0" * 64, num_videos=40, class_names=["a", "b"], clips_per_step=8)
BATCHES = 5


def cfg_of(*overrides: str) -> CfgNode:
    return load_cfg_text(
        "{OUTPUT_DIR: runs/x, MODEL: {NUM_CLASSES: 2}, TRAIN: {CLIPS_PER_GPU: 4}}",
        "test",
        overrides,
    )


def world_of(rank: int, size: int) -> World:
    return World(rank, size, rank, torch.device("cpu"))


def content_of(offset: int, **changes: Any) -> dict[str, Any]:
    content = {
        "epoch": 2,
        "position": Position(2, offset, dealt_to=2, iterations=12).as_dict(),
        "best_acc1": 40.0,
        "meters": [[1.0, 2.0], [3.0, 4.0]] if offset else [(), ()],
        "bad_videos": {7: "cut short"},
        "training_list": {"sha256": "0" * 64, "num_videos": 40},
        "config": cfg_of().dump(),
    }
    return content | changes


def test_broken_epoch_goes_on_with_its_next_clip_and_each_process_with_its_figures() -> None:
    for rank, meters in ((0, [1.0, 2.0]), (1, [3.0, 4.0])):
        start = find_start(
            content_of(16), BestRecord(45.0, 1, 2), cfg_of(), LISTED, BATCHES, world_of(rank, 2)
        )
        assert start.position == Position(2, 16, dealt_to=2, iterations=12)
        assert list(start.meters) == meters
        assert (start.best, start.awaits_validation) == (45.0, False)
        assert start.bad_videos == {7: "cut short"}


def test_one_of_other_processes_takes_the_figures_of_all() -> None:
    record = BestRecord(45.0, 1, 2)
    starts = [
        find_start(content_of(16), record, cfg_of(), LISTED, BATCHES, world_of(rank, 3))
        for rank in range(3)
    ]
    assert [list(start.meters) for start in starts] == [[4.0, 6.0], [], []]
    assert {start.position for start in starts} == {Position(2, 16, dealt_to=2, iterations=12)}


@pytest.mark.parametrize(("validated", "awaits"), [(1, True), (2, False), (3, False)])
def test_epoch_that_nobody_validated_is_validated_first(validated: int, awaits: bool) -> None:
    record = BestRecord(45.0, 1, validated)
    start = find_start(content_of(0), record, cfg_of(), LISTED, BATCHES, world_of(0, 3))
    assert start.awaits_validation == awaits
    assert start.position.dealt_to == 3  # the next epoch is dealt to the processes of now


@pytest.mark.parametrize(
    "changes",
    [
        {"training_list": {"sha256": "1" * 64, "num_videos": 39}},
        {"config": cfg_of("SEED", "3").dump()},
        {"config": cfg_of("AUG.REPEATS", "2").dump()},
    ],
    ids=["list", "seed", "repeats"],
)
def test_epoch_of_other_draws_begins_anew(
    changes: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    content, record = content_of(16, **changes), BestRecord(45.0, 1, 2)
    start = find_start(content, record, cfg_of(), LISTED, BATCHES, world_of(0, 2))
    assert start.position == Position(2, 0, dealt_to=2, iterations=12)
    assert list(start.meters) == []
    assert "epoch 3 begins anew, with 16 clips of it trained on already" in caplog.text


def test_released_checkpoint_ends_an_epoch_and_was_validated() -> None:
    start = find_start(
        {"epoch": 2, "best_acc1": 40.0}, BestRecord(), cfg_of(), LISTED, BATCHES, world_of(0, 2)
    )
    assert start.position == Position(2, 0, dealt_to=2, iterations=10)
    assert (start.best, start.awaits_validation) == (40.0, False)


def test_other_classes_are_refused() -> None:
    content = content_of(0, class_names=["b", "a"])
    with pytest.raises(ValueError, match=r"label 0 is 'b' in the checkpoint and 'a' in DATA.CLASS"):
        find_start(content, BestRecord(), cfg_of(), LISTED, BATCHES, world_of(0, 2))
