"""What `tools/doctor.py` finds of the lists, the files in them, and the classes."""

from collections import Counter
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from yacs.config import CfgNode

from datasets.annotations import VideoRecord, read_class_names
from datasets.augment.flips import build_mirrored_labels
from datasets.readers import UnreadableVideoError, open_reader
from datasets.records import read_listed
from datasets.repeated_videos import repeated_videos, shared_videos
from datasets.video_suffixes import is_pack_name
from engine.class_weights import build_emphasis
from engine.live_bar import LiveBar
from tools.diagnosis.examination import Examination
from tools.diagnosis.findings import ERROR, OK, WARNING, Finding
from tools.extracting.process_pool import run_jobs

NUM_SHOWN = 5
MAX_IMBALANCE = 10  # videos of the largest class over those of the smallest
CLASSES_NAMED = 8


class FileJob(NamedTuple):
    """A video to open, and how."""

    split: str
    record: VideoRecord
    root: str
    template: str
    first_frame: int
    decoder: str
    max_pixels: int


class FileResult(NamedTuple):
    """What opening a video gave: its frames, or why there are none, or are not as listed."""

    job: FileJob
    num_frames: int
    damage: str = ""


def check_lists(examination: Examination) -> Iterator[Finding]:
    """Yield what is wrong with each list, and with the lists together; keep the records."""
    cfg = examination.cfg
    if examination.lacks_toy:
        yield Finding(
            WARNING,
            f"the toy data are not made yet: no {cfg.DATA.VAL_LIST}; nothing could be examined",
            f"python -m datasets.toy {cfg.DATA.ROOT}; or let the run make them",
        )
        return
    if not Path(cfg.DATA.ROOT or ".").is_dir():
        yield Finding(
            ERROR, f"DATA.ROOT={cfg.DATA.ROOT!r} is not a folder", "set DATA.ROOT to the data's"
        )
    for split in ("train", "val", "test"):
        key = f"DATA.{split.upper()}_LIST"
        path = cfg.DATA[f"{split.upper()}_LIST"]
        if not path and split == "test":
            yield Finding(OK, "test: uses the validation list")
            continue
        try:
            if not path:
                raise ValueError(f"{key} is not set")
            records = read_listed(cfg, path)
        except ValueError as error:
            fix = "mend the lines; labels count from 0" if path else f"set {key}"
            yield Finding(ERROR, str(error), fix if Path(path).is_file() else f"set {key}")
            continue
        examination.records[split] = records
        yield Finding(OK, f"{split}: {len(records)} videos in {path}")
        yield from _duplicates(path, records)
    yield from _leaks(examination.records)


def check_classes(examination: Examination) -> Iterator[Finding]:
    """Yield whether every class has a name and videos, and how evenly."""
    if examination.lacks_toy:
        yield Finding(OK, "not examined: the toy data are not made yet")
        return
    cfg = examination.cfg
    num_classes = cfg.MODEL.NUM_CLASSES
    names = [str(label) for label in range(num_classes)]
    try:
        names = read_class_names(cfg.DATA.CLASS_NAMES, num_classes)
        yield from _named(cfg.DATA.CLASS_NAMES, names)
    except ValueError as error:
        yield Finding(ERROR, str(error), "a name a line, as many as MODEL.NUM_CLASSES")
    if "train" in examination.records:
        yield from _emphasis(cfg, examination.records["train"], names)
    for split in ("train", "val"):
        if split in examination.records:
            yield from _balance(split, examination.records[split], names)


def check_files(examination: Examination) -> Iterator[Finding]:
    """Yield what becomes of opening the files: a sample of each list, or all."""
    cfg = examination.cfg
    jobs = [job for split in examination.records for job in _jobs(examination, split)]
    if not jobs:
        yield Finding(OK, "there are no files to open")
        return
    paths = (Path(job.root) / job.record.path for job in jobs if not is_pack_name(job.record.path))
    is_file = any(path.is_file() for path in paths)
    if is_file and not find_spec("torchcodec" if cfg.DATA.DECODER == "torchcodec" else "av"):
        yield Finding(ERROR, "the lists name video files and no decoder is here", "pip install av")
        return
    results = []
    workers = min(examination.num_workers, len(jobs) // 20)  # starting one takes a second
    with LiveBar(len(jobs), "video", "files") as bar:
        for result in run_jobs(examine_file, jobs, workers, when_dead=_killed):
            results.append(result)
            bar.update(num_failed=bool(result.damage))
    results.sort(key=lambda result: result.job.record.line)
    if examination.damaged is not None:
        damaged = {result.job.record.path: result.damage for result in results if result.damage}
        lines = [f"{video}\t{reason}\n" for video, reason in damaged.items()]
        examination.damaged.write_text("".join(lines), encoding="utf-8")
    for split, records in examination.records.items():
        of_split = [result for result in results if result.job.split == split]
        examination.readable[split] = [r.job.record for r in of_split if not r.damage]
        yield from _seen(examination, split, of_split, len(records))


def examine_file(job: FileJob) -> FileResult:
    """Open a video, count its frames, decode the first, the middle and the last one listed."""
    try:
        reader = open_reader(
            Path(job.root) / job.record.path,
            job.template,
            job.first_frame,
            decoder=job.decoder,
            max_pixels=job.max_pixels,
        )
        num_frames = len(reader)
        if not num_frames:
            return FileResult(job, 0, f"{job.record.path}: it holds no frames")
        if job.record.num_frames > num_frames:
            listed = f"the list says {job.record.num_frames} frames, it holds {num_frames}"
            return FileResult(job, num_frames, f"{job.record.path}: {listed}")
        last = (job.record.num_frames or num_frames) - 1
        reader.read([0, last // 2, last])
    except UnreadableVideoError as error:
        return FileResult(job, 0, " ".join(str(error).split()))
    return FileResult(job, num_frames)


def _killed(job: FileJob) -> FileResult:
    return FileResult(job, 0, f"{job.record.path}: reading it killed the process")


def _jobs(examination: Examination, split: str) -> list[FileJob]:
    """Return the videos of a split to open, spread over the list."""
    data, records = examination.cfg.DATA, examination.records[split]
    number = min(examination.sample or len(records), len(records))
    places = np.linspace(0, len(records) - 1, number).round().astype(int)
    return [
        FileJob(
            split,
            records[place],
            root=data.ROOT,
            template=data.FRAME_TEMPLATE,
            first_frame=data.FIRST_FRAME,
            decoder=data.DECODER,
            max_pixels=data.MAX_FRAME_PIXELS,
        )
        for place in places.tolist()
    ]


def _seen(
    examination: Examination, split: str, results: Sequence[FileResult], num_listed: int
) -> Iterator[Finding]:
    cfg = examination.cfg
    damaged = [result for result in results if result.damage]
    which = "all" if len(results) == num_listed else f"{len(results)} of {num_listed}"
    if not damaged:
        yield Finding(OK, f"{split}: {which} opened, their frames counted, three of each decoded")
    else:
        shown = "\n  ".join(_shortened([result.damage for result in damaged]))
        text = f"{split}: {len(damaged)} of {len(results)} videos are damaged:\n  {shown}"
        fix = "mend them or take them out of the list (--damaged OUT names all)"
        is_train = split == "train"
        allowed = cfg.TRAIN.MAX_BAD_SHARE if is_train else float(cfg.TEST.SKIPS_UNREADABLE)
        is_borne = len(damaged) <= allowed * len(results)
        yield Finding(WARNING if is_borne else ERROR, text, fix)
    longer = [r for r in results if not r.damage and 0 < r.job.record.num_frames < r.num_frames]
    if longer:
        first = longer[0]
        yield Finding(
            WARNING,
            f"{split}: {len(longer)} videos hold more frames than the list says, as "
            f"{first.job.record.path}: {first.num_frames}, listed {first.job.record.num_frames}; "
            "the rest is never used",
            "count again: tools/make_lists.py --count",
        )
    if any(not result.job.record.num_frames for result in results):
        yield Finding(
            OK, f"{split}: the list has lines without a number of frames; each start counts them"
        )


def _duplicates(path: str, records: Sequence[VideoRecord]) -> Iterator[Finding]:
    repeated, at_odds = [], []
    for known, record in repeated_videos(records):
        lines = f"lines {known.line} and {record.line}: {record.path}"
        if {*known.classes} == {*record.classes}:
            repeated.append(lines)
        else:
            labels = (",".join(map(str, r.classes)) for r in (known, record))
            at_odds.append(f"{lines}, classes {' and '.join(labels)}")
    if at_odds:
        yield Finding(
            ERROR,
            f"{path}: {len(at_odds)} videos have two classes:\n  "
            + "\n  ".join(_shortened(at_odds)),
            "leave one line of each",
        )
    if repeated:
        yield Finding(
            WARNING,
            f"{path}: {len(repeated)} videos are listed twice:\n  "
            + "\n  ".join(_shortened(repeated)),
            "leave one line of each, unless they are to weigh more",
        )


def _leaks(records: dict[str, list[VideoRecord]]) -> Iterator[Finding]:
    for split in ("val", "test"):
        shared = shared_videos(records.get(split, []), records.get("train", []))
        leaked = [record.path for record in shared]
        if leaked:
            yield Finding(
                WARNING,
                f"leak: {len(leaked)} of {len(records[split])} videos of the {split} list are "
                "trained on too:\n  " + "\n  ".join(_shortened(leaked)),
                f"take them out of one of the lists; the {split} accuracy is too high otherwise",
            )


def _named(path: str, names: Sequence[str]) -> Iterator[Finding]:
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        yield Finding(
            WARNING, f"{path}: {', '.join(twice)} name two classes each", "give each its own name"
        )
    elif path:
        yield Finding(OK, f"{len(names)} class names")
    else:
        yield Finding(OK, "no DATA.CLASS_NAMES: classes go by their numbers")


def _emphasis(
    cfg: CfgNode, records: Sequence[VideoRecord], names: Sequence[str]
) -> Iterator[Finding]:
    """Yield which classes count more, if any do."""
    if not (cfg.DATA.BALANCE or cfg.LOSS.CLASS_WEIGHTS):
        return
    try:
        mirrored = build_mirrored_labels(cfg)
        emphasis = build_emphasis(cfg, records, mirrored, torch.device("cpu"))
    except ValueError as error:
        yield Finding(ERROR, str(error), "mend the file or the key that is named")
    else:
        yield from (Finding(OK, line) for line in emphasis.lines(names))


def _balance(split: str, records: Sequence[VideoRecord], names: Sequence[str]) -> Iterator[Finding]:
    counts = Counter(label for record in records for label in record.classes)
    empty = [name for label, name in enumerate(names) if not counts[label]]
    if empty:
        shown = ", ".join(_shortened(empty, CLASSES_NAMED))
        yield Finding(
            WARNING,
            f"{split}: {len(empty)} of {len(names)} classes have no video: {shown}",
            "add videos of them, or lower MODEL.NUM_CLASSES and renumber",
        )
    most, least = counts.most_common()[0], counts.most_common()[-1]
    text = f"{split}: {least[1]} to {most[1]} videos a class"
    if most[1] > MAX_IMBALANCE * least[1]:
        yield Finding(
            WARNING,
            f"{text}, the most of {names[most[0]]}, the fewest of {names[least[0]]}",
            "judge the run by mean-class accuracy, or even the classes out: DATA.BALANCE, "
            "LOSS.CLASS_WEIGHTS",
        )
    elif not empty:
        yield Finding(OK, text)


def _shortened(lines: Sequence[str], number: int = NUM_SHOWN) -> list[str]:
    more = [f"... and {len(lines) - number} more"] if len(lines) > number else []
    return [*lines[:number], *more]
