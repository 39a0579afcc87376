import pytest

from tools.benchmarking.planning import BUCKET, Cluster, Step, most_gpus


def cluster(gpus: int, nodes: int = 1) -> Cluster:
    return Cluster(gpus, nodes, link=300e9, network=50e9)


# a gradient of 300 MB, and clips of 10 ms
STEP = Step(parameters=75_000_000, clips=3, batches=2, clips_per_second=100)


def test_a_ring_sends_each_byte_twice_but_for_the_own_share() -> None:
    assert cluster(1).all_reduce_seconds(300e6) == 0
    assert cluster(2).all_reduce_seconds(300e6) == pytest.approx(1e-3)
    assert cluster(4).all_reduce_seconds(300e6) == pytest.approx(1.5e-3)


def test_between_hosts_the_slower_way_counts() -> None:
    assert cluster(2, 2).all_reduce_seconds(300e6) == pytest.approx(1.5 * 300e6 / 50e9)


def test_the_sum_hides_behind_the_backward_pass_of_the_last_batch() -> None:
    seconds = 2 * 3 / 100
    last_bucket = cluster(2).all_reduce_seconds(BUCKET)
    assert STEP.seconds(cluster(1)) == pytest.approx(seconds)
    assert STEP.seconds(cluster(2)) == pytest.approx(seconds + last_bucket)
    slow = Cluster(2, 1, link=300e6 / 0.05, network=1.0)  # 50 ms against a backward of 20
    assert STEP.seconds(slow) == pytest.approx(seconds + 0.05 - 0.02)
    assert STEP.efficiency(slow) == pytest.approx(0.06 / 0.09)


def test_scaling_ends_where_a_batch_is_shorter_than_the_sum() -> None:
    slow = Cluster(2, 1, link=300e6 / 0.05, network=1.0)
    assert STEP.least_clips(slow) == 8  # 50 ms are two thirds of 7.5 clips
    assert most_gpus(STEP, slow, clips_per_step=64) == 8
    assert most_gpus(STEP, slow, clips_per_step=4) == 1
