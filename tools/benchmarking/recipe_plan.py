"""The plan of a whole recipe: its training, its validations and its test, on a cluster."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from yacs.config import CfgNode

from datasets.records import check_takes_rgb
from engine.accumulation import build_accumulation
from tools.benchmarking.memory import training_memory
from tools.benchmarking.operations import count_operations, count_views
from tools.benchmarking.planning import GB, Cluster, Step, most_gpus

FLOPS = 2  # of a multiply-add, as makers count the peak of a card
_RESERVE = 0.9  # of a GPU's memory: kernels and the allocator take the rest


@dataclass(frozen=True)
class Speed:
    """What one GPU does alone: training clips and test views a second, and who says so."""

    clips: float
    views: float
    source: str


@dataclass(frozen=True)
class DataSet:
    """The videos.

    Attributes:
        num_train: Number of videos of the training list.
        num_test: Number of videos of the validation's and the test's list.
        num_frames: Number of frames of a video.
        size: Height and width of a frame, pixels.
        bytes_per_frame: Size of a frame on the disk, bytes.
        seconds_per_frame: Time of one core to read, decode, resize and augment a frame, seconds.
    """

    num_train: int
    num_test: int
    num_frames: int
    size: tuple[int, int]
    bytes_per_frame: float
    seconds_per_frame: float


@dataclass(frozen=True)
class Host:
    """What a GPU has beside it: cores that feed it, and its memory in bytes."""

    num_cores: int
    gpu_bytes: float


def assumed_speed(cfg: CfgNode, peak: float, share: float) -> Speed:
    """Return the speed of a GPU that reaches a share of its peak, FLOPs a second."""
    operations = count_operations(cfg)
    text = f"assumed: {share:.0%} of {peak / 1e12:g} TFLOP/s"
    reached = share * peak / FLOPS
    return Speed(reached / operations.training, reached / operations.forward, text)


class RecipePlan:
    """What a recipe takes.

    Args:
        cfg: Config of the recipe.
        cluster: GPUs that it runs on.
        data: Videos that it runs on.
        host: Cores and memory that a GPU has beside it.
        speed: Speed of one GPU.

    Raises:
        ValueError: The loaders cannot read what the model sees, the batch does not fit the number
            of GPUs, or there are fewer videos than one batch takes.
    """

    def __init__(
        self, cfg: CfgNode, cluster: Cluster, data: DataSet, host: Host, speed: Speed
    ) -> None:
        check_takes_rgb(cfg)
        self.cfg, self.cluster, self.data, self.host, self.speed = cfg, cluster, data, host, speed
        clips, repeats = cfg.TRAIN.CLIPS_PER_GPU, cfg.AUG.REPEATS
        num_batches = data.num_train // cluster.size * repeats // clips
        if not num_batches:
            raise ValueError(
                f"{data.num_train} videos are fewer than one batch of {cluster.size} GPUs x "
                f"TRAIN.CLIPS_PER_GPU={clips}; lower it, or take fewer GPUs"
            )
        groups = build_accumulation(cfg, num_batches, cluster.size)
        self.operations = count_operations(cfg)
        self.step = Step(self.operations.parameters, clips, groups.size, speed.clips)
        self.steps_per_epoch = num_batches / groups.size
        self.clips_per_step = clips * groups.size * cluster.size
        self.test = count_views(cfg, data.num_frames, data.size)
        self.val = count_views(cfg, data.num_frames, data.size, split="val")
        self.memory = training_memory(cfg)

    @cached_property
    def training_hours(self) -> float:
        """Hours of all epochs, the validations aside."""
        steps = self.cfg.TRAIN.EPOCHS * self.steps_per_epoch
        return steps * self.step.seconds(self.cluster) / 3600

    @cached_property
    def validation_hours(self) -> float:
        """Hours of the validations after all epochs."""
        views = self.cfg.TRAIN.EPOCHS * self.data.num_test * self.val.num_distinct
        return views / self.speed.views / self.cluster.size / 3600

    @cached_property
    def test_hours(self) -> float:
        """Hours of the test with all views, of which only those that differ are computed."""
        views = self.data.num_test * self.test.num_distinct
        return views / self.speed.views / self.cluster.size / 3600

    @property
    def frames_per_second(self) -> tuple[float, float]:
        """Frames that a GPU takes a second in training, and in the test."""
        clips = self.speed.clips * self.step.efficiency(self.cluster)
        videos = self.speed.views / self.test.num_distinct
        return clips * self.cfg.DATA.NUM_FRAMES, videos * self.test.num_frames

    def numbers(self) -> dict[str, Any]:
        """Return the plan for machines; times in hours, sizes in bytes."""
        training, test = self.frames_per_second
        return {
            "gpus": self.cluster.size,
            "clips_per_second_of_a_gpu": self.speed.clips,
            "views_per_second_of_a_gpu": self.speed.views,
            "speed_source": self.speed.source,
            "clips_per_step": self.clips_per_step,
            "training_hours": self.training_hours,
            "validation_hours": self.validation_hours,
            "test_hours": self.test_hours,
            "efficiency": self.step.efficiency(self.cluster),
            "all_reduce_bytes": self.step.gradient_bytes,
            "all_reduce_seconds": self.cluster.all_reduce_seconds(self.step.gradient_bytes),
            "most_gpus": self._most_gpus(),
            "memory_bytes": self.memory.total(self.step.clips),
            "clips_that_fit": self._clips_that_fit(),
            "cores_of_a_gpu_training": training * self.data.seconds_per_frame,
            "cores_of_a_gpu_test": test * self.data.seconds_per_frame,
            "disk_bytes_per_second_training": training * self.data.bytes_per_frame,
            "disk_bytes_per_second_test": test * self.data.bytes_per_frame,
        }

    def lines(self) -> Iterator[tuple[str, str]]:
        """Yield the plan for people: what a line is about, and a sentence."""
        numbers = self.numbers()
        yield "GPUs", self._about_gpus()
        yield "batch", self._about_batch()
        yield "training", self._about_training()
        yield "test", self._about_test()
        yield "memory", self._about_memory()
        yield "cores", self._about_cores(numbers)
        training = self._of_all(numbers["disk_bytes_per_second_training"])
        test = self._of_all(numbers["disk_bytes_per_second_test"])
        yield "disk", f"{training} in training, {test} in the test"
        yield "scaling", self._about_scaling(numbers)

    def _most_gpus(self) -> int:
        reference = self.cfg.OPTIM.REFERENCE_BATCH or self.clips_per_step
        return most_gpus(self.step, self.cluster, reference)

    def _clips_that_fit(self) -> int:
        return self.memory.clips_that_fit(_RESERVE * self.host.gpu_bytes)

    def _about_gpus(self) -> str:
        nodes, per_node = self.cluster.num_nodes, self.cluster.gpus_per_node
        return (
            f"{self.cluster.size} ({nodes} x {per_node}), each {self.speed.clips:.4g} training "
            f"clips and {self.speed.views:.4g} views a second ({self.speed.source})"
        )

    def _about_training(self) -> str:
        return (
            f"{_hours(self.training_hours)}, {self.cfg.TRAIN.EPOCHS} epochs of "
            f"{self.data.num_train} videos, and {_hours(self.validation_hours)} of validations"
        )

    def _about_test(self) -> str:
        return (
            f"{_hours(self.test_hours)}, {self.data.num_test} videos x {self.test.num_views} "
            f"views, of which {self.test.num_distinct} differ with {self.data.num_frames} frames"
        )

    def _about_batch(self) -> str:
        text = (
            f"{self.clips_per_step} clips a step = {self.cluster.size} GPUs x {self.step.clips} x "
            f"{self.step.batches} accumulated, {self.steps_per_epoch:.0f} steps an epoch"
        )
        reference = self.cfg.OPTIM.REFERENCE_BATCH
        if reference and reference != self.clips_per_step:
            text += (
                f"; the recipe's rate is for {reference}: set TRAIN.CLIPS_PER_GPU and "
                "TRAIN.ACCUMULATION, or TRAIN.GLOBAL_BATCH, to keep it"
            )
        return text

    def _about_memory(self) -> str:
        memory, clips = self.memory, self.step.clips
        kind = "" if self.cfg.TRAIN.AMP == "none" else f" under {self.cfg.TRAIN.AMP}"
        text = (
            f"{memory.total(clips) / GB:.1f} GB of each GPU{kind}: {memory.fixed / GB:.1f} for "
            f"weights and optimizer, {memory.of_clip / GB:.2f} a clip; {self._clips_that_fit()} "
            f"clips fit into {_RESERVE:.0%} of {self.host.gpu_bytes / GB:g} GB"
        )
        if self._clips_that_fit() < clips:
            text += (
                f", TRAIN.CLIPS_PER_GPU={clips} does not: lower it and raise TRAIN.ACCUMULATION, "
                "set TRAIN.AMP bf16 or MODEL.CHECKPOINTS_BLOCKS True"
            )
        return text

    def _about_cores(self, numbers: dict[str, Any]) -> str:
        training, test = numbers["cores_of_a_gpu_training"], numbers["cores_of_a_gpu_test"]
        text = (
            f"{training:.1f} for each GPU in training, {test:.1f} in the test, at "
            f"{1e3 * self.data.seconds_per_frame:.3g} ms a frame"
        )
        if max(training, test) > self.host.num_cores:
            longer = max(training, test) / self.host.num_cores
            text += (
                f"; there are {self.host.num_cores}: the GPU will wait, and all take up to "
                f"{longer:.1f} times as long, unless the frames are stored smaller "
                "(tools/extract_frames.py --short-side 256)"
            )
        return text

    def _about_scaling(self, numbers: dict[str, Any]) -> str:
        if self.cluster.size == 1:
            return "one GPU waits for no other"
        milliseconds = 1e3 * numbers["all_reduce_seconds"]
        clips = self.cfg.OPTIM.REFERENCE_BATCH or self.clips_per_step
        return (
            f"{numbers['efficiency']:.1%} of the time is computed; "
            f"{self.step.gradient_bytes / GB:.3g} GB of gradients take {milliseconds:.3g} ms a "
            f"step, which the backward pass of {self.step.least_clips(self.cluster)} clips hides: "
            f"steps of {clips} clips keep up to {numbers['most_gpus']} GPUs busy"
        )

    def _of_all(self, of_a_gpu: float) -> str:
        return f"{of_a_gpu * self.cluster.size / GB:.3g} GB/s ({of_a_gpu / 1e6:.3g} MB/s a GPU)"


def _hours(hours: float) -> str:
    if hours < 2:
        return f"{60 * hours:.3g} minutes"
    return f"{hours:.3g} hours" if hours < 1000 else f"{hours:,.0f} hours"
