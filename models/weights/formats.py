"""The formats that files of weights come in; the first of `FORMATS` that matches a file is its own.

To read another one, add an entry.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from torch import nn

from models.weights import State
from models.weights.image_vit import from_npz, from_torchvision, is_torchvision, without_unused
from models.weights.paddle import in_order_of, is_transformer, tsm_from_paddle, vit_from_paddle
from models.weights.released_tokshift import from_released, is_released
from models.weights.released_tsm import (
    from_released_tsm,
    is_released_tsm,
    shifts_blocks,
    shifts_branches,
)

PYSLOWFAST = "checkpoint, its model_state"  # where PySlowFast, and so TimeSformer, puts weights


class Found(NamedTuple):
    """What lies in a file.

    Attributes:
        tensors: Tensors, or numpy arrays, by their names in the file.
        place: Where they lie: the suffix of a file that holds nothing else, or ``state dict``, or
            ``checkpoint, its KEY``.
        source: The file.
        held: All names beside the tensors', for the message about a file of no known format.
    """

    tensors: Mapping[str, Any]
    place: str
    source: str
    held: Sequence[str]


@dataclass(frozen=True)
class WeightFormat:
    """One format.

    Attributes:
        title: What reports call it; ``{place}`` stands for that of `Found`.
        matches: Whether a file is of this format, where it is of none above.
        convert: Returns the weights under our names, and the names that are known to be left out.
        pixels: Mean and std of the pixels that such a file was trained on, where all are alike.
        adapt: From a model and such weights to weights in the order of the model's channels, and a
            remark; None where there is one order.
    """

    title: str
    matches: Callable[[Found], bool]
    convert: Callable[[Found], tuple[State, list[str]]]
    pixels: tuple[list[float], list[float]] | None = None
    adapt: Callable[[nn.Module, State], tuple[State, str]] | None = None


def _all(rename: Callable[[Mapping[str, Any]], State]) -> Callable[[Found], tuple[State, list]]:
    return lambda found: (rename(found.tensors), [])


def _is_pdparams(found: Found) -> bool:
    return found.place == ".pdparams"


def _has(found: Found, end: str) -> bool:
    return any(name.endswith(end) for name in found.tensors)


def _is_official_timesformer(found: Found) -> bool:
    return found.place.startswith(PYSLOWFAST) and "time_embed" in found.tensors


def _is_ours(found: Found) -> bool:
    """Tell whether our names are there, which are timm's for a ViT, torchvision's for a ResNet."""
    return "cls_token" in found.tensors or "layer1.0.bn1.weight" in found.tensors


FORMATS = [
    WeightFormat(
        "ImageNet-21k {place}",
        matches=lambda found: found.place == ".npz",
        convert=lambda found: from_npz(found.tensors, found.source),
    ),
    WeightFormat(
        "PaddleVideo {place}",
        matches=lambda found: _is_pdparams(found) and not is_transformer(found.tensors),
        convert=_all(tsm_from_paddle),
        adapt=in_order_of,
    ),
    WeightFormat(
        "PaddleVideo TimeSformer, {place}",
        matches=lambda found: (
            _is_pdparams(found) and _has(found, "time_embed") and _has(found, "qkv.bias")
        ),
        convert=_all(vit_from_paddle),
        pixels=([0.45] * 3, [0.225] * 3),
    ),
    WeightFormat(
        "PaddleVideo PP-TimeSformer, {place}",
        matches=lambda found: _is_pdparams(found) and _has(found, "time_embed"),
        convert=_all(vit_from_paddle),
        pixels=([0.0] * 3, [1.0] * 3),
    ),
    WeightFormat(
        "PaddleVideo TokenShift, {place}",
        matches=lambda found: _is_pdparams(found) and _has(found, "backbone.cls_token"),
        convert=_all(vit_from_paddle),
        pixels=([0.5] * 3, [0.5] * 3),
    ),
    WeightFormat("Paddle image ViT, {place}", matches=_is_pdparams, convert=_all(vit_from_paddle)),
    WeightFormat(
        "released TokShift {place}",
        matches=lambda found: is_released(found.tensors),
        convert=_all(from_released),
    ),
    WeightFormat(
        "released TSM {place}, shift placed blockres",
        matches=lambda found: is_released_tsm(found.tensors) and shifts_branches(found.tensors),
        convert=_all(from_released_tsm),
    ),
    WeightFormat(
        "released TSM {place}, shift placed block",
        matches=lambda found: is_released_tsm(found.tensors) and shifts_blocks(found.tensors),
        convert=_all(from_released_tsm),
    ),
    WeightFormat(
        "released TSM {place}, no shift",
        matches=lambda found: is_released_tsm(found.tensors),
        convert=_all(from_released_tsm),
    ),
    WeightFormat(
        "torchvision ViT {place}",
        matches=lambda found: is_torchvision(found.tensors),
        convert=lambda found: without_unused(from_torchvision(found.tensors)),
        pixels=([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
    ),
    WeightFormat(
        "official TimeSformer {place}",
        matches=_is_official_timesformer,
        convert=lambda found: without_unused(found.tensors),
        pixels=([0.45] * 3, [0.225] * 3),
    ),
    WeightFormat("{place}", matches=_is_ours, convert=lambda found: without_unused(found.tensors)),
]
