"""Multiply-adds and parameters of a config's model, from shapes alone: no weight is allocated.

The papers count the multiply-adds of linear layers and convolutions, for all tokens in all blocks,
and call them FLOPs (arXiv:2108.02432, table 4). What really runs is more by the products within the
attention, and less by what a model leaves out because nothing reads it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode
from yacs.config import CfgNode

from config.model_checks import MODEL_RULES
from datasets.loaders import TestViews, build_test_views, num_test_clips
from datasets.protocols import build_test_sampling, test_image_size
from models import build_model

BACKWARD = 2  # multiply-adds of a backward pass, in those of its forward pass
_CONVOLUTIONS = (torch.conv1d, torch.conv2d, torch.conv3d)


@dataclass(frozen=True)
class Operations:
    """What one view takes.

    Attributes:
        parameters: Number of weights.
        published: Number of multiply-adds of the layers, all tokens in all blocks: the papers'
            convention.
        layers: Number of multiply-adds of the layers as they run.
        attention: Number of multiply-adds between tokens, beside the layers.
    """

    parameters: int
    published: int
    layers: int
    attention: int

    @property
    def forward(self) -> int:
        """Multiply-adds of a forward pass as it runs."""
        return self.layers + self.attention

    @property
    def training(self) -> int:
        """Multiply-adds of forward and backward; nothing is counted that is computed again."""
        return (1 + BACKWARD) * self.forward


@dataclass(frozen=True)
class TestCost:
    """What the test of one video takes.

    Attributes:
        num_views: Number of views that the protocol names.
        num_distinct: Number of views that differ, which alone go through the model.
        num_frames: Number of distinct frames that are read.
    """

    __test__ = False  # not a test case

    num_views: int
    num_distinct: int
    num_frames: int


def count_operations(cfg: CfgNode) -> Operations:
    """Count what one test view takes on the ``meta`` device, where tensors have no content."""
    with torch.device("meta"):
        model = build_model(cfg).eval()
    side, num_channels = test_image_size(cfg, "test"), getattr(model, "in_channels", 3)
    clips = torch.empty(1, cfg.DATA.NUM_FRAMES, num_channels, side, side, device="meta")
    with torch.inference_mode():
        layers, total = _counted(lambda: model(clips))
        published = _published(model, clips, layers)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return Operations(parameters, published, layers, total - layers)


def count_views(
    cfg: CfgNode, num_frames: int, size: tuple[int, int], split: str = "test"
) -> TestCost:
    """Count the views of a video in the test, or in a validation.

    Args:
        cfg: Config of the recipe.
        num_frames: Number of frames of the video.
        size: Height and width of its frames, pixels.
        split: Name of the split, ``test`` or ``val``.
    """
    clips = build_test_sampling(cfg, split)(num_frames)  # (num_clips, T)
    views = build_test_views(cfg, [], split, _opens_nothing)
    num_crops, mirrorings = _num_distinct_crops(views, size), len(views.mirrorings)
    return TestCost(
        num_views=num_test_clips(cfg, split) * views.num_crops * mirrorings,
        num_distinct=len(np.unique(clips, axis=0)) * num_crops * mirrorings,
        num_frames=len(np.unique(clips)),
    )


def takes_rgb(cfg: CfgNode) -> bool:
    """Tell whether the loaders can read what the model sees."""
    return not MODEL_RULES[cfg.MODEL.NAME].other_input(cfg)


class _LayerCount(TorchFunctionMode):
    """Adds up the multiply-adds of linear layers and convolutions, by the calls that make them."""

    num_madds = 0

    def __torch_function__(
        self,
        function: Any,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        out = function(*args, **(kwargs or {}))
        if function is F.linear:
            self.num_madds += args[0].numel() * args[1].shape[0]
        elif function in _CONVOLUTIONS:
            self.num_madds += out.numel() * args[1][0].numel()
        return out


def _counted(run: Callable[[], object]) -> tuple[int, int]:
    """Return the multiply-adds of the layers and of everything in a call."""
    counter = FlopCounterMode(display=False)
    with counter, _LayerCount() as layers:
        run()
    return layers.num_madds, counter.get_total_flops() // 2  # torch counts an addition too


def _published(model: nn.Module, clips: Tensor, layers: int) -> int:
    """Count the layers with every token in every block, whatever the model leaves out."""
    if not hasattr(model, "embed"):  # a network of convolutions leaves nothing out
        return layers
    transformer = cast(Any, model)

    def embed_and_encode() -> None:
        x = transformer.embed(clips)
        for block in transformer.blocks:
            x = block(x)

    head = transformer.head
    num_answers = clips.shape[1] if hasattr(transformer, "classify") else 1
    return _counted(embed_and_encode)[0] + num_answers * head.in_features * head.out_features


def _num_distinct_crops(views: TestViews, size: tuple[int, int]) -> int:
    frame = torch.zeros(1, 3, *size, dtype=torch.uint8)
    height, width = views.crops.resize(frame, views.short_side).shape[-2:]
    return len({*views.crops.boxes(height, width, views.image_size, views.num_crops)})


def _opens_nothing(record: object) -> Any:
    raise AssertionError(f"no video is to be read: {record}")
