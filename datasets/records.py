"""From a list file to records whose frames are counted, and from a record to its frames."""

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from yacs.config import CfgNode

from config.model_checks import MODEL_RULES
from datasets.annotations import NUM_FAULTS_SHOWN, VideoRecord, read_list
from datasets.clock import TimedSample
from datasets.list_lines import Disk
from datasets.readers import UnreadableVideoError, VideoReader, open_reader
from datasets.sampling import Rng

COUNTING_THREADS = 16
NUM_COMPARED = 16  # videos of a list whose counts are compared with the disk

_log = logging.getLogger(__name__)

OpenVideo = Callable[[VideoRecord], VideoReader]


def read_records(
    cfg: CfgNode, split: str, once: Callable[[Callable[[], Any]], Any] | None = None
) -> list[VideoRecord]:
    """Read the list of a split and count the frames where it does not.

    Args:
        cfg: Config of the run.
        split: ``train``, ``val`` or ``test``.
        once: Function that calls another in one process and gives its result to all, so that the
            disk is asked once; all of them call this together. None: each asks for itself.

    Raises:
        ValueError: The list is not set, missing or malformed, or too many videos have no frames:
            for training, more than TRAIN.MAX_BAD_SHARE allows; the others are met again there.
    """
    key = f"{split.upper()}_LIST"
    # The releases test on their validation lists: the published figures are of those.
    path = cfg.DATA[key] or (cfg.DATA.VAL_LIST if split == "test" else "")
    if not path:
        raise ValueError(f"DATA.{key} is not set; it names the list file of the {split} videos")
    check_takes_rgb(cfg)
    if not Path(cfg.DATA.ROOT or ".").is_dir():
        raise ValueError(f"DATA.ROOT={cfg.DATA.ROOT!r} is not a folder")
    records = read_listed(cfg, path)

    def ask_disk() -> tuple[str, dict[int, int]]:
        contradiction = contradicted_counts(records, partial(open_frames, cfg))
        if split != "train" and cfg.TEST.SKIPS_UNREADABLE:  # they are counted when read
            return contradiction, {}
        # A training bears a few; a test without one of its videos has another accuracy.
        max_bad = cfg.TRAIN.MAX_BAD_SHARE * len(records) if split == "train" else 0
        return contradiction, _missing_counts(records, partial(open_frames, cfg), max_bad)

    # One process asks for all: a shared disk is slow where each of them opens every file.
    contradiction, counts = once(ask_disk) if once else ask_disk()
    if contradiction:
        _log.warning("%s: %s", path, contradiction)
    if counts:
        records = [r._replace(num_frames=counts.get(r.line, r.num_frames)) for r in records]
    least = cfg.DATA.MIN_FRAMES
    # 0 frames are not counted yet, and not too few. The TSM release drops videos below 3.
    long_enough = [record for record in records if not 0 < record.num_frames < least]
    if len(long_enough) < len(records):
        _log.warning(
            "%s: left out %d of %d videos, which have fewer frames than DATA.MIN_FRAMES=%d",
            *(path, len(records) - len(long_enough), len(records), cfg.DATA.MIN_FRAMES),
        )
    if not long_enough:
        raise ValueError(f"{path}: no video has DATA.MIN_FRAMES={cfg.DATA.MIN_FRAMES} frames")
    return long_enough


def read_listed(cfg: CfgNode, path: str) -> list[VideoRecord]:
    """Read a list file as a config has it; frames stay uncounted.

    Raises:
        ValueError: See `datasets.annotations.read_list`.
    """
    data = cfg.DATA
    several = data.MULTI_LABEL
    return read_list(path, cfg.MODEL.NUM_CLASSES, data.USE_SUBSET, disk_of(cfg), several)


def disk_of(cfg: CfgNode) -> Disk:
    """Return what decides about the lines of a list that can be read in two ways."""

    def count(path: str) -> int:
        try:
            return len(open_frames(cfg, VideoRecord(path, 0, 0, 0)))
        except UnreadableVideoError:
            return 0

    return Disk(cfg.DATA.ROOT, count)


def contradicted_counts(records: Sequence[VideoRecord], open_video: OpenVideo) -> str:
    """Compare the counts of a few videos with the disk; say what differs in most, else "".

    A count that is too low is a way to use the beginning of a video, and so it is no error.
    """
    counted = [record for record in records if record.num_frames]
    # Spread over the list, which is often sorted by class.
    step = -(-len(counted) // NUM_COMPARED) or 1

    def compared(record: VideoRecord) -> int:
        try:
            return len(open_video(record))
        except UnreadableVideoError:  # told where it is read
            return 0

    with ThreadPoolExecutor(COUNTING_THREADS) as pool:
        found = list(zip(counted[::step], pool.map(compared, counted[::step]), strict=True))
    # 0 is an unreadable video, which says nothing of the list's numbers.
    found = [(record, number) for record, number in found if number]
    wrong = [(record, number) for record, number in found if number != record.num_frames]
    # A few may be cut on purpose; most of them are a list of something else.
    if 2 * len(wrong) <= len(found):
        return ""
    record, number = wrong[0]
    labels = ""
    if max(record.num_frames for record, _ in wrong) < max(number for _, number in wrong) // 2:
        labels = "; `path label label` is not read, `path label,label` under DATA.MULTI_LABEL True"
    return (
        f"the counts differ from the videos in {len(wrong)} of {len(found)} looked at; line "
        f"{record.line} says {record.num_frames} frames, {record.path!r} holds {number}; a line is "
        f"`path num_frames label`, and no more frames are used than it says{labels}"
    )


def check_takes_rgb(cfg: CfgNode) -> None:
    """Raise ValueError for a model of flow, or of several images a frame, which are not read."""
    other_input = MODEL_RULES[cfg.MODEL.NAME].other_input(cfg)
    if other_input:
        raise ValueError(
            f"{other_input}: the loaders read one RGB image a frame; flow is for the model alone"
        )


def open_frames(cfg: CfgNode, record: VideoRecord) -> VideoReader:
    """Return the reader of a record's frames: of a folder or of a video file, as it lies there."""
    data = cfg.DATA
    return open_reader(
        Path(data.ROOT) / record.path,
        data.FRAME_TEMPLATE,
        data.FIRST_FRAME,
        fps=data.FPS,
        decoder=data.DECODER,
        max_pixels=data.MAX_FRAME_PIXELS,
    )


def read_frames(record: VideoRecord, indices: np.ndarray, open_video: OpenVideo) -> Tensor:
    """Decode frames of a video to uint8 (T, 3, H, W), channels last in memory."""
    # Only the axes change places, not the bytes.
    return torch.from_numpy(open_video(record).read(indices)).permute(0, 3, 1, 2)


def pick_frames(
    record: VideoRecord,
    sample: Callable[..., np.ndarray],
    open_video: OpenVideo,
    rng: Rng | None = None,
) -> np.ndarray:
    """Return the indices that a function picks of a video, by its clock where it goes by it.

    Args:
        record: Video to pick from.
        sample: Function from the number of frames, and rng=generator if one is given, to indices.
        open_video: Function from a record to a reader.
        rng: Generator that draws a training clip; None: the clips of a test.

    Raises:
        UnreadableVideoError: The frames cannot be counted, or the clock cannot be read.
    """
    # The list's number counts, even where the disk has more: it may mean the beginning alone.
    num_frames = record.num_frames or count_frames(record, open_video)
    named: dict[str, Any] = {} if rng is None else {"rng": rng}
    if isinstance(sample, TimedSample):
        # Windows in seconds, or by ticks of the clock, depend on the file; others need no look.
        named["clock"] = sample.clock_of(open_video(record))
    return sample(num_frames, **named)


def count_frames(record: VideoRecord, open_video: OpenVideo) -> int:
    """Count the frames of a video on the disk.

    Raises:
        UnreadableVideoError: It holds none.
    """
    num_frames = len(open_video(record))
    if not num_frames:
        raise UnreadableVideoError(f"line {record.line}: {record.path!r} holds no frames")
    return num_frames


def _missing_counts(
    records: Sequence[VideoRecord], open_video: OpenVideo, max_bad: float
) -> dict[int, int]:
    """Return the frame counts that the list leaves open, by line, from the disk; 0 where it fails.

    A list that has them all costs nothing here: a pool's task for each of 240,000 lines took 12 s.
    """

    def counted(record: VideoRecord) -> tuple[int, str]:
        try:
            return count_frames(record, open_video), ""
        except UnreadableVideoError as error:
            return 0, str(error)

    uncounted = [record for record in records if not record.num_frames]
    if not uncounted:
        return {}
    # Threads, since the time goes into waiting for the disk.
    with ThreadPoolExecutor(COUNTING_THREADS) as pool:
        results = list(pool.map(counted, uncounted))
    faults = [fault for _, fault in results if fault]
    if len(faults) > max_bad:
        shown = "\n  ".join(faults[:NUM_FAULTS_SHOWN])
        more = f"\n  ... and {len(faults) - NUM_FAULTS_SHOWN} more"
        raise ValueError(
            f"{len(faults)} of {len(records)} videos are unreadable:\n  {shown}"
            + (more if len(faults) > NUM_FAULTS_SHOWN else "")
        )
    # By line, not by path: a list may name a video twice.
    return {record.line: number for record, (number, _) in zip(uncounted, results, strict=True)}
