"""An online model with its preprocessing, its state and the running answer; `stream` feeds it."""

import time
from typing import NamedTuple

import torch
from torch import Tensor, nn
from yacs.config import CfgNode

from datasets.live import LiveFrame, build_centre_view
from datasets.protocols import test_image_size
from models.streaming import build_online, num_bytes
from ops.finite_logits import check_finite_logits
from ops.metrics import to_probabilities
from ops.pixels import normalize
from ops.running_mean import RunningMean


class Answer(NamedTuple):
    """What is known after a frame.

    Attributes:
        frame: Frame that was classified last.
        scores: Probabilities of the classes, (K,), of the mean logits; each its own sigmoid where
            a video may have several classes.
        milliseconds: Time from the picture to the scores, milliseconds.
    """

    frame: LiveFrame
    scores: Tensor
    milliseconds: float


class FrameClassifier:
    """From pictures to the running answer; one for each stream.

    Args:
        model: A video model that looks at the past alone, on its device.
        cfg: Config of its experiment, for the preprocessing of the test.
        mean: Mean over the frames' logits.

    Raises:
        ValueError: The model takes something from later frames.
    """

    def __init__(self, model: nn.Module, cfg: CfgNode, mean: RunningMean) -> None:
        self.online = build_online(model)
        self.view = build_centre_view(cfg)
        self.pixels = (cfg.DATA.PIXEL_MEAN, cfg.DATA.PIXEL_STD)
        self.mean = mean
        self.is_multi_label = cfg.DATA.MULTI_LABEL
        self.device = next(model.parameters()).device
        size = test_image_size(cfg, "test")
        blank = torch.zeros(1, 3, size, size, device=self.device)
        with torch.inference_mode():
            self.state = self.online.initial_state(blank)
            self.online(blank, self.state)  # the first call is slow, and no frame of the stream

    @torch.inference_mode()
    def classify(self, frame: LiveFrame) -> Answer:
        """Take in the next frame.

        Raises:
            FloatingPointError: Its logits are not finite.
        """
        start = time.perf_counter()
        frames = normalize(self.view(frame.picture).to(self.device), *self.pixels)
        logits, self.state = self.online(frames, self.state)
        check_finite_logits(logits, f"frame {frame.number}")
        scores = to_probabilities(self.mean.add(logits[0]), self.is_multi_label).cpu()
        return Answer(frame, scores, 1000 * (time.perf_counter() - start))

    @property
    def num_state_bytes(self) -> int:
        """Bytes that are kept from frame to frame."""
        return num_bytes(self.state)
