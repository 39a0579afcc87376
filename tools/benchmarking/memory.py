"""GPU memory of a training, from shapes alone: fake CUDA tensors, so that no GPU is needed."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from yacs.config import CfgNode

from models import build_model
from tools.diagnosis.speed_findings import bytes_kept, bytes_of_weights


@dataclass(frozen=True)
class TrainingMemory:
    """Bytes that a training process holds when its forward pass ends.

    Kernels take some more for a moment, and the allocator keeps some in reserve.

    Attributes:
        fixed: Bytes of weights, gradients, moments of the optimizer, averages, and the weights'
            copies in the lower precision.
        of_clip: Bytes that each clip's forward pass keeps for the backward pass.
    """

    fixed: int
    of_clip: int

    def total(self, num_clips: int) -> int:
        """Return the bytes with so many clips in a batch."""
        return self.fixed + num_clips * self.of_clip

    def clips_that_fit(self, num_bytes: float) -> int:
        """Count the clips of the largest batch that takes no more bytes; 0 if none does."""
        return max(int((num_bytes - self.fixed) // self.of_clip), 0)


def training_memory(cfg: CfgNode) -> TrainingMemory:
    """Add up what a training with a config keeps, block by block where it recomputes them."""
    dtype = {"none": None, "fp16": torch.float16}.get(cfg.TRAIN.AMP, torch.bfloat16)
    with torch.device("meta"):  # first: the initial weights are drawn until they suit
        model = build_model(cfg).train()
    with FakeTensorMode(allow_non_fake_inputs=True):
        model.to_empty(device="cuda")
        one, two = (_activations(model, cfg, number, dtype) for number in (1, 2))
        return TrainingMemory(bytes_of_weights(cfg, model) + 2 * one - two, two - one)


def _activations(model: nn.Module, cfg: CfgNode, number: int, dtype: torch.dtype | None) -> int:
    """Return the bytes that a forward pass of so many clips keeps, the weights aside."""
    data, transformer = cfg.DATA, cast(Any, model)
    side, num_channels = data.IMAGE_SIZE, getattr(model, "in_channels", 3)
    clips = torch.empty(number, data.NUM_FRAMES, num_channels, side, side, device="cuda")
    labels = torch.zeros(number, dtype=torch.long, device="cuda")

    def loss() -> Tensor:
        with _autocast(dtype):
            return F.cross_entropy(model(clips).float(), labels)

    if not getattr(model, "checkpoints_blocks", False):
        return bytes_kept(loss, model)
    transformer.checkpoints_blocks = False
    in_full, num_blocks = bytes_kept(loss, model), len(transformer.blocks)
    inputs: list[int] = []
    for block in transformer.blocks:
        block.register_forward_pre_hook(lambda _, args: inputs.append(args[0].nbytes))
    loss()
    transformer.checkpoints_blocks = True
    return sum(inputs) + in_full // num_blocks  # one block at a time is there in full


@contextmanager
def _autocast(dtype: torch.dtype | None) -> Iterator[None]:
    """Do what ``torch.autocast`` does on a GPU; itself it does nothing where there is none."""
    if dtype is None:
        yield
        return
    was_enabled, before = torch.is_autocast_enabled("cuda"), torch.get_autocast_dtype("cuda")
    torch.set_autocast_enabled("cuda", True)
    torch.set_autocast_dtype("cuda", dtype)
    try:
        yield
    finally:
        torch.set_autocast_enabled("cuda", was_enabled)
        torch.set_autocast_dtype("cuda", before)
        torch.clear_autocast_cache()
