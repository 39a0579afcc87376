"""Resize and crops of PaddleVideo's transformers: bilinear without antialias, at random or at rest.

PaddleVideo resizes normalised float frames. `jitter_scale` does that too; on uint8 frames, as our
loaders have them, it rounds to whole grey levels, half a level off at most.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from datasets.augment.short_side import Box, ColourChanges, crop
from datasets.sampling import Rng


def jitter_scale(frames: Tensor, short_side: int, rounds_side: bool = False) -> Tensor:
    """Resize frames to a short side in pixels, the other side in proportion.

    Args:
        frames: (T, 3, H, W), uint8 or float.
        short_side: Short side of the result; frames that have it already are kept as they are.
        rounds_side: True rounds the other side, as MMAction2 does; False floors it.

    Returns:
        Frames of the same type.
    """
    height, width = frames.shape[-2:]
    if min(height, width) == short_side:
        return frames
    offset = 0.5 if rounds_side else 0.0
    size = (
        (math.floor(height / width * short_side + offset), short_side)
        if width < height
        else (short_side, math.floor(width / height * short_side + offset))
    )
    resized = F.interpolate(  # of channels-last frames, as readers give them, in half the time
        frames.float(), size, mode="bilinear", align_corners=False, antialias=False
    )
    return resized if frames.is_floating_point() else resized.round().to(torch.uint8)


def uniform_boxes(height: int, width: int, size: int, num_crops: int) -> list[Box]:
    """Return the boxes of UniformCrop along the longer side as (top, left), the centre first.

    Args:
        height: Height of the resized frame, pixels; one of the two is the crop's for three crops.
        width: Width of the resized frame, pixels.
        size: Side of the crop, pixels.
        num_crops: 3: centre, left, right, or centre, top, bottom; the release ends with the centre.
            The far one is a pixel short of the edge where the spare pixels are odd in number. 1:
            the centre as the release's CenterCrop rounds it, to the nearest, which for some sizes
            is a pixel further.
    """
    if num_crops == 1:
        return [(round((height - size) / 2), round((width - size) / 2))]
    step_down, step_right = (height - size) // 2, (width - size) // 2
    return [(step_down, step_right), (0, 0), (2 * step_down, 2 * step_right)]


def multi_centre_boxes(height: int, width: int, size: int, num_crops: int) -> list[Box]:
    """Return the boxes of MultiCenterCrop as (top, left); all lie on the middle rows.

    Args:
        height: Height of the resized frame, pixels.
        width: Width of the resized frame, pixels.
        size: Side of the crop, pixels.
        num_crops: Number of crops. 3: centre, left, right; 1: centre.
    """
    top, spare_columns = (height - size) // 2, width - size
    return [(top, left) for left in (spare_columns // 2, 0, spare_columns)[:num_crops]]


class ScaleJitterTransform:
    """The training augmentation of PaddleVideo's transformers: colours, resize, crop, mirror.

    One set of draws serves the whole clip: of the colours, the short side, the column, the row,
    the mirror. TokenShift mirrors first there, which comes to the same.

    Args:
        image_size: Side of the crop, pixels.
        short_side_range: Range of the short side before the crop, pixels: a uniform draw from low
            to high, rounded, so that both ends can come, each half as often as those between.
        flip: Whether half of the clips are mirrored.
        colours: Changes of colour; None for none.
    """

    def __init__(
        self,
        image_size: int,
        short_side_range: Sequence[int],
        flip: bool = True,
        colours: ColourChanges | None = None,
    ) -> None:
        self.image_size = image_size
        self.short_side_range = short_side_range
        self.flip = flip
        self.colours = colours

    def augment(self, frames: Tensor, rng: Rng, may_mirror: bool = True) -> tuple[Tensor, bool]:
        """Augment uint8 frames (T, 3, H, W) and tell whether they were mirrored.

        The draws are the same if they may not be.
        """
        if self.colours:
            frames = self.colours(frames, rng)
        frames = jitter_scale(frames, round(float(rng.uniform(*self.short_side_range))))
        spare_rows, spare_columns = (side - self.image_size for side in frames.shape[-2:])
        # Paddle leaves the last offset out, and fails where there is but one.
        left = int(rng.integers(0, spare_columns + 1))
        top = int(rng.integers(0, spare_rows + 1))
        frames = crop(frames, (top, left), self.image_size)
        is_mirrored = self.flip and rng.random() < 0.5 and may_mirror
        return (frames.flip(-1) if is_mirrored else frames), is_mirrored
