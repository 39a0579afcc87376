"""Mixup and CutMix: two clips of a batch become one, and so do their labels."""

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from ops.moving import moved

BOXES = ("space", "paddle")
_STREAM = 1  # numpy pads a seed with zeros: without it, rank 0's draws were those of a sample

Box = tuple[slice, slice, slice]


@dataclass(frozen=True)
class Mix:
    """How the clips of one batch are mixed with each other.

    Attributes:
        order: Clip i is mixed with clip order[i]; a permutation, (B,), int64.
        share: Weight of clip i's own label; the other clip's label has the rest.
        box: Frames, rows and columns that come from the other clip (CutMix); None: every pixel is
            the weighted mean of the two (Mixup).
    """

    order: Tensor
    share: float
    box: Box | None = None

    def on(self, device: torch.device) -> "Mix":
        """Return the same mix with its permutation on a device, where it is read several times."""
        return replace(self, order=moved(self.order, device))

    def apply(self, clips: Tensor) -> Tensor:
        """Return new, mixed clips of the same shape, (B, T, 3, H, W)."""
        # Partners come from the batch itself, so that mixing decodes no further videos.
        others = clips[self.order.to(clips.device)]  # (B, T, 3, H, W)
        if self.box is None:
            return self.share * clips + (1 - self.share) * others
        frames, rows, columns = self.box
        inside = (slice(None), frames, slice(None), rows, columns)
        # Into a copy: the caller's batch stays as it is, as it does under Mixup.
        mixed = clips.clone()
        mixed[inside] = others[inside]
        return mixed

    def other_labels(self, labels: Tensor) -> Tensor:
        """Return the labels of the clips that were mixed in, (B,)."""
        return labels[self.order.to(labels.device)]


class Mixer:
    """Draws a mix for each batch; VideoMix of PaddleVideo is alphas 0.2 and 1.0, half of each.

    Args:
        mixup_alpha: Parameter of the beta distribution that draws the shares under Mixup
            (arXiv:1710.09412); 0: no Mixup.
        cutmix_alpha: The same parameter under CutMix (arXiv:1905.04899); 0: no CutMix.
        prob: Share of the batches that are mixed at all.
        cutmix_share: Share of CutMix among the mixed batches, where both alphas are above 0.
        box: ``space``: an H x W box through all frames; ``paddle``: T x H, through all columns,
            and the label's share as if it were H x W, as PaddleVideo has it.
    """

    def __init__(
        self,
        mixup_alpha: float = 0.0,
        cutmix_alpha: float = 0.0,
        prob: float = 1.0,
        cutmix_share: float = 0.5,
        box: str = "space",
    ) -> None:
        if box not in BOXES:
            raise ValueError(f"the box of CutMix is one of {BOXES}, got {box!r}")
        self.mixup_alpha = mixup_alpha
        self.cutmix_alpha = cutmix_alpha
        self.prob = prob
        self.cutmix_share = cutmix_share
        self.box = box

    def draw(self, shape: torch.Size, rng: np.random.Generator) -> Mix | None:
        """Draw how a batch of clips (B, T, 3, H, W) is mixed; None if it is not mixed at all.

        Where there is nothing to choose, nothing is drawn. Otherwise the draws come in
        PaddleVideo's order: which of the two, the permutation, the share, the box.
        """
        if not (self.mixup_alpha or self.cutmix_alpha):
            return None
        # No draw at 1: PaddleVideo mixes every batch, and its golden batches are met draw by draw.
        if self.prob < 1 and rng.random() >= self.prob:
            return None
        cuts = not self.mixup_alpha
        if self.mixup_alpha and self.cutmix_alpha:
            cuts = rng.random() < self.cutmix_share
        order = torch.from_numpy(rng.permutation(shape[0]))
        alpha = self.cutmix_alpha if cuts else self.mixup_alpha
        share = float(rng.beta(alpha, alpha))
        return self._cut(order, share, shape, rng) if cuts else Mix(order, share)

    def _cut(self, order: Tensor, share: float, shape: torch.Size, rng: np.random.Generator) -> Mix:
        _, T, _, H, W = shape
        # Each side has the root of the area's share. The label's share is then counted from the box
        # that is left: one drawn near an edge is cut off there, and is smaller than the draw said.
        side = math.sqrt(1 - share)
        if self.box == "paddle":
            frames, rows = _spans((T, H), side, rng)
            # PaddleVideo takes axes 2 and 3 of (B, C, T, H, W) for width and height. One frame of 8
            # at 224 pixels then counts for 0.45 % of the label, where it is 12.5 % of the clip.
            area = (frames.stop - frames.start) * (rows.stop - rows.start)
            return Mix(order, 1 - area / (H * W), (frames, rows, slice(0, W)))
        columns, rows = _spans((W, H), side, rng)
        area = (columns.stop - columns.start) * (rows.stop - rows.start)
        return Mix(order, 1 - area / (H * W), (slice(0, T), rows, columns))


def batch_rng(seed: int, epoch: int, iteration: int, rank: int) -> np.random.Generator:
    """Return the generator of one batch of one process, the same whenever it is asked for."""
    # Nothing is carried from batch to batch: a run that resumes in the middle of an epoch draws
    # what it would have drawn without the break, and no checkpoint holds a generator.
    return np.random.default_rng((seed, epoch, iteration, rank, _STREAM))


def _spans(sizes: tuple[int, int], side: float, rng: np.random.Generator) -> list[slice]:
    """Draw a place in each size and return the span around it, cut off at the ends."""
    lengths = [int(size * side) for size in sizes]
    places = [int(rng.integers(size)) for size in sizes]
    return [
        # An odd length loses a pixel to the two halves, as in PaddleVideo.
        slice(max(place - length // 2, 0), min(place + length // 2, size))
        for size, length, place in zip(sizes, lengths, places, strict=True)
    ]
