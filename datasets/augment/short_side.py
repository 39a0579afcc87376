"""Frames to what the model sees; a clip is one uint8 tensor (T, 3, H, W) and is drawn for as one.

The pixel arithmetic is torchvision's on uint8 tensors; the release's is Pillow's on images. The
tests state how far the two lie apart.
"""

from collections.abc import Callable, Sequence

import torch.nn.functional as F
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as TF

from datasets.sampling import Rng
from ops.pixels import normalize as normalize  # one of the transforms; models need it, too

Range = Sequence[float]
Change = Callable[[Tensor, float], Tensor]
Box = tuple[int, int]  # top, left


def resized_size(height: int, width: int, short_side: int) -> tuple[int, int]:
    """Return (height, width) with the given short side, the other floored as the release does.

    The order of its float operations can cost the long side a pixel even when nothing changes.
    """
    if width > height:
        return short_side, int(1.0 * width / height * short_side)
    return int(1.0 * height / width * short_side), short_side


def resize_short_side(frames: Tensor, short_side: int) -> Tensor:
    """Resize uint8 frames (T, 3, H, W), bicubic with antialias, to a short side in pixels."""
    size = resized_size(frames.shape[-2], frames.shape[-1], short_side)
    return TF.resize(frames, list(size), InterpolationMode.BICUBIC, antialias=True)


def crop(frames: Tensor, box: Box, size: int) -> Tensor:
    """Cut a square of side size out of (..., H, W) frames; what lies outside is black."""
    top, left = box
    cut = frames[..., top : top + size, left : left + size]
    missing_rows, missing_columns = size - cut.shape[-2], size - cut.shape[-1]
    return (
        F.pad(cut, (0, missing_columns, 0, missing_rows))
        if missing_rows or missing_columns
        else cut
    )


def crop_boxes(height: int, width: int, size: int, num_crops: int) -> list[Box]:
    """Return the test crops as (top, left).

    Args:
        height: Height of the resized frame, pixels.
        width: Width of the resized frame, pixels.
        size: Side of the crop, pixels.
        num_crops: Number of crops. 3: centre, left, right; 5: centre and the four corners; 1:
            centre.
    """
    spare_rows, spare_columns = max(height - size, 0), max(width - size, 0)
    middle = spare_rows // 2
    boxes = [(middle, spare_columns // 2)]
    if num_crops == 3:
        boxes += [(middle, 0), (middle, spare_columns)]
    if num_crops == 5:
        boxes += [(0, 0), (0, spare_columns), (spare_rows, 0), (spare_rows, spare_columns)]
    return boxes


class TrainTransform:
    """The release's training augmentation: mirror, resize, crop, four colour changes.

    One set of draws serves the whole clip, in the release's order.

    Args:
        image_size: Side of the crop, pixels.
        short_side_range: Range of the short side before the crop, pixels, [low, high).
        flip: Whether half of the clips are mirrored.
        jitter_one_in: Inverse of the share of clips that each colour change hits; 0 for none.
        brightness: Range of the factors, [low, high).
        saturation: Range of the factors, [low, high).
        gamma: Range of the exponents, [low, high).
        hue: Range of the turns of the hue circle, [low, high).
    """

    def __init__(
        self,
        image_size: int,
        short_side_range: Sequence[int],
        flip: bool = True,
        jitter_one_in: int = 10,
        brightness: Range = (0.5, 2.0),
        saturation: Range = (0.5, 3.0),
        gamma: Range = (0.8, 1.2),
        hue: Range = (-0.5, 0.5),
    ) -> None:
        self.image_size = image_size
        self.short_side_range = short_side_range
        self.flip = flip
        self.colours = ColourChanges(jitter_one_in, brightness, saturation, gamma, hue)

    def augment(self, frames: Tensor, rng: Rng, may_mirror: bool = True) -> tuple[Tensor, bool]:
        """Augment uint8 frames (T, 3, H, W) and tell whether they were mirrored.

        The draws are the same if they may not be.
        """
        is_mirrored = self.flip and bool(rng.integers(2) == 0) and may_mirror
        if is_mirrored:
            frames = frames.flip(-1)
        low, high = self.short_side_range
        frames = resize_short_side(frames, int(rng.integers(low, high)))
        frames = crop(frames, self._random_box(frames, rng), self.image_size)
        return self.colours(frames, rng), is_mirrored

    def _random_box(self, frames: Tensor, rng: Rng) -> Box:
        """Draw (top, left); the largest offset is never drawn, as released."""
        spare = [side - self.image_size for side in frames.shape[-2:]]
        top, left = (int(rng.integers(0, room)) if room > 0 else 0 for room in spare)
        return top, left


class ColourChanges:
    """Brightness, saturation, gamma and hue of a clip, each changed at random and seldom.

    Args:
        jitter_one_in: Inverse of the share of clips that each change hits; 0 for none.
        brightness: Range of the factors, [low, high).
        saturation: Range of the factors, [low, high).
        gamma: Range of the exponents, [low, high).
        hue: Range of the turns of the hue circle, [low, high).
        functions: Functions that make the changes, in this order; None: the first version's.
    """

    def __init__(
        self,
        jitter_one_in: int,
        brightness: Range,
        saturation: Range,
        gamma: Range,
        hue: Range,
        functions: Sequence[Change] | None = None,
    ) -> None:
        self.jitter_one_in = jitter_one_in
        ranges = (brightness, saturation, gamma, hue)
        self.changes = list(zip(functions or _changes(), ranges, strict=True))

    def __call__(self, frames: Tensor, rng: Rng) -> Tensor:
        """Change uint8 frames (T, 3, H, W)."""
        for change, (least, most) in self.changes:
            if self.jitter_one_in and rng.integers(self.jitter_one_in) == 0:
                frames = change(frames, rng.uniform(least, most))
        return frames


def _turn_hue(frames: Tensor, turn: float) -> Tensor:
    """Turn the hue circle in the release's 255 steps."""
    return TF.adjust_hue(frames, int(turn * 255) / 255)


def _changes() -> tuple[Change, ...]:
    return TF.adjust_brightness, TF.adjust_saturation, TF.adjust_gamma, _turn_hue
