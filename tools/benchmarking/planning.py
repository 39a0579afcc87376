"""How long a training takes on so many GPUs, and where more of them no longer help."""

from dataclasses import dataclass

BYTES_OF_GRADIENT = 4  # gradients are float32 under autocast too
BUCKET = 25 * 2**20  # bytes that DistributedDataParallel sends at once
BACKWARD_SHARE = 2 / 3  # of a training step: the backward pass has twice the forward's operations
GB = 1e9


@dataclass(frozen=True)
class Cluster:
    """The GPUs of a run, and what joins them.

    Attributes:
        gpus_per_node: Number of GPUs of each host.
        num_nodes: Number of hosts.
        link: Rate from a GPU to another of its host, bytes a second.
        network: Rate out of a host, all its network cards together, bytes a second.
    """

    gpus_per_node: int
    num_nodes: int
    link: float
    network: float

    @property
    def size(self) -> int:
        """Number of GPUs."""
        return self.gpus_per_node * self.num_nodes

    def all_reduce_seconds(self, num_bytes: float) -> float:
        """Return how long a ring takes to sum so many bytes of each GPU (NCCL).

        Each byte leaves a GPU twice but for its own share: once to be added, once as the sum.
        """
        rate = min(self.link, self.network) if self.num_nodes > 1 else self.link
        return 2 * (self.size - 1) / self.size * num_bytes / rate


@dataclass(frozen=True)
class Step:
    """A step of the optimizer, as one GPU sees it.

    Attributes:
        parameters: Number of weights.
        clips: Number of clips of a batch.
        batches: Number of batches whose gradients are added up before the step.
        clips_per_second: Speed of one GPU that waits for nobody.
    """

    parameters: int
    clips: int
    batches: int
    clips_per_second: float

    @property
    def gradient_bytes(self) -> int:
        """Bytes that each GPU sends in a step, before the ring doubles them."""
        return BYTES_OF_GRADIENT * self.parameters

    @property
    def compute_seconds(self) -> float:
        """Time of the step on a GPU alone."""
        return self.batches * self.clips / self.clips_per_second

    def seconds(self, cluster: Cluster) -> float:
        """Return the time of the step with the sum over all GPUs.

        The sum runs beside the last batch's backward pass; what is left over is waited for, and at
        least the last bucket.
        """
        sent = cluster.all_reduce_seconds(self.gradient_bytes)
        last = cluster.all_reduce_seconds(min(BUCKET, self.gradient_bytes))
        backward = BACKWARD_SHARE * self.clips / self.clips_per_second
        return self.compute_seconds + max(sent - backward, last)

    def efficiency(self, cluster: Cluster) -> float:
        """Return the share of the time in which the GPUs compute."""
        return self.compute_seconds / self.seconds(cluster)

    def least_clips(self, cluster: Cluster) -> int:
        """Count the clips of a batch whose backward pass is as long as the sum over the GPUs."""
        sent = cluster.all_reduce_seconds(self.gradient_bytes)
        return max(1, -int(-sent * self.clips_per_second // BACKWARD_SHARE))


def most_gpus(step: Step, cluster: Cluster, clips_per_step: int) -> int:
    """Count the GPUs up to which steps of so many clips hide the sum behind the computation."""
    return max(1, clips_per_step // step.least_clips(cluster))
