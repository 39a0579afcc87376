"""Is an exported model the model? Its logits and its speed beside those of eager PyTorch."""

import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from yacs.config import CfgNode

from datasets.annotations import VideoRecord
from datasets.loaders import build_view_loader, read_records
from models.exported import ExportedModel
from ops.finite_logits import check_finite_logits
from ops.pixels import to_levels

LIMIT = 1e-4  # of the difference between logits
BATCHES = (1, 2, 5)
EAGER = "eager"
SHUFFLED = ", frames shuffled"
CLIPS_PER_FORWARD = 4
LEAST_ROUNDS, MOST_ROUNDS, SECONDS_TIMED = 4, 100, 2.0

Classify = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Row:
    """How far apart the answers to some samples are.

    Attributes:
        name: Name of the samples.
        differences: Largest difference of a logit from eager's, by runtime.
        reach: Largest absolute logit of eager's.
    """

    name: str
    differences: dict[str, float]
    reach: float

    def is_within(self, limit: float) -> bool:
        """Whether every difference is at most the limit; what is no number is not."""
        return all(difference <= limit for difference in self.differences.values())


@dataclass(frozen=True)
class RealClips:
    """Clips of videos, as the test makes them.

    Attributes:
        samples: Clips, uint8 (N, T, 3, H, W), or (N, V, T, 3, H, W).
        labels: Class of each, (N,); none for videos that were named by hand, or may have several
            classes.
        name: Name of where they are from.
    """

    samples: Tensor
    labels: Tensor | None
    name: str


def prove(
    eager: ExportedModel, runtimes: dict[str, ExportedModel], real: RealClips | None
) -> list[Row]:
    """Run all on the same clips and print how far apart they are.

    Raises:
        ValueError: A logit differs by more than the limit.
        FloatingPointError: The model's own logits are not finite.
    """
    runs = {EAGER: eager, **runtimes}
    samples = random_samples(eager.metadata.input_shape)
    taken = latencies(runs, next(iter(samples.values())))
    samples |= real_samples(real) if real else {}
    answers = {name: answer(runs, batch) for name, batch in samples.items()}
    for name, of_runs in answers.items():
        check_finite_logits(of_runs[EAGER], f"the model itself, on {name}")
    rows = [compare(name, of_runs) for name, of_runs in answers.items()]
    effects = effects_of_order(answers)
    _show(rows, effects, taken, has_real=real is not None)
    wrong = [row.name for row in rows if not row.is_within(LIMIT)]
    if wrong:
        raise ValueError(
            f"the exported model's logits differ from the model's by more than {LIMIT:g} on "
            f"{'; '.join(wrong)}: nothing was written"
        )
    return rows


def random_samples(shape: Sequence[int], seed: int = 0) -> dict[str, Tensor]:
    """Return uint8 noise of each batch size by name, and the largest with its frames shuffled."""
    generator = torch.Generator().manual_seed(seed)
    samples = {
        f"random clips, batch {batch}": torch.randint(
            0, 256, (batch, *shape), dtype=torch.uint8, generator=generator
        )
        for batch in BATCHES
    }
    return samples | _shuffled(f"random clips, batch {BATCHES[-1]}", samples)


def real_samples(clips: RealClips) -> dict[str, Tensor]:
    """Return the clips of videos by name, as they are and with their frames shuffled."""
    samples = {clips.name: clips.samples}
    return samples | _shuffled(clips.name, samples)


def shuffle_frames(samples: Tensor, seed: int = 0) -> Tensor:
    """Return samples (..., T, 3, H, W) with every frame at another place, the same in all."""
    cycle = torch.randperm(samples.shape[-4], generator=torch.Generator().manual_seed(seed))  # (T,)
    order = torch.empty_like(cycle)
    order[cycle] = cycle.roll(-1)
    return samples.index_select(-4, order)


def answer(runs: Mapping[str, Classify], samples: Tensor) -> dict[str, Tensor]:
    """Return each runtime's logits for samples; few ones go through together, as one batch."""
    size = len(samples) if len(samples) <= max(BATCHES) else CLIPS_PER_FORWARD
    return {name: classify(run, samples, size) for name, run in runs.items()}


def compare(name: str, logits: Mapping[str, Tensor]) -> Row:
    """Return how far the runtimes' logits for the samples of a name are from eager's."""
    expected = logits[EAGER]
    differences = {
        runtime: float((others - expected).abs().max())
        for runtime, others in logits.items()
        if runtime != EAGER
    }
    return Row(name, differences, float(expected.abs().max()))


def effects_of_order(answers: Mapping[str, Mapping[str, Tensor]]) -> dict[str, float]:
    """Return by how much each runtime's logits change, at most, when the frames are shuffled."""
    changes: dict[str, float] = {}
    for name, logits in answers.items():
        for runtime, shuffled in answers.get(name + SHUFFLED, {}).items():
            change = float((logits[runtime] - shuffled).abs().max())
            changes[runtime] = max(change, changes.get(runtime, 0.0))
    return changes


def classify(run: Classify, samples: Tensor, size: int = CLIPS_PER_FORWARD) -> Tensor:
    """Return the logits of samples that go through in batches of a size, (N, K)."""
    return torch.cat([run(batch) for batch in samples.split(size)])


def latencies(runs: Mapping[str, Classify], sample: Tensor) -> dict[str, float]:
    """Return seconds for one sample by runtime: the least of several rounds, taken in turns."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    begin = time.perf_counter()
    for num_rounds in range(MOST_ROUNDS):
        if num_rounds >= LEAST_ROUNDS and time.perf_counter() - begin > SECONDS_TIMED:
            break
        for name, run in runs.items():
            start = time.perf_counter()
            run(sample)
            seconds[name].append(time.perf_counter() - start)
    return {name: min(taken) for name, taken in seconds.items()}


def read_clips(
    cfg: CfgNode, videos: Sequence[str], num_videos: int, has_views: bool
) -> RealClips | None:
    """Make clips of the named videos or, without any, of the test list's.

    Args:
        cfg: Config of the experiment; its TEST section has the views.
        videos: Paths of the videos; empty for the test list.
        num_videos: Number of videos of the list to take, spread evenly; 0 = all.
        has_views: Whether all views of each video are made; False: the centre of its first clip.

    Returns:
        The clips; None where no video is named and the list is not here.

    Raises:
        ValueError: A video is unreadable.
    """
    if videos:
        records = [VideoRecord(str(Path(path).resolve()), 0, 0, line=0) for path in videos]
        name = f"{len(records)} named videos"
    else:
        path = cfg.DATA.TEST_LIST or cfg.DATA.VAL_LIST
        if not Path(path).is_file():
            return None
        records = _spread(read_records(cfg, "test"), num_videos)
        name = f"{len(records)} videos of {path}"
    samples = torch.stack(list(_views(cfg, records, has_views)))
    has_labels = not videos and not cfg.DATA.MULTI_LABEL
    labels = torch.tensor([record.label for record in records]) if has_labels else None
    return RealClips(samples, labels, name)


def _views(cfg: CfgNode, records: list[VideoRecord], has_views: bool) -> Iterator[Tensor]:
    if not has_views:
        cfg = cfg.clone()
        cfg.defrost()
        cfg.TEST.NUM_CLIPS = cfg.TEST.NUM_CROPS = 1
        cfg.freeze()
    for batch in build_view_loader(cfg, records, "test", rank=0, world_size=1):
        for views in batch:
            if views.error:
                raise ValueError(views.error)
            nominal = to_levels(views.distinct[views.view_of])  # (V, T, 3, H, W)
            yield nominal if has_views else nominal[0]


def _spread(records: list[VideoRecord], num_videos: int) -> list[VideoRecord]:
    if not 0 < num_videos < len(records):
        return records
    places = np.linspace(0, len(records) - 1, num_videos).round().astype(int)
    return [records[place] for place in places]


def _shuffled(name: str, samples: Mapping[str, Tensor]) -> dict[str, Tensor]:
    if samples[name].shape[-4] < 2:
        return {}
    return {f"{name}{SHUFFLED}": shuffle_frames(samples[name])}


def _show(
    rows: Sequence[Row], effects: dict[str, float], taken: dict[str, float], has_real: bool
) -> None:
    runtimes = list(rows[0].differences)
    width = max(len(row.name) for row in rows)
    lines = [
        f"largest difference of the logits from eager PyTorch's (limit {LIMIT:g})",
        " " * width + "".join(f"{name:>15}" for name in [*runtimes, "logits up to"]),
    ]
    lines += [
        f"{row.name:<{width}}"
        + "".join(f"{row.differences[name]:15.2e}" for name in runtimes)
        + f"{row.reach:15.3g}"
        for row in rows
    ]
    if not has_real:
        lines.append("no real clips: the config's test list is not here; name videos with --clips")
    changes = ", ".join(f"{name} {effect:.4g}" for name, effect in effects.items())
    lines.append(f"logits change when the frames are shuffled, by up to: {changes}")
    if effects.get(EAGER, 0.0) <= LIMIT:
        lines.append("note: the model itself hardly looks at the order of the frames")
    times = ", ".join(
        f"{name} {1e3 * seconds:.1f} ms ({seconds / taken['eager']:.2f})"
        for name, seconds in taken.items()
    )
    lines.append(f"latency of a batch of one, {torch.get_num_threads()} threads: {times}")
    sys.stdout.write("\n".join(lines) + "\n")
