"""Resize, crops and colours of TokShift's second version (LAPS-transformer, 2022).

Unlike those of the first, frames are resized as floats, bilinear without antialias, and colours are
changed on the stored frames before. Clips stay floats in 0..255, which `ops.pixels.normalize` takes
like uint8: the release normalises first, which a resize does not see.
"""

import math

from torch import Tensor
from torchvision.transforms import functional as TF

from datasets.augment.scale_jitter import ScaleJitterTransform, jitter_scale
from datasets.augment.short_side import Box, Change, crop
from datasets.sampling import Rng


def laps_boxes(height: int, width: int, size: int, num_crops: int) -> list[Box]:
    """Return the test crops as (top, left) along the longer side, the centre first.

    Args:
        height: Height of the resized frame, pixels.
        width: Width of the resized frame, pixels.
        size: Side of the crop, pixels.
        num_crops: Number of crops. 3: centre, left, right, or centre, top, bottom of a portrait
            frame; 1: centre. The release begins with left or top. The centre is rounded up, the far
            crop ends at the edge.
    """
    spare_rows, spare_columns = height - size, width - size
    top, left = math.ceil(spare_rows / 2), math.ceil(spare_columns / 2)
    ends = [(top, 0), (top, spare_columns)] if width >= height else [(0, left), (spare_rows, left)]
    return [(top, left), *ends][:num_crops]


# On tensors, whose hue turns by any amount; a saturation of torchvision's v2 is a level off here.
LAPS_CHANGES: tuple[Change, ...] = (
    TF.adjust_brightness,
    TF.adjust_saturation,
    TF.adjust_gamma,
    TF.adjust_hue,
)


class LapsTransform(ScaleJitterTransform):
    """The training augmentation of the second version: colours, resize, crop, mirror.

    It takes what `ScaleJitterTransform` takes. `LAPS_CHANGES` changes the colours on the stored
    frames, and one set of draws serves the whole clip, in the release's order.
    """

    def augment(self, frames: Tensor, rng: Rng, may_mirror: bool = True) -> tuple[Tensor, bool]:
        """Augment uint8 frames (T, 3, H, W) to float32; tell whether they were mirrored.

        The draws are the same if they may not be.
        """
        if self.colours:
            frames = self.colours(frames, rng)
        frames = jitter_scale(frames.float(), round(float(rng.uniform(*self.short_side_range))))
        frames = crop(frames, self._random_box(frames, rng), self.image_size)
        is_mirrored = self.flip and rng.uniform() < 0.5 and may_mirror
        return (frames.flip(-1) if is_mirrored else frames), is_mirrored

    def _random_box(self, frames: Tensor, rng: Rng) -> Box:
        """Draw (top, left); the largest offset is never drawn, as released."""
        spare = [side - self.image_size for side in frames.shape[-2:]]
        top, left = (int(rng.integers(0, room)) if room > 0 else 0 for room in spare)
        return top, left
