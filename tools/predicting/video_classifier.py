"""A model that classifies videos by its test views: a checkpoint, or an exported file.

classifier = open_classifier("runs/quickstart/best.pth", ClassifierOptions())
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from yacs.config import CfgNode

from config import load_cfg_text
from datasets.annotations import read_class_names
from datasets.records import check_takes_rgb
from datasets.view_chunks import classify_views, views_per_forward
from datasets.views import Views
from engine.fetching import Fetched
from engine.learner import autocast
from models import load_model
from models.exported import ExportedModel, is_exported, load_exported
from ops.finite_logits import check_finite_logits
from ops.metrics import to_probabilities, top_predictions
from ops.pixels import normalize, to_levels
from tools.predicting.view_option import num_views, view_keys

Result = tuple[int, np.ndarray | None, str]


@dataclass(frozen=True)
class ClassifierOptions:
    """What is asked for beside the file.

    Attributes:
        cfg: Path of the yml of the experiment; empty: the config inside the file.
        class_names: Path of the class names; empty: those inside the file, else the config's.
        views: Views of each video, as ``10x3``; empty: those of the config's test.
        overrides: Words KEY VALUE KEY=VALUE ...
        device: Device to compute on.
    """

    cfg: str = ""
    class_names: str = ""
    views: str = ""
    overrides: Sequence[str] = ()
    device: torch.device = field(default_factory=partial(torch.device, "cpu"))


@dataclass(frozen=True)
class VideoClassifier:
    """A model with its experiment and its class names.

    Attributes:
        cfg: Config whose TEST section has the views.
        class_names: Names of the classes by label.
        classify: Function from uint8 clips to scores (N, K), float32 on the CPU. The clips are (N,
            T, 3, H, W), or (N, V, T, 3, H, W) where `averages_inside`.
        averages_inside: Whether `classify` averages the views of a video.
        device: Device that `classify` computes on.
    """

    cfg: CfgNode
    class_names: list[str]
    classify: Callable[[Tensor], Tensor]
    averages_inside: bool = False
    device: torch.device = field(default_factory=partial(torch.device, "cpu"))

    @torch.inference_mode()
    def results(self, batch: Sequence[Views]) -> list[Result]:
        """Classify videos.

        Returns:
            For each video its place in the list of records and its views' logits (V, K), or the
            one average (1, K) of `averages_inside`; or None and why it is unreadable.
        """
        if not self.averages_inside:
            size = views_per_forward(self.cfg.TEST.VIEWS_PER_FORWARD, self.device)
            return list(classify_views([batch], lambda clips: Fetched(self.classify(clips)), size))
        results: list[Result] = []
        for views in batch:
            scores = None
            if not views.error:
                scores = self.classify(views.distinct[views.view_of][None]).numpy()  # (1, K)
            results.append((views.video, scores, views.error))
        return results

    def probabilities(self, view_scores: np.ndarray, video: str) -> Tensor:
        """Average the scores of a video's views, (V, K), to probabilities (K,).

        The softmax is taken once: of the mean of the logits, or, without TEST.AVERAGE_LOGITS, of
        each view. Under DATA.MULTI_LABEL it is each class's sigmoid.

        Raises:
            FloatingPointError: Scores of the video are not finite.
        """
        scores, is_multi_label = torch.from_numpy(view_scores), self.cfg.DATA.MULTI_LABEL
        check_finite_logits(scores, video)
        if self.cfg.TEST.AVERAGE_LOGITS:
            return to_probabilities(scores.mean(0), is_multi_label)
        if self.averages_inside:
            return scores.mean(0)
        return to_probabilities(scores, is_multi_label).mean(0)

    def best(self, probabilities: Tensor, k: int) -> list[tuple[int, str, float]]:
        """Return label, name and score of the k best classes of probabilities (K,)."""
        labels, scores = top_predictions(probabilities[None, None], k, applies_softmax=False)
        ranks = zip(labels[0].tolist(), scores[0].tolist(), strict=True)
        return [(label, self.class_names[label], score) for label, score in ranks]

    def ranks(self, probabilities: Tensor, k: int) -> list[dict[str, Any]]:
        """Return the k best classes of probabilities (K,) for machines."""
        return [
            {"class": label, "name": name, "score": score}
            for label, name, score in self.best(probabilities, k)
        ]


def open_classifier(path: str, options: ClassifierOptions) -> tuple[VideoClassifier, str]:
    """Open a checkpoint of any kind that is tested, or an exported model.

    Returns:
        The classifier; what became of the weights.

    Raises:
        ValueError: The file cannot be read or does not describe itself, or an option does not fit.
    """
    if is_exported(path):
        return _open_exported(path, options)
    loaded = load_model(path, options.cfg, _words(options))
    cfg, model = loaded.cfg, loaded.model.to(options.device)
    check_takes_rgb(cfg)
    _check_views(cfg, options)
    classify = partial(_classify, model=model, cfg=cfg, device=options.device)
    names = class_names(cfg, loaded.class_names, options)
    return VideoClassifier(cfg, names, classify, device=options.device), str(loaded.report)


def class_names(cfg: CfgNode, own: list[str], options: ClassifierOptions) -> list[str]:
    """Return the class names that the options name, else the file's own."""
    if options.class_names:
        return read_class_names(options.class_names, cfg.MODEL.NUM_CLASSES)
    return own


def _open_exported(path: str, options: ClassifierOptions) -> tuple[VideoClassifier, str]:
    if options.cfg:
        raise ValueError(f"{path} holds its config; leave --cfg out")
    # onnxruntime's own package runs on the CPU
    device = torch.device("cpu") if path.endswith(".onnx") else options.device
    model = load_exported(path, str(device))
    metadata = model.metadata
    if metadata.views != "none" and options.views not in ("", metadata.views):
        raise ValueError(
            f"{path} averages {metadata.views} views inside; --views {options.views} needs a file "
            "that was exported without --views"
        )
    cfg = load_cfg_text(model.config, f"the config in {path}", _words(options))
    _check_views(cfg, options)
    names = class_names(cfg, model.class_names, options)
    classify = partial(_classify_exported, model=model)
    source = f"{path}, exported from {metadata.checkpoint}, on {device}"
    return VideoClassifier(cfg, names, classify, metadata.views != "none", device), source


def _words(options: ClassifierOptions) -> list[str]:
    return [*options.overrides, *(view_keys(options.views) if options.views else [])]


def _check_views(cfg: CfgNode, options: ClassifierOptions) -> None:
    if options.views:
        num_views(cfg, options.views)


def _classify(clips: Tensor, model: nn.Module, cfg: CfgNode, device: torch.device) -> Tensor:
    clips = normalize(clips.to(device), cfg.DATA.PIXEL_MEAN, cfg.DATA.PIXEL_STD)
    with autocast(cfg.TRAIN.AMP, device):
        return model(clips).float().cpu()


def _classify_exported(clips: Tensor, model: ExportedModel) -> Tensor:
    return model(to_levels(clips)).float().cpu()
