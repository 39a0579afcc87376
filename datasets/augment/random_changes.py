"""Augmentation of a cropped clip that modern fine-tuning adds: RandAugment and random erasing.

Torchvision draws from torch's global generator. It is seeded here from the clip's own draws and
put back afterwards, so a clip depends on its seed and key alone, and nothing else on the clip.
"""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor
from torchvision.transforms import InterpolationMode, v2

from datasets.sampling import Rng

NUM_MAGNITUDES = 31  # torchvision's scale of RandAugment: 0 to 30


class ClipTransform(Protocol):
    """An augmentation that makes a training clip of frames."""

    def augment(self, frames: Tensor, rng: Rng, may_mirror: bool = True) -> tuple[Tensor, bool]:
        """Augment uint8 frames (T, 3, H, W) and tell whether they were mirrored."""


class RandomChanges:
    """A transform, then RandAugment (arXiv:1909.13719), then random erasing (arXiv:1708.04896).

    The frames of a clip get the same operations with the same strength, and lose the same box.

    Args:
        first: Transform that crops and mirrors.
        num_ops: Number of RandAugment's operations on each clip; 0 for none.
        magnitude: Strength of these operations, 0 to 30.
        erasing_prob: Share of the clips that lose a box of 2 to 33 % of the frame.
        fill: Colour of the box and of what an operation moves in, in units of 0..1.
    """

    def __init__(
        self,
        first: ClipTransform,
        num_ops: int,
        magnitude: int,
        erasing_prob: float,
        fill: Sequence[float],
    ) -> None:
        levels = [round(255 * value) for value in fill]
        self.first = first
        self.changes: list[v2.Transform] = []
        if num_ops:
            self.changes.append(
                v2.RandAugment(
                    num_ops,
                    magnitude,
                    NUM_MAGNITUDES,
                    interpolation=InterpolationMode.BILINEAR,
                    fill=levels,
                )
            )
        if erasing_prob:
            self.changes.append(v2.RandomErasing(erasing_prob, value=levels))

    def augment(self, frames: Tensor, rng: Rng, may_mirror: bool = True) -> tuple[Tensor, bool]:
        """Augment uint8 frames (T, 3, H, W) and tell whether they were mirrored."""
        clip, is_mirrored = self.first.augment(frames, rng, may_mirror=may_mirror)
        with torch.random.fork_rng(devices=[]):
            # not torch.manual_seed, which would seed the GPU's generator too
            torch.default_generator.manual_seed(int(rng.integers(2**63)))
            for change in self.changes:
                clip = change(clip)
        return clip, is_mirrored
