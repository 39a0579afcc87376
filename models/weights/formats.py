"""The formats that files of weights come in; the first of `FORMATS` that matches a file is its own.

To read another one, add an entry.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from config.backbones import CLIP, IMAGENET
from models.weights import State
from models.weights.conversion import Conversion
from models.weights.description import Description
from models.weights.found import Found
from models.weights.hub_timesformer import (
    describe_hub_timesformer,
    from_hub_timesformer,
    is_hub_timesformer,
)
from models.weights.image_vit import from_npz, from_torchvision, is_torchvision, without_unused
from models.weights.mmaction import (
    check_non_local,
    describe_resnet,
    describe_transformer,
    from_resnet,
    from_timesformer,
    is_resnet,
    is_timesformer,
    shift_placement,
)
from models.weights.other_networks import other_network
from models.weights.paddle import in_order_of, tsm_from_paddle, vit_from_paddle
from models.weights.released_tokshift import from_released, is_released
from models.weights.released_tsm import (
    from_released_tsm,
    is_released_tsm,
    shifts_blocks,
    shifts_branches,
)
from models.weights.vit_computation import (
    check_clip,
    check_dinov3,
    check_hugging_face,
    describe_named,
    describe_vit,
)
from models.weights.vit_names import (
    from_clip_on_timm,
    from_hugging_face_clip,
    from_hugging_face_vit,
    from_openai_clip,
    from_timm,
    is_clip_on_timm,
    is_dinov3,
    is_hugging_face_clip,
    is_hugging_face_vit,
    is_openai_clip,
    with_zero_biases,
)

PYSLOWFAST = "checkpoint, its model_state"  # where PySlowFast, and so TimeSformer, puts weights


@dataclass(frozen=True)
class WeightFormat:
    """One format of files of weights.

    Attributes:
        title: Name of the format in reports; ``{place}`` stands for the place in `Found`.
        matches: Test whether a file is of this format, if it is of none above.
        convert: Function that returns the weights under our names, and what became of each.
        pixels: Mean and std of the pixels that such files were trained on, where all are alike.
        adapt: Function of a model and such weights that returns the weights in the order of the
            model's channels, and a remark; None where there is one order.
        describe: Function that returns what such a file says of its network; None where it cannot
            say enough to build it.
        check: Function that raises ValueError for a model that computes something else from the
            same names.
        is_certain: No network that is refused has such names.
    """

    title: str
    matches: Callable[[Found], bool]
    convert: Callable[[Found], Conversion]
    pixels: tuple[list[float], list[float]] | None = None
    adapt: Callable[[nn.Module, State], tuple[State, str]] | None = None
    describe: Callable[[Found], Description | None] | None = None
    check: Callable[[nn.Module, Found], None] | None = None
    is_certain: bool = False


def _named(is_kind: Callable[[Mapping[str, Any]], bool]) -> Callable[[Found], bool]:
    return lambda found: is_kind(found.tensors)


def _pdparams(*ends: str) -> Callable[[Found], bool]:
    """Match a file of PaddleVideo with a name for each of these ends."""
    return lambda found: found.place == ".pdparams" and _has_ends(found, ends)


def _hugging_face_vit(*ends: str) -> Callable[[Found], bool]:
    """Match an image ViT of Hugging Face with a name for each of these ends."""
    return lambda found: is_hugging_face_vit(found.tensors) and _has_ends(found, ends)


def _has_ends(found: Found, ends: Iterable[str]) -> bool:
    return all(any(name.endswith(end) for name in found.tensors) for end in ends)


def _all(rename: Callable[[Mapping[str, Any]], State]) -> Callable[[Found], Conversion]:
    return lambda found: Conversion(rename(found.tensors))


def _by_table(
    rename: Callable[[Mapping[str, Any], str], Conversion],
) -> Callable[[Found], Conversion]:
    return lambda found: rename(found.tensors, found.source)


def _checked(
    check: Callable[[nn.Module, Mapping[str, Any], str], None],
) -> Callable[[nn.Module, Found], None]:
    return lambda model, found: check(model, found.content, found.source)


def _described_vit(found: Found) -> Description | None:
    rename = (
        from_hugging_face_clip if is_hugging_face_clip(found.tensors) else from_hugging_face_vit
    )
    return describe_vit(rename(found.tensors, found.source).state, found.content)


def _described_named(found: Found) -> Description | None:
    return describe_named(from_timm(found.tensors, found.source).state, found.content)


def _used(found: Found) -> Conversion:
    return Conversion(*without_unused(found.tensors))


FORMATS = [
    WeightFormat(
        "ImageNet-21k {place}",
        lambda found: found.place == ".npz",
        lambda found: Conversion(*from_npz(found.tensors, found.source)),
    ),
    WeightFormat(
        "PaddleVideo TimeSformer, {place}",
        _pdparams("time_embed", "qkv.bias"),
        _all(vit_from_paddle),
        pixels=([0.45] * 3, [0.225] * 3),
    ),
    WeightFormat(
        "PaddleVideo PP-TimeSformer, {place}",
        _pdparams("time_embed"),
        _all(vit_from_paddle),
        pixels=([0.0] * 3, [1.0] * 3),
    ),
    WeightFormat(
        "PaddleVideo TokenShift, {place}",
        _pdparams("backbone.cls_token"),
        _all(vit_from_paddle),
        pixels=([0.5] * 3, [0.5] * 3),
    ),
    WeightFormat("Paddle image ViT, {place}", _pdparams("cls_token"), _all(vit_from_paddle)),
    WeightFormat("PaddleVideo {place}", _pdparams(), _all(tsm_from_paddle), adapt=in_order_of),
    WeightFormat("released TokShift {place}", _named(is_released), _all(from_released)),
    WeightFormat(
        "released TSM {place}, shift placed blockres",
        lambda found: is_released_tsm(found.tensors) and shifts_branches(found.tensors),
        _all(from_released_tsm),
    ),
    WeightFormat(
        "released TSM {place}, shift placed block",
        lambda found: is_released_tsm(found.tensors) and shifts_blocks(found.tensors),
        _all(from_released_tsm),
    ),
    WeightFormat(
        "released TSM {place}, no shift", _named(is_released_tsm), _all(from_released_tsm)
    ),
    WeightFormat(
        "MMAction2's TSM {place}",
        lambda found: is_resnet(found.tensors) and bool(shift_placement(found.tensors)),
        from_resnet,
        describe=describe_resnet,
        check=check_non_local,
        is_certain=True,
    ),
    WeightFormat(
        "MMAction2's TSN {place}",
        _named(is_resnet),
        from_resnet,
        describe=describe_resnet,
        check=check_non_local,
        is_certain=True,
    ),
    WeightFormat(
        "MMAction2's TimeSformer {place}",
        _named(is_timesformer),
        from_timesformer,
        describe=describe_transformer,
        is_certain=True,
    ),
    WeightFormat(
        "Hugging Face's TimeSformer {place}",
        _named(is_hub_timesformer),
        from_hub_timesformer,
        describe=describe_hub_timesformer,
        is_certain=True,
    ),
    WeightFormat(
        "torchvision ViT {place}",
        _named(is_torchvision),
        lambda found: Conversion(*without_unused(from_torchvision(found.tensors))),
        pixels=([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
    ),
    WeightFormat(
        "official TimeSformer {place}",
        lambda found: found.place == PYSLOWFAST and "time_embed" in found.tensors,
        _used,
        pixels=([0.45] * 3, [0.225] * 3),
    ),
    WeightFormat(
        "CLIP {place} of OpenAI's names",
        _named(is_openai_clip),
        _by_table(from_openai_clip),
        pixels=CLIP,
        check=_checked(check_clip),
    ),
    WeightFormat(
        "CLIP {place} of open_clip on a ViT of timm",
        _named(is_clip_on_timm),
        _by_table(from_clip_on_timm),
    ),
    WeightFormat(
        "CLIP {place} of Hugging Face",
        _named(is_hugging_face_clip),
        _by_table(from_hugging_face_clip),
        pixels=CLIP,
        check=_checked(check_clip),
        describe=_described_vit,
    ),
    WeightFormat(
        "DINOv3 {place} of Hugging Face",
        _hugging_face_vit("embeddings.patch_embeddings.weight"),
        _by_table(from_hugging_face_vit),
        pixels=IMAGENET,
        check=_checked(check_dinov3),
        describe=_described_vit,
    ),
    WeightFormat(
        "DINOv2 {place} of Hugging Face",
        _hugging_face_vit(".layer_scale1.lambda1"),
        _by_table(from_hugging_face_vit),
        pixels=IMAGENET,
        check=_checked(check_hugging_face),
        describe=_described_vit,
    ),
    WeightFormat(
        "DeiT {place} of Hugging Face",
        _hugging_face_vit("distillation_token"),
        _by_table(from_hugging_face_vit),
        pixels=IMAGENET,
        check=_checked(check_hugging_face),
        describe=_described_vit,
    ),
    WeightFormat(
        "ViT {place} of Hugging Face",
        _hugging_face_vit(),
        _by_table(from_hugging_face_vit),
        check=_checked(check_hugging_face),
        describe=_described_vit,
    ),
    WeightFormat(
        "DINOv3 {place}",
        _named(is_dinov3),
        _by_table(from_timm),
        pixels=IMAGENET,
        adapt=with_zero_biases,
        check=_checked(check_dinov3),
        describe=_described_named,
        is_certain=True,
    ),
    # timm's names are those of our transformers, torchvision's those of our ResNets
    WeightFormat(
        "{place}",
        lambda found: "cls_token" in found.tensors,
        _by_table(from_timm),
        describe=_described_named,
    ),
    WeightFormat("{place}", lambda found: "layer1.0.bn1.weight" in found.tensors, _used),
]


def format_of(found: Found) -> WeightFormat | None:
    """Return the format of what lies in a file; None for none that is known.

    Raises:
        ValueError: The network is known not to be here.
    """
    kind = next((kind for kind in FORMATS if kind.matches(found)), None)
    if kind is None or not kind.is_certain:
        network = other_network(found.tensors)
        if network:
            raise ValueError(f"{found.source} holds {network}")
    return kind
