"""Options of a ViT that its tensors do not show: told by the file, or known of its makers."""

import math
from collections.abc import Mapping
from typing import Any

from torch import nn

from config.backbones import BACKBONES, CLIP, IMAGENET
from models.vit import ViTSize
from models.weights import State
from models.weights.conversion import has_tensors
from models.weights.description import Description
from models.weights.embeddings import is_square
from models.weights.hub_folder import hub_classes, hub_pixels, hub_said
from models.weights.named_weights import COMPUTES

_ACTIVATIONS = {"gelu": "gelu", "quick_gelu": "quick_gelu", "silu": "swiglu", "swiglu": "swiglu"}
_ALIKE_EPS = 2e-6  # Hugging Face's 1e-12 against 1e-6 changes outputs by 6e-6
_OPENAI_ALONE = "input_resolution"  # OpenAI's own files of CLIP have it
_UNSAID = {  # by the beginning of model_type: heads, eps and activation that a config may leave out
    "vit": (12, 1e-12, "gelu"),
    "deit": (12, 1e-12, "gelu"),
    "dinov2": (12, 1e-6, "gelu"),
    "dinov3": (6, 1e-5, "gelu"),
    "clip": (12, 1e-5, "quick_gelu"),
}
_PIXELS = {  # of all published files of a model_type
    "clip": CLIP,
    **dict.fromkeys(("deit", "dinov2", "dinov3"), IMAGENET),
}
_PIXEL_KEYS = ("DATA.PIXEL_MEAN", "DATA.PIXEL_STD")
_NO_HEAD = "it has no classifier; --tune_from trains one"
_NO_PIXELS = "no preprocessor_config.json lies beside it"


def check_clip(model: nn.Module, content: Mapping[str, Any], source: str) -> None:
    """Raise ValueError where a model computes otherwise than a CLIP of the same names.

    Args:
        model: Any; one without a `ViTSize` is refused elsewhere.
        content: All that the file holds.
        source: The file.
    """
    told = _hub_config(content)
    said = {"activation": "quick_gelu"} if _OPENAI_ALONE in content else _activation(told)
    check_computation(model, _eps(told, 1e-5) | said, source)


def check_dinov3(model: nn.Module, content: Mapping[str, Any], source: str) -> None:
    """Do so for a DINOv3."""
    check_computation(model, _eps(_hub_config(content), 1e-5), source)


def check_hugging_face(model: nn.Module, content: Mapping[str, Any], source: str) -> None:
    """Do so for a ViT, DeiT or DINOv2 whose config lies beside it."""
    told = _hub_config(content)
    is_gated = told.get("use_swiglu_ffn")  # whatever the activation is called
    expected = (_eps(told, 1e-6) if told else {}) | ({} if is_gated else _activation(told))
    check_computation(model, expected, source)


def describe_vit(state: State, content: Mapping[str, Any]) -> Description | None:
    """Return what a folder of Hugging Face says of an image ViT; None for a file without config.

    Args:
        state: The weights under our names, which show the sizes.
        content: All that the file holds.
    """
    told = _hub_config(content)
    options = _options(state, told)
    if not options:
        return None
    said = hub_said(content)[1]
    side = _side(said.get("crop_size")) or _side(said.get("size"))
    patch, positions = options["PATCH_SIZE"], state.get("pos_embed")
    if side == 0 or side % patch:  # as the model was trained
        num = positions.shape[1] if positions is not None else 0
        side = math.isqrt(num) * patch or told.get("image_size", 224)
    values = {
        "MODEL.NAME": "vit",
        "MODEL.BACKBONE": "custom",
        **{f"MODEL.VIT.{key}": value for key, value in options.items()},
        "DATA.IMAGE_SIZE": side,
        "DATA.TEST_SHORT_SIDE": max(side, _side(said.get("size"))),
    }
    head = state.get("head.weight")
    K = 0 if head is None or head.dim() != 2 else head.shape[0]
    values |= {"MODEL.NUM_CLASSES": K} if K else {}
    pixels = hub_pixels(said) or _PIXELS.get(told["model_type"].partition("_")[0])
    values |= dict(zip(_PIXEL_KEYS, pixels, strict=True)) if pixels else {}
    lacking = {} if pixels else dict.fromkeys(_PIXEL_KEYS, _NO_PIXELS)
    lacking |= {} if K else {"MODEL.NUM_CLASSES": _NO_HEAD}
    return Description(values, lacking, class_names=hub_classes(told, K))


def describe_named(state: State, content: Mapping[str, Any]) -> Description | None:
    """Return what timm says of an image ViT; None for a file, which does not tell the heads.

    Args:
        state: The weights under our names, which show the sizes.
        content: Content that `models.weights.named_weights.read_named` returned.
    """
    told = {key.upper(): value for key, value in content.get(COMPUTES, {}).items()}
    shown, sizes = shown_options(state), _sizes(state)
    if not ({"NUM_HEADS", "NORM_EPS", "ACTIVATION"} <= told.keys() and shown and sizes):
        return None
    positions = state.get("pos_embed")
    side = math.isqrt(positions.shape[1]) * sizes["PATCH_SIZE"] if positions is not None else 224
    options = shown | sizes | told | {"DROPOUT": 0.0, "POS_RESIZE": "bicubic"}
    options["QKV_BIAS"] = "blocks.0.attn.qkv.bias" in state
    name = _backbone(options)
    values = {
        "MODEL.NAME": "vit",
        "MODEL.BACKBONE": name or "custom",
        **({} if name else {f"MODEL.VIT.{key}": value for key, value in options.items()}),
        "DATA.IMAGE_SIZE": side,
        "DATA.TEST_SHORT_SIDE": side,
    }
    pixels = content["preprocessing"]
    return Description(
        values | dict(zip(_PIXEL_KEYS, (pixels["mean"], pixels["std"]), strict=True))
    )


def size_of(model: nn.Module) -> ViTSize | None:
    """Return sizes and options of a ViT or TimeSformer of ours; None of another model."""
    size = vars(model).get("size")
    return size if isinstance(size, ViTSize) else None


def option_advice(state: State, own: State) -> list[str]:
    """Name the keys of MODEL.VIT in which weights under our names differ from a model."""
    in_file, in_model = shown_options(state), shown_options(own)
    if "head.weight" not in state and in_model.get("POOL") == "both":
        in_file.pop("POOL", None)  # a classifier would show it
    advice = [
        f"the file has {key} {value}, the model {in_model[key]}: set MODEL.VIT.{key} {value}"
        for key, value in in_file.items()
        if key in in_model and in_model[key] != value
    ]
    sizes, ours = _sizes(state), _sizes(own)
    others = [key for key in sizes if ours and sizes[key] != ours[key]]
    if others:
        advice.append(
            f"the file has {', '.join(f'{key} {sizes[key]}' for key in others)}, the model "
            f"{', '.join(str(ours[key]) for key in others)}: set MODEL.VIT, or a MODEL.BACKBONE "
            "that stands for it; the kernels of patches, too, are taken as they are"
        )
    if (num_tokens := _head_parts(state)) > 2:
        advice.append(
            f"the file's classifier takes {num_tokens} tokens, as DINOv2's on four blocks, which "
            "no model here does; --tune_from trains another"
        )
    return advice


def shown_options(state: State) -> dict[str, Any]:
    """Return the options of a ViT that its tensors show, by the keys of MODEL.VIT."""
    if "cls_token" not in state or state["cls_token"].dim() != 3:
        return {}
    registers, positions = state.get("reg_token"), state.get("pos_embed")
    shown = {
        "PRE_NORM": "norm_pre.weight" in state,
        "LAYER_SCALE": "blocks.0.ls1.gamma" in state,
        "NUM_REGISTERS": 0 if registers is None else registers.shape[1],
        "POSITIONS": "rotary",
    }
    if positions is not None:
        shown["POSITIONS"] = "patches" if is_square(positions.shape[1]) else "all"
    if pool := _pool(state):
        shown["POOL"] = pool
    into, out_of = (state.get(f"blocks.0.mlp.{name}.weight") for name in ("fc1", "fc2"))
    if into is not None and out_of is not None:
        is_gated = into.shape[0] == 2 * out_of.shape[1]
        shown["ACTIVATION"] = "swiglu" if is_gated else "gelu or quick_gelu"
    return shown


def _options(state: State, told: Mapping[str, Any]) -> dict[str, Any]:
    """Return MODEL.VIT of weights and the config beside them; {} where they say too little."""
    kind = next((k for k in _UNSAID if str(told.get("model_type", "")).startswith(k)), "")
    shown, sizes = shown_options(state), _sizes(state)
    if not (kind and shown and sizes):
        return {}
    heads, eps, act = _UNSAID[kind]
    act = _activation(told).get("activation", act)
    is_gated = shown.get("ACTIVATION") == "swiglu"
    return shown | {
        **sizes,
        "NUM_HEADS": told.get("num_attention_heads", heads),
        "DROPOUT": 0.0,
        "QKV_BIAS": "blocks.0.attn.qkv.bias" in state,
        "NORM_EPS": _eps(told, eps)["norm_eps"],
        "ACTIVATION": "swiglu" if is_gated else act,
        "POS_RESIZE": "dinov2" if kind == "dinov2" and not shown["NUM_REGISTERS"] else "bicubic",
    }


def _sizes(state: State) -> dict[str, int]:
    """Return the sizes that weights show, by the keys of MODEL.VIT; {} for those of no ViT."""
    if not has_tensors(state, {"patch_embed.proj.weight": 4, "blocks.0.mlp.fc1.weight": 2}):
        return {}
    kernels = state["patch_embed.proj.weight"]
    return {
        "PATCH_SIZE": kernels.shape[-1],
        "HIDDEN_SIZE": kernels.shape[0],
        "MLP_DIM": state["blocks.0.mlp.fc1.weight"].shape[0],
        "NUM_LAYERS": len({name.split(".")[1] for name in state if name.startswith("blocks.")}),
    }


def _backbone(options: Mapping[str, Any]) -> str:
    """Return the first backbone's name that stands for options of MODEL.VIT; "" for none."""
    named = (
        name
        for name, known in BACKBONES.items()
        if all(options.get(key) == value for key, value in known.items() if key != "POS_RESIZE")
    )
    return next(named, "") if options["QKV_BIAS"] else ""


def _pool(state: State) -> str:
    """Return what is classified; "" for weights that do not show it."""
    if "fc_norm.weight" in state:
        return "mean"
    shown = "both" if _head_parts(state) == 2 else "token"
    return shown if "norm.weight" in state else ""


def _head_parts(state: State) -> int:
    """Return how many tokens' channels the classifier takes; 0 for none."""
    head, token = state.get("head.weight"), state.get("cls_token")
    if head is None or token is None or head.dim() != 2:
        return 0
    return head.shape[1] // max(token.shape[-1], 1)


def check_computation(model: nn.Module, expected: Mapping[str, Any], source: str) -> None:
    """Raise ValueError where a ViT of ours computes otherwise than its weights were trained for.

    Args:
        model: Any model; one of another kind is refused elsewhere.
        expected: Values that the weights were trained with, by the fields of `ViTSize`.
        source: The file of the weights.
    """
    size = size_of(model)
    if size is None:
        return  # of another kind, as the names will show
    for name, value in expected.items():
        has = getattr(size, name)
        is_alike = name == "norm_eps" and max(has, float(value)) < _ALIKE_EPS
        if has != value and not is_alike:
            key = f"MODEL.VIT.{name.upper()}"
            raise ValueError(
                f"{source} was trained with {key} {value}, the model has {has}: set {key} {value}, "
                "or a MODEL.BACKBONE that stands for it"
            )


def _hub_config(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return the config of the vision model in a folder of Hugging Face; {} elsewhere."""
    config = hub_said(content)[0]
    vision = config.get("vision_config")
    return vision | {"model_type": "clip"} if isinstance(vision, dict) else config


def _eps(told: Mapping[str, Any], default: float) -> dict[str, Any]:
    eps = told.get("layer_norm_eps", default)
    return {"norm_eps": eps if isinstance(eps, (int, float)) else default}


def _activation(told: Mapping[str, Any]) -> dict[str, Any]:
    act = told.get("hidden_act")
    return {"activation": _ACTIVATIONS.get(act, act)} if isinstance(act, str) else {}


def _side(size: Any) -> int:
    """Return the side of frames in a preprocessor's words; 0 where they are none."""
    if isinstance(size, dict):
        size = size.get("shortest_edge") or size.get("height")
    return size if type(size) is int else 0
