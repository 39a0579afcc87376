import pytest

from engine.position import EpochPart, Position


def test_checkpoint_without_a_place_ends_an_epoch() -> None:
    assert Position.of({"epoch": 3}, batches_per_epoch=5) == Position(3, iterations=15)


def test_place_is_read_as_it_was_written() -> None:
    place = Position(2, offset=24, dealt_to=3, iterations=19)
    assert Position.of({"epoch": 2, "position": place.as_dict()}, batches_per_epoch=5) == place


def test_whole_epoch_goes_by_its_batches() -> None:
    part = EpochPart(Position(2, iterations=20), 10, 10, clips_per_batch=8)
    assert [part.number(i) for i in (0, 9)] == [0, 9]
    assert [part.epochs_done(i) for i in (0, 3)] == [2.0, 2 + 3 / 10]
    assert part.after(3) == Position(2, offset=32, iterations=24)
    assert part.end() == Position(3, iterations=30)


@pytest.mark.parametrize("i", range(7))
def test_rest_of_an_epoch_counts_on_to_the_last_bit(i: int) -> None:
    whole = EpochPart(Position(2, iterations=20), 10, 10, clips_per_batch=8)
    rest = EpochPart(whole.after(2), 10, 7, clips_per_batch=8)
    assert rest.number(i) == whole.number(3 + i)
    assert rest.epochs_done(i) == whole.epochs_done(3 + i)
    assert rest.after(i) == whole.after(3 + i)
    assert rest.end() == whole.end()


def test_other_processes_go_on_at_the_share_of_the_epoch_that_is_done() -> None:
    start = Position(2, offset=24, dealt_to=2, iterations=23)  # 3 batches of 2 x 4 clips
    part = EpochPart(start, 5, 3, clips_per_batch=16)  # now 4 x 4, five batches an epoch
    assert part.num_before == 1.5
    assert part.epochs_done(0) == 2 + 1.5 / 5
    assert part.number(0) == 1
    assert part.after(0) == Position(2, offset=40, dealt_to=2, iterations=24)
