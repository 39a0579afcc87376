"""The checkpoints of a run: each written whole or not at all, superseded ones removed."""

from pathlib import Path
from typing import Any

import torch

from engine.whole_file import whole_file


class CheckpointFolder:
    """The checkpoints of one run: the last epoch's and the best, older ones removed.

    In either layout the checkpoints to keep are epoch_{N}.pth, N counted from 1, which nothing
    removes, and the averaged weights are swa.pth.

    Args:
        folder: Run folder.
        layout: ``plain`` names them last.pth and best.pth; ``released`` ckpt_e{N}.pth and
            best_ckpt_e{N}.pth, N the 0-based epoch, as the TokShift release does.
        keep_every: Keep the checkpoint of every so many epochs; 0 for none.
    """

    LAYOUTS = ("plain", "released")
    _NAMES = ("last.pth", "best.pth", "ckpt_e*.pth", "best_ckpt_e*.pth")

    def __init__(self, folder: Path, layout: str = "plain", keep_every: int = 0) -> None:
        self.folder = folder
        self.layout = layout
        self.keep_every = keep_every

    def save(self, content: dict[str, Any], epoch: int, is_best: bool) -> None:
        """Write the checkpoint of a 0-based epoch, then remove those that it replaces."""
        # before last: a run that is cut in between does the epoch again, and so keeps it
        if self.keep_every and (epoch + 1) % self.keep_every == 0:
            write_checkpoint(self.folder / f"epoch_{epoch + 1}.pth", content)
        kinds = ("best", "last") if is_best else ("last",)  # last counts this epoch as best already
        for kind in kinds:
            path = self.path(kind, epoch)
            write_checkpoint(path, content)
            for old in self.folder.glob(self._pattern(kind)):
                if old != path:
                    old.unlink()

    def save_average(self, content: dict[str, Any]) -> None:
        """Write the checkpoint of the averaged weights."""
        write_checkpoint(self.average, content)

    @property
    def average(self) -> Path:
        """The file of the averaged weights."""
        return self.folder / "swa.pth"

    def path(self, kind: str, epoch: int) -> Path:
        """Return the file of kind ``last`` or ``best`` that holds a 0-based epoch."""
        return self.folder / self._pattern(kind).replace("*", str(epoch))

    def has_best(self) -> bool:
        """Whether there is a best checkpoint."""
        return any(self.folder.glob(self._pattern("best")))

    def best(self) -> Path:
        """Return the best checkpoint's file.

        Raises:
            ValueError: There is none.
        """
        found = list(self.folder.glob(self._pattern("best")))
        if not found:
            raise ValueError(f"no best checkpoint in {self.folder}")
        return max(found, key=lambda path: (len(path.name), path.name))  # e10 is after e9

    def newest(self) -> Path:
        """Return the checkpoint written last, of either layout.

        Raises:
            ValueError: There is none.
        """
        found = [path for name in self._NAMES[::2] for path in self.folder.glob(name)]
        if not found:
            raise ValueError(
                f"--resume without a file found no checkpoint in the run folder {self.folder}; "
                "name one with --resume FILE, or start afresh without --resume"
            )
        return max(found, key=lambda path: path.stat().st_mtime)

    def _pattern(self, kind: str) -> str:
        if self.layout == "plain":
            return f"{kind}.pth"
        return "ckpt_e*.pth" if kind == "last" else "best_ckpt_e*.pth"


def write_checkpoint(path: Path, content: dict[str, Any]) -> None:
    """Write a checkpoint; a crash leaves the one before.

    Args:
        path: Final name.
        content: Tensors and plain Python values only, so that ``weights_only`` loading works.
    """
    with whole_file(path) as file:
        torch.save(content, file)
