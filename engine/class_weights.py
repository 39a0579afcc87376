"""Which classes count more in a training: drawn more often, or by the weight of their loss."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from yacs.config import CfgNode

from config.text_files import read_text
from config.values import shown
from datasets.annotations import VideoRecord
from datasets.balance import ClassBalance, build_balance, clip_shares

FREQUENCY = "frequency"
MAX_BYTES = 1 << 26  # a million numbers


@dataclass(frozen=True)
class ClassEmphasis:
    """Which classes count more in this run, as its start reports it.

    Attributes:
        balance: Class balance that draws the videos; None: each is drawn once.
        weights: Factors of the loss by class, (K,), on the device; None: all count alike.
        weights_kind: Source of the weights, LOSS.CLASS_WEIGHTS.
    """

    balance: ClassBalance | None = None
    weights: Tensor | None = None
    weights_kind: str = ""

    def lines(self, names: Sequence[str]) -> list[str]:
        """Return a line for each emphasis that there is; names are the classes' by label."""
        lines = [self.balance.describe(names)] if self.balance else []
        if self.weights is not None:
            lines.append(describe_weights(self.weights, self.weights_kind, names))
        return lines

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain values, for the records."""
        return {
            "class_balance": self.balance.temperature if self.balance else 0.0,
            "class_weights": [] if self.weights is None else self.weights.tolist(),
        }


def build_emphasis(
    cfg: CfgNode,
    records: Sequence[VideoRecord],
    mirrored_labels: Sequence[int | None],
    device: torch.device,
) -> ClassEmphasis:
    """Build what DATA.BALANCE and LOSS.CLASS_WEIGHTS ask for.

    Args:
        cfg: Config of the run.
        records: Training videos.
        mirrored_labels: Class of each class's mirror image, see `ClipMaker`.
        device: Device of the process.

    Raises:
        ValueError: See `build_class_weights`.
    """
    weights = build_class_weights(cfg, [record.label for record in records], mirrored_labels)
    return ClassEmphasis(
        build_balance(cfg, records),
        None if weights is None else weights.to(device),
        cfg.LOSS.CLASS_WEIGHTS,
    )


def build_class_weights(
    cfg: CfgNode, labels: Sequence[int], mirrored_labels: Sequence[int | None]
) -> Tensor | None:
    """Return the weight of each class, (K,), float32; None where all clips count alike.

    The mean over the training clips is 1, so that a learning rate keeps its meaning.

    Args:
        cfg: Config of the run.
        labels: Class of each training video.
        mirrored_labels: Class of each class's mirror image, see `ClipMaker`.

    Raises:
        ValueError: The file cannot be read, does not hold a number of 0 or more for each class, or
            gives no weight to any class that has videos.
    """
    path, num_classes = cfg.LOSS.CLASS_WEIGHTS, cfg.MODEL.NUM_CLASSES
    if not path:
        return None
    shares = clip_shares(labels, num_classes, cfg.DATA.BALANCE, mirrored_labels)
    if path == FREQUENCY:
        weights = np.divide(1.0, shares, out=np.zeros(num_classes), where=shares > 0)
    else:
        weights = np.array(read_weights(path, num_classes))
    mean = float(shares @ weights)
    if not mean:
        raise ValueError(f"{path}: every class that has training videos has the weight 0")
    return torch.from_numpy(weights / mean).float()


def read_weights(path: str, num_classes: int) -> list[float]:
    """Read a number for each class, one a line, line number = label - 0-based.

    Raises:
        ValueError: The file cannot be read or does not hold such numbers.
    """
    text = read_text(path, "LOSS.CLASS_WEIGHTS", max_bytes=MAX_BYTES)
    lines = [(number, line.strip()) for number, line in enumerate(text.split("\n"), start=1)]
    weights = [_weight(path, number, line) for number, line in lines if line]
    if len(weights) != num_classes:
        raise ValueError(
            f"{path}: {len(weights)} class weights, MODEL.NUM_CLASSES is {num_classes}; "
            f"LOSS.CLASS_WEIGHTS takes a file with a number a line, or {FREQUENCY!r}"
        )
    return weights


def describe_weights(weights: Tensor, kind: str, names: Sequence[str]) -> str:
    """Return the range of the weights above 0 in words."""
    least = int(weights.where(weights > 0, float("inf")).argmin())
    most = int(weights.argmax())
    return (
        f"LOSS.CLASS_WEIGHTS {kind}: a clip counts from {weights[least]:.3g} times "
        f"({names[least]!r}) to {weights[most]:.3g} times ({names[most]!r}), 1 on average"
    )


def _weight(path: str, number: int, line: str) -> float:
    try:
        weight = float(line)
    except ValueError:
        weight = -1.0
    if not 0 <= weight < float("inf"):
        raise ValueError(
            f"{path}, line {number}: the class weight {shown(line)} is no number of 0 or more"
        )
    return weight
