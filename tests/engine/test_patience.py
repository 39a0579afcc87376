import pytest
import torch

from engine.distributed import World
from engine.patience import Patience

WORLD = World(rank=0, size=1, local_rank=0, device=torch.device("cpu"))


def end_of(limit: int, top1s: list[float], resumes_after: int = -1) -> int:
    """The epoch after which a training ends; a resumed one knows what the checkpoint holds."""
    patience = Patience(limit)
    for epoch, top1 in enumerate(top1s, start=1):
        patience.add(epoch, top1)
        if epoch == resumes_after:
            patience = Patience(limit, patience.top1s)
        if patience.decided_end(WORLD):
            return epoch
    return len(top1s)


@pytest.mark.parametrize(
    ("limit", "top1s", "end"),
    [
        (0, [5, 4, 3, 2, 1], 5),
        (2, [5, 4, 3, 2, 1], 3),
        (2, [1, 2, 2, 2, 9], 4),  # as good is not better
        (2, [1, 2, 2, 3, 3, 3], 6),
        (1, [1, 2, 3, 4], 4),
        (9, [5, 4, 3], 3),
    ],
)
def test_training_ends_after_so_many_epochs_without_a_better_one(
    limit: int, top1s: list[float], end: int
) -> None:
    assert end_of(limit, top1s) == end
    for epoch in range(1, len(top1s)):
        assert end_of(limit, top1s, resumes_after=epoch) == end


def test_epochs_that_are_trained_again_count_once() -> None:
    patience = Patience(2, {1: 5.0, 2: 4.0, 3: 3.0})
    patience.add(2, 6.0)  # it went back to the first
    assert patience.top1s == {1: 5.0, 2: 6.0}
    assert not patience.why_end()


def test_reason_names_the_best_epoch_and_the_key() -> None:
    assert Patience(2, {4: 87.5, 5: 80.0, 6: 80.0}).why_end() == (
        "the training ends after epoch 6: no validation was better than 87.50 after epoch 4 for "
        "2 epochs (TRAIN.PATIENCE=2)"
    )
