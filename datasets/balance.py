"""Class balance: which videos an epoch draws, so that rare classes come more often."""

from collections.abc import Sequence

import numpy as np
import torch
from yacs.config import CfgNode

from config.values import counted
from datasets.annotations import VideoRecord


class ClassBalance:
    """Draws the videos of an epoch, as many as the list has, with more of the rare classes.

    A class of n videos has a share of the draws in proportion to ``n ** (1 - temperature)``: under
    0 the classes are drawn as they are, under 1 equally often. The number of a class's draws is its
    share rounded down or up, and they are dealt evenly: the videos of a class are drawn equally
    often but for one time. So nothing is left to chance but the order, what is rounded, and which
    videos are drawn once more.

    Args:
        labels: Class of each video.
        temperature: Strength of the balancing, 0 to 1; the key `DATA.BALANCE`.
    """

    def __init__(self, labels: Sequence[int], temperature: float) -> None:
        self.classes, class_of, self.counts = np.unique(
            labels, return_inverse=True, return_counts=True
        )
        self.temperature = temperature
        self._videos = np.split(class_of.argsort(kind="stable"), self.counts.cumsum()[:-1])

    @property
    def shares(self) -> np.ndarray:
        """Share of the draws of each class that has videos; they add up to 1."""
        weights = self.counts.astype(np.float64) ** (1 - self.temperature)
        return weights / weights.sum()

    def order(self, generator: torch.Generator) -> list[int]:
        """Draw the videos of an epoch, each by its place in the list."""
        num_draws = int(self.counts.sum())
        # one draw for all: each class is rounded up as often as its fraction says, and the sum fits
        offset = float(torch.rand((), dtype=torch.float64, generator=generator))
        ends = np.floor(num_draws * self.shares.cumsum() + offset).astype(int)
        ends[-1] = num_draws
        drawn = [
            _dealt(videos, number, generator)
            for videos, number in zip(self._videos, np.diff(ends, prepend=0), strict=True)
        ]
        shuffled = torch.randperm(num_draws, generator=generator).numpy()
        return np.concatenate(drawn)[shuffled].tolist()

    def describe(self, names: Sequence[str]) -> str:
        """Say how often the rarest and the most frequent class are drawn."""
        num_draws = int(self.counts.sum())
        said = [
            f"{num_draws * self.shares[place]:.1f} are of {names[self.classes[place]]!r}, which "
            f"has {counted(int(self.counts[place]), 'video')}"
            for place in dict.fromkeys((int(self.counts.argmin()), int(self.counts.argmax())))
        ]
        text = f"DATA.BALANCE {self.temperature:g}: of {num_draws} clips drawn an epoch "
        return text + ", ".join(said)


def build_balance(cfg: CfgNode, records: Sequence[VideoRecord]) -> ClassBalance | None:
    """Build what DATA.BALANCE asks for; None where every video is drawn once."""
    if not cfg.DATA.BALANCE:
        return None
    return ClassBalance([record.label for record in records], cfg.DATA.BALANCE)


def clip_shares(
    labels: Sequence[int],
    num_classes: int,
    temperature: float = 0.0,
    mirrored_labels: Sequence[int | None] | None = None,
) -> np.ndarray:
    """Return the share of each class among the training clips, (K,), as they are drawn.

    Args:
        labels: Class of each video.
        num_classes: Number of classes, K.
        temperature: Strength of the balancing; see `ClassBalance`.
        mirrored_labels: Class of each class's mirror image, which half of its clips belong to.
            None: mirrored clips keep their class, and so do those of a class that has None.
    """
    balance, shares = ClassBalance(labels, temperature), np.zeros(num_classes)
    for label, share in zip(balance.classes.tolist(), balance.shares, strict=True):
        mirrored = mirrored_labels[label] if mirrored_labels else label
        shares[label] += share / 2
        shares[label if mirrored is None else mirrored] += share / 2
    return shares


def _dealt(videos: np.ndarray, number: int, generator: torch.Generator) -> np.ndarray:
    """Return so many draws of some videos: each as often as the others, or once more."""
    again = torch.randperm(len(videos), generator=generator).numpy()[: number % len(videos)]
    return np.concatenate([np.tile(videos, number // len(videos)), videos[again]])
