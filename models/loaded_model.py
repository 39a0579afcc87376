"""The one way to open a checkpoint: it gives the model with its weights, config and classes."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn
from yacs.config import CfgNode

from config import load_cfg, load_cfg_text
from config.backbones import backbone_pixels
from config.changes import changed_answers
from config.class_names import are_numbers, check_same_names, read_class_names
from config.overrides import override_pairs
from config.weight_index import fetch_hint
from models.exported import SUFFIXES
from models.model_table import build_model
from models.pretrained import describe, fit_weights, read_weights, weights_of
from models.weights.hub_folder import read_telling
from models.weights.load_report import LoadReport
from models.weights.named_weights import is_named

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LoadedModel:
    """A model that is ready to classify.

    Attributes:
        model: A `VideoModel` in evaluation mode, on the CPU; clips (B, T, 3, H, W), normalised, to
            logits (B, K).
        cfg: Config of the experiment that the model belongs to.
        class_names: K names by label: those in the file, else those that the config names. A run
            without names writes the numbers of its classes, which do not count as names.
        report: Report of what became of every tensor of the file.
        num_epochs: Number of epochs of training, where the file says so; else 0.
    """

    model: nn.Module
    cfg: CfgNode
    class_names: list[str]
    report: LoadReport
    num_epochs: int = 0


def load_model(
    checkpoint: str | Path,
    cfg: CfgNode | str | Path | None = None,
    overrides: Sequence[str] = (),
    needs_head: bool = True,
) -> LoadedModel:
    """Open a checkpoint of ours, a release's or another library's, for everything but training.

    Args:
        checkpoint: Any file or folder that `models.pretrained.load_weights` reads.
        cfg: The experiment, or its yml file; None: the one in the checkpoint.
        overrides: A flat list KEY VALUE KEY=VALUE ... on top of it; none beside a config that is
            loaded already.
        needs_head: False: features are asked for, not answers; then the head may be missing, and a
            module along time, which an image model lacks.

    Raises:
        ValueError: The file cannot be read, is an exported model, holds no config and none was
            given, or does not fit the config; or the config names its classes otherwise. The text
            says what to do.
    """
    experiment, content = read_experiment(checkpoint, cfg, overrides, needs_head=needs_head)
    path = str(checkpoint)
    changes = changed_answers(content.get("config", ""), experiment)
    for key, (theirs, ours) in changes.items():
        _log.warning("%s was trained with %s %r, and is used with %r", path, key, theirs, ours)
    names = _class_names(content, experiment, path)
    model = build_model(experiment)
    # a file that describes itself was read for that, and is not read twice
    found = weights_of(content, path, model) if content else read_weights(path, model)
    report = fit_weights(model, *found, head_may_differ=not needs_head)
    report.pixels = report.pixels or backbone_pixels(experiment.MODEL.BACKBONE)
    pixels = report.pixel_remark(experiment.DATA.PIXEL_MEAN, experiment.DATA.PIXEL_STD)
    if pixels and not any(key.startswith("DATA.PIXEL_") for key in changes):
        _log.warning("%s", pixels)
    epoch = content.get("epoch")
    num_epochs = epoch if isinstance(epoch, int) else 0
    return LoadedModel(model.eval(), experiment, names, report, num_epochs)


def read_experiment(
    checkpoint: str | Path,
    cfg: CfgNode | str | Path | None = None,
    overrides: Sequence[str] = (),
    way_out: str = "--cfg",
    needs_head: bool = True,
) -> tuple[CfgNode, dict[str, Any]]:
    """Return the config that a checkpoint is to be opened by, and what the file says of itself.

    Args:
        checkpoint: Same as in `load_model`.
        cfg: Same as in `load_model`.
        overrides: Same as in `load_model`.
        way_out: Flag that names a config where the file holds none.
        needs_head: Same as in `load_model`.

    Raises:
        ValueError: Same cases as in `load_model`.
    """
    path = str(checkpoint)
    if path.endswith(SUFFIXES):
        raise ValueError(
            f"{path} is an exported model, not a checkpoint: models.exported.load_exported opens it"
        )
    if not is_named(path) and (hint := fetch_hint(path)):
        raise ValueError(hint)
    content = read_telling(path)
    said = describe(content, path) if content and not content.get("config") else None
    if said:
        content |= {"config": said.yml(), "class_names": said.class_names}
    if isinstance(cfg, CfgNode):
        if overrides:
            raise ValueError(
                f"overrides {list(overrides)} beside a config that is loaded already; give them to "
                "load_cfg, or name the yml file instead"
            )
        return cfg, content
    if cfg:
        return load_cfg(cfg, overrides), content
    if not content.get("config"):
        raise ValueError(f"{path} does not hold its config; name one with {way_out}")
    if said:
        given = [key for key, _ in override_pairs(overrides)]
        given += [] if needs_head else ["MODEL.NUM_CLASSES"]
        said.check_complete(path, given, way_out)
    return load_cfg_text(content["config"], f"the config in {path}", overrides), content


def _class_names(content: Mapping[str, Any], cfg: CfgNode, path: str) -> list[str]:
    """Return the names in a checkpoint, else those of the config; both must agree."""
    theirs = list(content.get("class_names", []))
    if are_numbers(theirs):  # a run that knew no names, or none
        return read_class_names(cfg.DATA.CLASS_NAMES, cfg.MODEL.NUM_CLASSES)
    if Path(cfg.DATA.CLASS_NAMES).is_file():  # the path in a checkpoint may be another machine's
        check_same_names(
            read_class_names(cfg.DATA.CLASS_NAMES, cfg.MODEL.NUM_CLASSES),
            theirs,
            path,
            "labels mean the checkpoint's classes: give DATA.CLASS_NAMES and the labels of the "
            "lists its order",
        )
    return theirs
