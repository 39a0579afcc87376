"""The checkpoints of a run: each written whole or not at all, superseded ones removed."""

import itertools
import json
import logging
import re
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from yacs.config import CfgNode

from engine.scores import chosen_by
from engine.whole_file import link_or_copy, whole_file
from models.weights.checkpoint_file import read_checkpoint

LAYOUTS = ("plain", "released")
_LAST = {"plain": r"last(\.\d+)?\.pth", "released": r"ckpt_e\d+(_part)?\.pth"}

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class BestRecord:
    """What the validations of a run have given so far.

    Attributes:
        top1: Best validation top-1, or what `metric` names, percent; -1 before the first.
        epoch: Number of epochs after which it was reached.
        validated: Number of epochs after which the last validation was.
        validated_on: Digest of the validation's list; see `datasets.annotations.list_digest`.
        top1s: Top-1 of each validation, percent, by number of epochs; those of files that were
            written before it was kept are missing.
        metric: Figure that chooses the best: ``top1``, or ``map`` where a video may have several
            classes.
    """

    top1: float = -1.0
    epoch: int = 0
    validated: int = 0
    validated_on: str = ""
    top1s: Mapping[int, float] = field(default_factory=dict)
    metric: str = "top1"


class CheckpointFolder:
    """The checkpoints of one run: the newest, the best, and those that are kept for good.

    The newest is written first, in the middle of an epoch or at its end. After the validation the
    best is another name of the same file, and best.json says what it reached. In either layout the
    checkpoints to keep are epoch_{N}.pth, N counted from 1, which nothing removes, and the averaged
    weights are swa.pth.

    Args:
        folder: Run folder.
        layout: ``plain`` names them last.pth, before it last.1.pth ..., and best.pth; ``released``
            ckpt_e{N}.pth and best_ckpt_e{N}.pth, N the 0-based epoch, as the TokShift release does,
            and ckpt_e{N}_part.pth in the middle of epoch N.
        keep_last: Number of newest checkpoints that stay, so that one is left if one is damaged.
        keep_every: Number of epochs from one checkpoint that is kept for good to the next; 0: none
            is.
        is_async: Whether they are written beside the training, from a copy in memory.
        metric: Figure that chooses the best; see `BestRecord`.
    """

    def __init__(
        self,
        folder: Path,
        layout: str = "plain",
        keep_last: int = 2,
        keep_every: int = 0,
        is_async: bool = False,
        metric: str = "top1",
    ) -> None:
        self.folder = folder
        self.metric = metric
        self.layout = layout
        self.keep_last = keep_last
        self.keep_every = keep_every
        self.newest_here: Path | None = None
        self._writer = ThreadPoolExecutor(max_workers=1) if is_async else None
        self._written: Future[None] | None = None

    def go_on_from(self, path: Path) -> None:
        """Take the checkpoint that the run goes on from for the newest; newer ones move aside.

        They are damaged, or the run goes back on purpose: then they would be taken for its own.
        """
        self.newest_here = path
        for newer in self.candidates():
            if newer.samefile(path) or newer.stat().st_mtime_ns < path.stat().st_mtime_ns:
                break
            aside = newer.with_name(f"{newer.name}.aside")
            newer.replace(aside)
            _log.warning("%s is newer than %s: it is now %s", newer, path.name, aside.name)

    def save(self, content: dict[str, Any]) -> None:
        """Write the newest checkpoint, then remove those that it replaces.

        Args:
            content: Checkpoint, as `engine.checkpoints.build_checkpoint` returns it.
        """
        self.wait()
        if self._writer:
            self._written = self._writer.submit(self._save, _copied(content))
        else:
            self._save(content)

    def wait(self) -> None:
        """Wait until the checkpoint that is being written is whole; raise what went wrong."""
        written, self._written = self._written, None
        if written:
            written.result()

    def keep_best(self, top1: float, epoch: int, validated_on: str = "") -> bool:
        """Take the validation after so many epochs; the newest checkpoint is the best if it leads.

        Args:
            top1: Top-1 of the validation, percent.
            epoch: Number of finished epochs.
            validated_on: Digest of the validation's list; see `BestRecord`.

        Returns:
            Whether it is the best.
        """
        self.wait()
        record = self.record()
        is_best = top1 > record.top1 or not self.has_best()
        if is_best:
            best = self.folder / ("best.pth" if self._is_plain else f"best_ckpt_e{epoch - 1}.pth")
            assert self.newest_here is not None
            link_or_copy(self.newest_here, best)
            for old in self._found_best():
                if old != best:
                    old.unlink()
        reached = (top1, epoch) if is_best else (record.top1, record.epoch)
        top1s = {before: value for before, value in record.top1s.items() if before < epoch}
        top1s[epoch] = top1
        new = BestRecord(*reached, epoch, validated_on, top1s, self.metric)
        with whole_file(self._record) as file:  # last: without it the epoch is validated once more
            file.write(json.dumps(asdict(new)).encode() + b"\n")
        return is_best

    def record(self) -> BestRecord:
        """Return what the validations gave; nothing, where there was none.

        Raises:
            ValueError: The file is damaged.
        """
        try:
            record = BestRecord(**json.loads(self._record.read_text(encoding="utf-8")))
            return replace(record, top1s={int(e): value for e, value in record.top1s.items()})
        except FileNotFoundError:
            return BestRecord()
        except (AttributeError, ValueError, TypeError) as error:
            raise ValueError(
                f"{self._record} is damaged ({error}); without it --resume validates the last "
                "epoch again: delete it"
            ) from error

    def save_average(self, content: dict[str, Any]) -> None:
        """Write the checkpoint of the averaged weights."""
        write_checkpoint(self.average, content)

    @property
    def average(self) -> Path:
        """The file of the averaged weights."""
        return self.folder / "swa.pth"

    def has_best(self) -> bool:
        """Whether there is a best checkpoint."""
        return bool(self._found_best())

    def best(self) -> Path:
        """Return the best checkpoint's file.

        Raises:
            ValueError: There is no such checkpoint.
        """
        found = self._found_best()
        if not found:
            raise ValueError(
                f"no best checkpoint in {self.folder}: no epoch was trained and validated there"
            )
        return max(found, key=lambda path: (len(path.name), path.name))  # e10 is after e9

    def candidates(self) -> list[Path]:
        """Return the checkpoints that a run can go on from, the newest first, of either layout."""
        found = [sorted(self._found_last(layout), key=_rank) for layout in LAYOUTS]
        found.sort(key=lambda paths: paths[0].stat().st_mtime if paths else 0.0, reverse=True)
        return [path for paths in found for path in paths]

    def newest(self) -> Path:
        """Return the checkpoint written last, of either layout; it may be damaged.

        Raises:
            ValueError: There is no such checkpoint.
        """
        found = self.candidates()
        if not found:
            raise ValueError(
                f"--resume without a file found no checkpoint in the run folder {self.folder}; "
                "name one with --resume FILE, or start afresh without --resume"
            )
        return found[0]

    def newest_whole(self) -> Path:
        """Return the newest checkpoint that can be read; each damaged one is named.

        Raises:
            ValueError: There is no checkpoint, or none of them can be read.
        """
        self.newest()
        for path in self.candidates():
            try:
                read_checkpoint(path)
            except ValueError as error:
                _log.warning("passed over: %s", error)
            else:
                return path
        raise ValueError(
            f"no checkpoint in {self.folder} can be read; name another with --resume FILE, or "
            "start afresh without --resume: the folder is then moved aside"
        )

    def _save(self, content: dict[str, Any]) -> None:
        epoch, is_part = content["epoch"], bool(content.get("position", {}).get("offset"))
        path = self.folder / self._name(epoch, is_part)
        if self.keep_every and not is_part and epoch % self.keep_every == 0:
            # before last: a run that is cut in between does the epoch again, and so keeps it
            kept = self.folder / f"epoch_{epoch}.pth"
            write_checkpoint(kept, content)
            self._make_room()
            link_or_copy(kept, path)
        else:
            write_checkpoint(path, content, before_it_is_named=self._make_room)
        for old in sorted(self._found_last(self.layout), key=_rank)[self.keep_last :]:
            old.unlink()
        self.newest_here = path

    def _name(self, epoch: int, is_part: bool) -> str:
        """Return the newest checkpoint's name, after so many epochs or in the one after them."""
        if self._is_plain:
            return "last.pth"
        return f"ckpt_e{epoch}_part.pth" if is_part else f"ckpt_e{epoch - 1}.pth"

    def _make_room(self) -> None:
        """Give last.pth a second name, the one before it a third, and so on."""
        if not self._is_plain:
            return
        names = ["last.pth", *(f"last.{age}.pth" for age in range(1, self.keep_last))]
        for newer, older in reversed([*itertools.pairwise(names)]):
            if (self.folder / newer).exists():
                link_or_copy(self.folder / newer, self.folder / older)

    def _found_last(self, layout: str) -> list[Path]:
        return [path for path in _files(self.folder) if re.fullmatch(_LAST[layout], path.name)]

    def _found_best(self) -> list[Path]:
        pattern = r"best\.pth" if self._is_plain else r"best_ckpt_e\d+\.pth"
        return [path for path in _files(self.folder) if re.fullmatch(pattern, path.name)]

    @property
    def _is_plain(self) -> bool:
        return self.layout == "plain"

    @property
    def _record(self) -> Path:
        return self.folder / "best.json"


def build_checkpoint_folder(cfg: CfgNode) -> CheckpointFolder:
    """Build the checkpoints of a config's run folder."""
    train = cfg.TRAIN
    return CheckpointFolder(
        Path(cfg.OUTPUT_DIR),
        train.CHECKPOINT_LAYOUT,
        train.KEEP_LAST,
        train.KEEP_EVERY,
        train.CHECKPOINT_ASYNC,
        chosen_by(cfg.DATA.MULTI_LABEL),
    )


def write_checkpoint(
    path: Path, content: dict[str, Any], before_it_is_named: Callable[[], None] | None = None
) -> None:
    """Write a checkpoint; a crash leaves the one before.

    Args:
        path: Final name.
        content: Tensors and plain Python values only, so that ``weights_only`` loading works.
        before_it_is_named: Function that is called when the bytes lie on the disk.
    """
    with whole_file(path, before_it_is_named) as file:
        torch.save(content, file)


def _files(folder: Path) -> list[Path]:
    return [*folder.iterdir()] if folder.is_dir() else []


def _rank(path: Path) -> tuple[int, ...]:
    """Return a key that sorts the checkpoints of one layout, the newest first."""
    name = path.name
    if name.startswith("last"):
        return (int(name.split(".")[1]) if name.count(".") == 2 else 0,)
    epoch = int(re.findall(r"\d+", name)[0])
    return -epoch, int(name.endswith("_part.pth"))  # the middle of an epoch is before its end


def _copied(tree: Any) -> Any:
    """Copy nested dicts, lists and tuples with their tensors, to the memory of the CPU."""
    if isinstance(tree, Tensor):
        return tree.detach().to("cpu", copy=True)
    if isinstance(tree, Mapping):
        return {key: _copied(value) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return type(tree)(_copied(value) for value in tree)
    return tree
