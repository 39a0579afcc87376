"""Clips and views as the specification reads: each frame by Pillow, by itself, for every crop."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import functional as TF
from yacs.config import CfgNode

from datasets.augment.short_side import crop_boxes, resized_size
from datasets.sampling import dense_clips, random_dense_clip

Images = list[Image.Image]


def read_images(folder: Path, indices: Sequence[int] | np.ndarray, cfg: CfgNode) -> Images:
    """Open frames of a folder one by one, RGB."""
    names = (cfg.DATA.FRAME_TEMPLATE.format(cfg.DATA.FIRST_FRAME + int(i)) for i in indices)
    return [Image.open(folder / name).convert("RGB") for name in names]


def plain_clip(folder: Path, num_frames: int, cfg: CfgNode, rng: np.random.Generator) -> Tensor:
    """Return a training clip of a recipe of the release, normalised (T, 3, H, W).

    The draws are those of `datasets.augment.short_side.TrainTransform`, in its order.
    """
    data, aug = cfg.DATA, cfg.AUG
    indices = random_dense_clip(num_frames, data.NUM_FRAMES, data.FRAME_STRIDE, rng)
    images = read_images(folder, indices, cfg)
    if aug.FLIP and rng.integers(2) == 0:
        images = [TF.hflip(image) for image in images]
    short_side = int(rng.integers(*aug.SHORT_SIDE_RANGE))
    images = [_resized(image, short_side) for image in images]
    width, height = images[0].size
    spare = (height - data.IMAGE_SIZE, width - data.IMAGE_SIZE)
    top, left = (int(rng.integers(0, room)) if room > 0 else 0 for room in spare)
    images = [_cropped(image, top, left, data.IMAGE_SIZE) for image in images]
    return _normalized(_recoloured(images, cfg, rng), cfg)


def plain_views(folder: Path, num_frames: int, cfg: CfgNode) -> Tensor:
    """Return all test views of a recipe of the release, equal ones too, (V, T, 3, H, W)."""
    data, test = cfg.DATA, cfg.TEST
    clips = dense_clips(num_frames, data.NUM_FRAMES, data.FRAME_STRIDE, test.NUM_CLIPS)
    views = []
    for indices in clips:
        images = read_images(folder, indices, cfg)
        for place in range(test.NUM_CROPS):
            views.append(_normalized([_test_crop(image, place, cfg) for image in images], cfg))
    return torch.stack(views)


def _test_crop(image: Image.Image, place: int, cfg: CfgNode) -> Image.Image:
    image = _resized(image, cfg.DATA.TEST_SHORT_SIDE)
    side = cfg.DATA.IMAGE_SIZE
    top, left = crop_boxes(image.height, image.width, side, cfg.TEST.NUM_CROPS)[place]
    return _cropped(image, top, left, side)


def _resized(image: Image.Image, short_side: int) -> Image.Image:
    height, width = resized_size(image.height, image.width, short_side)
    return image.resize((width, height), Image.Resampling.BICUBIC)


def _cropped(image: Image.Image, top: int, left: int, side: int) -> Image.Image:
    return image.crop((left, top, left + side, top + side))


def _recoloured(images: Images, cfg: CfgNode, rng: np.random.Generator) -> Images:
    aug = cfg.AUG
    changes: list[tuple[Callable[[Image.Image, float], Image.Image], Sequence[float]]] = [
        (TF.adjust_brightness, aug.BRIGHTNESS),
        (TF.adjust_saturation, aug.SATURATION),
        (TF.adjust_gamma, aug.GAMMA),
        (TF.adjust_hue, aug.HUE),
    ]
    for change, (least, most) in changes:
        if aug.JITTER_ONE_IN and rng.integers(aug.JITTER_ONE_IN) == 0:
            strength = float(rng.uniform(least, most))
            images = [change(image, strength) for image in images]
    return images


def _normalized(images: Images, cfg: CfgNode) -> Tensor:
    mean, std = list(cfg.DATA.PIXEL_MEAN), list(cfg.DATA.PIXEL_STD)
    return torch.stack([TF.normalize(TF.to_tensor(image), mean, std) for image in images])
