"""A look at the files of the lists before any work: a wrong root or a lost file is told at once."""

import errno
import logging
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from yacs.config import CfgNode

from datasets.annotations import VideoRecord
from datasets.readers import UnreadableVideoError
from datasets.records import open_frames
from datasets.repeated_videos import list_remarks

NUM_WHOLE = 2_000  # of a list up to this length every path is looked at
NUM_SPREAD = 256  # paths of a longer one
NUM_OPENED = 16
NUM_SHOWN = 5
THREADS = 16
_BY_CHANCE = 3  # of NUM_OPENED, more bad ones than their share in the whole list

_log = logging.getLogger(__name__)


def look_at_lists(
    cfg: CfgNode, lists: Mapping[str, Sequence[VideoRecord]], bears_bad: bool = False
) -> None:
    """Look at the videos of a run's lists, and say which stand there twice.

    Args:
        cfg: Config of the run.
        lists: Records by split: ``train``, ``val``, ``test``.
        bears_bad: True only says which videos are missing or unreadable, as long as not all are.

    Raises:
        ValueError: See `look_at_videos`.
    """
    for remark in list_remarks(lists):
        _log.warning("%s", remark)
    seen: list[Sequence[VideoRecord]] = []
    for split, records in lists.items():
        if split == "train" or list(records) not in seen:  # the test may be on the val list
            look_at_videos(cfg, split, records, bears_bad)
        if split != "train":
            seen.append(list(records))


def look_at_videos(
    cfg: CfgNode, split: str, records: Sequence[VideoRecord], bears_bad: bool = False
) -> None:
    """Check that the videos of a list exist, all or a sample, and that a few of them can be read.

    Args:
        cfg: Config of the run.
        split: ``train``, ``val`` or ``test``.
        records: Records of the list.
        bears_bad: Whether bad videos are only told; see `look_at_lists`.

    Raises:
        ValueError: None exists, or the list counts more frames in all than there are; or more
            are missing or unreadable than the split allows: TRAIN.MAX_BAD_SHARE of a training
            list, and none of another one, unless TEST.SKIPS_UNREADABLE.
    """
    root = Path(cfg.DATA.ROOT)
    looked_at = records if len(records) <= NUM_WHOLE else _spread(records, NUM_SPREAD)
    missing = _missing(root, looked_at)
    if len(missing) == len(looked_at):
        raise ValueError(
            f"none of the {len(missing)} paths {_looked_at(looked_at, records)}of the {split} list "
            f"exists under DATA.ROOT={cfg.DATA.ROOT!r}; first: {str(root / missing[0].path)!r}"
        )
    allowed = 1.0 if bears_bad else _allowed_share(cfg, split)
    if len(missing) > allowed * len(looked_at) and len(looked_at) < len(records):
        looked_at = records  # a sample may be worse than the list by chance
        missing = _missing(root, records)
    if len(missing) > allowed * len(looked_at):
        raise ValueError(_refusal(split, "do not exist", _paths(root, missing), len(looked_at)))
    if missing:
        _log.warning(
            "%d of %d paths %sof the %s list do not exist under DATA.ROOT=%r; first: %s",
            *(len(missing), len(looked_at), _looked_at(looked_at, records), split),
            *(cfg.DATA.ROOT, root / missing[0].path),
        )
    lost = {record.line for record in missing}
    there = [record for record in looked_at if record.line not in lost]
    num_bearable = (
        allowed * len(records) - len(missing) if split == "train" else allowed * len(there)
    )
    _open_some(cfg, split, _spread(there, NUM_OPENED), allowed, num_bearable)


def _open_some(
    cfg: CfgNode,
    split: str,
    opened: Sequence[VideoRecord],
    allowed: float,
    num_bearable: float,
) -> None:
    with ThreadPoolExecutor(THREADS) as pool:
        results = list(pool.map(partial(_open, cfg), opened))
    faults = [fault for _, fault in results if fault]
    by_chance = _BY_CHANCE if 0 < allowed < 1 else 0
    if len(faults) > min(num_bearable, allowed * len(opened) + by_chance):
        raise ValueError(_refusal(split, "are unreadable", faults, len(opened)))
    for fault in faults:
        _log.warning("the %s list: unreadable: %s", split, fault)
    counts = [(r, number) for r, (number, fault) in zip(opened, results, strict=True) if not fault]
    if counts and all(record.num_frames > number for record, number in counts):
        record, number = counts[0]
        raise ValueError(
            f"the {split} list counts too many frames in all {len(counts)} videos that were opened,"
            f" {record.num_frames} in {record.path!r}, which holds {number}; count again: "
            "tools/make_lists.py --count, or leave the counts out"
        )


def _open(cfg: CfgNode, record: VideoRecord) -> tuple[int, str]:
    """Count the frames of a video and decode one; return the count and why that fails."""
    try:
        reader = open_frames(cfg, record)
        num_frames = len(reader)
        if not num_frames:
            return 0, f"{Path(cfg.DATA.ROOT) / record.path}: it holds no frames"
        reader.read([min(record.num_frames or num_frames, num_frames) // 2])
    except UnreadableVideoError as error:
        return 0, " ".join(str(error).split())
    return num_frames, ""


def _missing(root: Path, records: Sequence[VideoRecord]) -> list[VideoRecord]:
    def missing_of(share: Sequence[VideoRecord]) -> list[VideoRecord]:
        # a Path would raise where a name is too long or a folder is closed to us
        return [record for record in share if not os.path.exists(root / record.path)]  # noqa: PTH110

    size = -(-len(records) // THREADS)  # a thread's share: a task for each path costs more
    shares = [records[start : start + size] for start in range(0, len(records), size)]
    with ThreadPoolExecutor(THREADS) as pool:
        return [record for missing in pool.map(missing_of, shares) for record in missing]


def _allowed_share(cfg: CfgNode, split: str) -> float:
    return cfg.TRAIN.MAX_BAD_SHARE if split == "train" else float(cfg.TEST.SKIPS_UNREADABLE)


def _refusal(split: str, what: str, faults: Sequence[str], number: int) -> str:
    shown = "\n  ".join(faults[:NUM_SHOWN])
    more = f"\n  ... and {len(faults) - NUM_SHOWN} more" if len(faults) > NUM_SHOWN else ""
    way_out = (
        "TRAIN.MAX_BAD_SHARE says how many a training bears"
        if split == "train"
        else "TEST.SKIPS_UNREADABLE True leaves them out of the figures in plain sight"
    )
    return (
        f"{len(faults)} of {number} videos {what}, of the {split} list; mend them or their lines; "
        f"{way_out}\n  {shown}{more}"
    )


def _paths(root: Path, records: Sequence[VideoRecord]) -> list[str]:
    return [f"{root / record.path}: {os.strerror(errno.ENOENT)}" for record in records]


def _looked_at(looked_at: Sequence[VideoRecord], records: Sequence[VideoRecord]) -> str:
    return "" if len(looked_at) == len(records) else f"looked at, of {len(records)}, "


def _spread(records: Sequence[VideoRecord], number: int) -> list[VideoRecord]:
    """Return so many records, spread evenly over a list, or all of a shorter one."""
    if len(records) <= number:
        return list(records)
    return [records[place] for place in np.linspace(0, len(records) - 1, number).astype(int)]
