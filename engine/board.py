"""What a run shows in TensorBoard: figures, texts and pictures."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from PIL import Image, ImageDraw
from tensorboardX import summary
from yacs.config import CfgNode

from config.loading import KEYS, all_leaves
from engine.event_files import EventFile
from engine.fonts import drawn_names, font_for

METRICS = ("val/best_{}", "val/{}", "test/{}")  # of the tab of hyper-parameters
_LEAST_SIDE = 64  # of a shown frame, pixels
_CAPTION = 16  # height of a line, pixels
_TEXT_SIZE = 12


class Board:
    """A new file of events in a folder, for one series of records.

    Args:
        folder: TensorBoard's folder; made if it is missing.

    Raises:
        UnwritableError: The file cannot be written; likewise the methods.
    """

    def __init__(self, folder: Path) -> None:
        self._events = EventFile(folder)

    def __enter__(self) -> "Board":
        """Return it, to be closed at the end."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the file."""
        self.close()

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Record figures by tag."""
        for tag, value in values.items():
            self._events.add(step, summary.scalar(tag, value))

    def picture(self, step: int, tag: str, pixels: np.ndarray) -> None:
        """Show a picture, uint8 (H, W, 3)."""
        self._events.add(step, summary.image(tag, pixels, dataformats="HWC"))

    def clips(self, clips: np.ndarray, names: Sequence[str]) -> None:
        """Show clips, uint8 (B, T, 3, H, W), as strips of frames, each below its class's name.

        Small frames are enlarged by a whole factor.
        """
        B, T, C, H, W = clips.shape
        factor = -(-_LEAST_SIDE // H)
        large = clips.repeat(factor, axis=3).repeat(factor, axis=4)
        strips = large.transpose(0, 3, 1, 4, 2).reshape(B, factor * H, T * factor * W, C)
        captions = [_caption(name, strips.shape[2]) for name in drawn_names(names)]
        rows = [part for pair in zip(captions, strips, strict=True) for part in pair]
        self.picture(0, "input/clips", np.concatenate(rows))

    def config(self, cfg: CfgNode) -> None:
        """Show the config as a text and among the hyper-parameters.

        Both begin with what differs from the defaults.
        """
        values = dict(all_leaves(cfg))
        changed = {key: value for key, value in values.items() if value != KEYS[key]}
        lines = [f"{key}: {value!r}" for key, value in changed.items()]
        text = "\n".join(["differs from the defaults:", *lines, "", "all:", cfg.dump()])
        self._events.add(0, summary.text("config", f"```\n{_writable(text)}\n```"))
        shown = {key: _plain(value) for key, value in {**changed, **values}.items()}
        figure = "map" if cfg.DATA.MULTI_LABEL else "top1"
        metrics = {metric.format(figure): 0.0 for metric in METRICS}
        experiment, start, _ = summary.hparams(shown, metrics)
        for part in (experiment, start):  # the end would have to be known
            self._events.add(0, part)

    def flush(self) -> None:
        """Bring what was recorded onto the disk."""
        self._events.flush()

    def close(self) -> None:
        """Close the file."""
        self._events.close()


def class_tag(label: int, name: str, num_classes: int) -> str:
    """Return a class's tag: its label, padded so that tags sort, and its name in plain letters."""
    return f"{label:0{len(str(num_classes - 1))}d}_" + re.sub(r"[^-\w.]", "_", name)


def _caption(name: str, width: int) -> np.ndarray:
    """Draw a line of black letters on white, uint8 (16, width, 3)."""
    image = Image.new("RGB", (width, _CAPTION), "white")
    ImageDraw.Draw(image).text((2, 1), name, "black", font_for(name, _TEXT_SIZE))
    return np.asarray(image)


def _plain(value: Any) -> Any:
    """Return a value that the tab of hyper-parameters takes."""
    return value if isinstance(value, bool | int | float) else _writable(str(value))


def _writable(text: str) -> str:
    return text.encode(errors="surrogateescape").decode(errors="backslashreplace")
