"""Crops of the TSM release: one of random size and place to train on, set places to test on.

Sizes are shares of the stored frame's short side, so the size that frames are stored at is part of
the recipe. The pixel arithmetic is torchvision's on uint8 tensors, the release's is Pillow's.
"""

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as TF

from datasets.augment.short_side import Box, ColourChanges
from datasets.sampling import Rng

SCALES = (1.0, 0.875, 0.75, 0.66)
SNAP_BELOW = 3  # pixels: a crop side nearer than this to the model's side takes it
NEIGHBOURS = 1  # sides of one crop come from scales at most so far apart
# Places of a crop in quarters of the spare rows and columns, in the release's order.
PLACES = (
    *((0, 0), (0, 4), (4, 0), (4, 4), (2, 2)),  # corners and centre
    *((2, 0), (2, 4), (4, 2), (0, 2)),  # middles of the edges
    *((1, 1), (1, 3), (3, 1), (3, 3)),  # quarter points
)


class CropBox(NamedTuple):
    """A rectangle in a frame, in pixels."""

    top: int
    left: int
    height: int
    width: int


class MultiScaleTransform:
    """The TSM release's training augmentation: a crop resized to the model's side, mirrored or not.

    The sides of the crop are drawn from few sizes, so it is distorted at times. Its draws come in
    the release's order: size, place, mirror; those of the colour changes follow.

    Args:
        image_size: Side of the result, pixels.
        scales: Sides of the crop as shares of the frame's short side, falling.
        flip: Whether half of the clips are mirrored.
        rounds_places: True rounds the place of the crop, as PaddleVideo does; the TSM release
            floors.
        colours: Changes of colour; None for none.
    """

    def __init__(
        self,
        image_size: int,
        scales: Sequence[float] = SCALES,
        flip: bool = True,
        rounds_places: bool = False,
        colours: ColourChanges | None = None,
    ) -> None:
        self.image_size = image_size
        self.scales = scales
        self.flip = flip
        self.rounds_places = rounds_places
        self.colours = colours

    def augment(self, frames: Tensor, rng: Rng, may_mirror: bool = True) -> tuple[Tensor, bool]:
        """Augment uint8 frames (T, 3, H, W) and tell whether they were mirrored.

        The draws are the same if they may not be.
        """
        frames = TF.crop(frames, *self.draw_box(frames.shape[-2], frames.shape[-1], rng))
        side = [self.image_size, self.image_size]
        frames = TF.resize(frames, side, InterpolationMode.BILINEAR, antialias=True)
        is_mirrored = self.flip and rng.random() < 0.5 and may_mirror
        if is_mirrored:
            frames = frames.flip(-1)
        return (self.colours(frames, rng) if self.colours else frames), is_mirrored

    def draw_box(self, height: int, width: int, rng: Rng) -> CropBox:
        """Draw one of the sizes, then one of the 13 places."""
        sizes = crop_sizes(height, width, self.image_size, self.scales)
        size = sizes[int(rng.integers(len(sizes)))]
        boxes = crop_places(height, width, *size, rounds=self.rounds_places)
        return boxes[int(rng.integers(len(boxes)))]


def crop_sizes(
    height: int, width: int, image_size: int, scales: Sequence[float] = SCALES
) -> list[tuple[int, int]]:
    """Return the (height, width) a training crop can have, in the release's order.

    Args:
        height: Height of the frame, pixels.
        width: Width of the frame, pixels.
        image_size: Side of the model's input; a crop side close to it is made equal.
        scales: Sides as shares of the frame's short side.
    """
    exact = [int(min(height, width) * scale) for scale in scales]
    sides = [image_size if abs(side - image_size) < SNAP_BELOW else side for side in exact]
    return [
        (tall, wide)
        for i, tall in enumerate(sides)
        for j, wide in enumerate(sides)
        if abs(i - j) <= NEIGHBOURS
    ]


def crop_places(
    height: int, width: int, crop_height: int, crop_width: int, rounds: bool = False
) -> list[CropBox]:
    """Return the 13 places of a crop, in the release's order; equal ones are kept.

    Args:
        height: Height of the frame, pixels.
        width: Width of the frame, pixels.
        crop_height: Height of the crop, pixels.
        crop_width: Width of the crop, pixels.
        rounds: True rounds both edges to the nearest pixel, as PaddleVideo does; a side can change
            by one. False takes whole quarters of the spare pixels, up to 3 short of the far edge.
    """
    if not rounds:
        step_down, step_right = (height - crop_height) // 4, (width - crop_width) // 4
        return [
            CropBox(rows * step_down, columns * step_right, crop_height, crop_width)
            for rows, columns in PLACES
        ]
    boxes = []
    for rows, columns in PLACES:
        top, left = rows * (height - crop_height) / 4, columns * (width - crop_width) / 4
        bottom, right = round(top + crop_height), round(left + crop_width)
        boxes.append(CropBox(round(top), round(left), bottom - round(top), right - round(left)))
    return boxes


def tsm_resize(frames: Tensor, short_side: int) -> Tensor:
    """Resize uint8 frames (T, 3, H, W), bilinear with antialias, to a short side in pixels."""
    height, width = frames.shape[-2:]
    long_side = int(short_side * max(height, width) / min(height, width))
    size = [short_side, long_side] if width > height else [long_side, short_side]
    return TF.resize(frames, size, InterpolationMode.BILINEAR, antialias=True)


def tsm_crop_boxes(height: int, width: int, size: int, num_crops: int) -> list[Box]:
    """Return the test crops as (top, left), in the release's order.

    Args:
        height: Height of the resized frame, pixels.
        width: Width of the resized frame, pixels.
        size: Side of the crop, pixels.
        num_crops: Number of crops. 1: centre; 3: left, right, centre of the full-resolution test;
            5: the corners and the centre. Of 3 and 5, the far ones end up to 3 pixels short of the
            edge.
    """
    if num_crops == 1:
        return [(round((height - size) / 2), round((width - size) / 2))]
    places = crop_places(height, width, size, size)
    chosen = [places[5], places[6], places[4]] if num_crops == 3 else places[:5]
    return [(box.top, box.left) for box in chosen]
