"""How test frames are resized and cropped, the centre first; TEST.CROPS names one."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from torch import Tensor

from datasets.augment.laps import laps_boxes
from datasets.augment.multi_scale import tsm_crop_boxes, tsm_resize
from datasets.augment.scale_jitter import jitter_scale, multi_centre_boxes, uniform_boxes
from datasets.augment.short_side import Box, crop_boxes, resize_short_side


@dataclass(frozen=True)
class ViewCrops:
    """How the frames of a clip become views.

    Attributes:
        resize: Function from uint8 frames (T, 3, H, W) and a short side, pixels, to resized frames.
        boxes: Function from height, width, side of the crop and number of crops to boxes (top,
            left). The first is the centre, so that the first views of a test are its centre crops.
        mirrors_before_resize: Whether a mirror image is made of the stored frames; False: of each
            crop. Rounding makes the order matter.
        resizes_floats: Whether frames are resized as float32 in 0..255, and not rounded.
    """

    resize: Callable[[Tensor, int], Tensor]
    boxes: Callable[[int, int, int, int], list[Box]]
    mirrors_before_resize: bool = False
    resizes_floats: bool = False


def tsm_boxes(height: int, width: int, size: int, num_crops: int) -> list[Box]:
    """Return the boxes of `tsm_crop_boxes`, the centre first."""
    *others, centre = tsm_crop_boxes(height, width, size, num_crops)
    return [centre, *others]


def mmaction_boxes(height: int, width: int, size: int, num_crops: int) -> list[Box]:
    """Return the boxes of MMAction2's CenterCrop, ThreeCrop or TenCrop, the centre first."""
    if num_crops == 1:
        return [((height - size) // 2, (width - size) // 2)]
    return (uniform_boxes if num_crops == 3 else tsm_boxes)(height, width, size, num_crops)


TOKSHIFT_CROPS = ViewCrops(resize_short_side, crop_boxes, mirrors_before_resize=True)
VIEW_CROPS = {
    "tokshift": TOKSHIFT_CROPS,
    "tsm": ViewCrops(tsm_resize, tsm_boxes),
    "uniform": ViewCrops(jitter_scale, uniform_boxes),
    "multi_centre": ViewCrops(jitter_scale, multi_centre_boxes),
    "mmaction": ViewCrops(partial(jitter_scale, rounds_side=True), mmaction_boxes),
    "laps": ViewCrops(jitter_scale, laps_boxes, resizes_floats=True),
}
