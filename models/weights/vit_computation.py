"""What a ViT computes and its tensors do not show: told by the file, or by who made such files."""

import math
from collections.abc import Mapping
from typing import Any

from torch import nn

from config.backbones import CLIP, IMAGENET
from models.vit import ViTSize
from models.weights import State
from models.weights.description import Description
from models.weights.embeddings import is_square

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
    expected: dict[str, Any] = {"norm_eps": told.get("layer_norm_eps", 1e-5)}
    if _OPENAI_ALONE in content:
        expected["activation"] = "quick_gelu"
    elif "hidden_act" in told:
        expected["activation"] = _ACTIVATIONS.get(told["hidden_act"], told["hidden_act"])
    check_computation(model, expected, source)


def check_dinov3(model: nn.Module, content: Mapping[str, Any], source: str) -> None:
    """Do so for a DINOv3."""
    check_computation(model, {"norm_eps": _hub_config(content).get("layer_norm_eps", 1e-5)}, source)


def check_hugging_face(model: nn.Module, content: Mapping[str, Any], source: str) -> None:
    """Do so for a ViT, DeiT or DINOv2 whose config lies beside it."""
    told = _hub_config(content)
    expected = {"norm_eps": told["layer_norm_eps"]} if "layer_norm_eps" in told else {}
    act = _ACTIVATIONS.get(told.get("hidden_act", ""), told.get("hidden_act"))
    if act and not told.get("use_swiglu_ffn"):
        expected["activation"] = act
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
    said = content["hub"].get("preprocessor", {})
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
    mean, std = said.get("image_mean"), said.get("image_std")
    if not (mean and std):
        mean, std = _PIXELS.get(str(told["model_type"]).partition("_")[0], (None, None))
    values |= {"DATA.PIXEL_MEAN": mean, "DATA.PIXEL_STD": std} if mean else {}
    lacking = {} if mean else dict.fromkeys(("DATA.PIXEL_MEAN", "DATA.PIXEL_STD"), _NO_PIXELS)
    lacking |= {} if K else {"MODEL.NUM_CLASSES": _NO_HEAD}
    labels = told.get("id2label")
    names = [labels.get(str(label)) for label in range(K)] if isinstance(labels, dict) else []
    return Description(
        values,
        lacking=lacking,
        class_names=[] if None in names else [str(name) for name in names],
    )


def size_of(model: nn.Module) -> ViTSize | None:
    """Return sizes and options of a ViT or TimeSformer of ours; None of another model."""
    size = vars(model).get("size")
    return size if isinstance(size, ViTSize) else None


def option_advice(state: State, own: State) -> list[str]:
    """Name the keys of MODEL.VIT in which weights under our names differ from a model."""
    in_file, in_model = shown_options(state), shown_options(own)
    return [
        f"the file has {key} {value}, the model {in_model[key]}: set MODEL.VIT.{key} {value}"
        for key, value in in_file.items()
        if key in in_model and in_model[key] != value
    ]


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
    if "fc_norm.weight" in state or "norm.weight" in state:
        shown["POOL"] = "mean" if "fc_norm.weight" in state else "token"
    into, out_of = (state.get(f"blocks.0.mlp.{name}.weight") for name in ("fc1", "fc2"))
    if into is not None and out_of is not None:
        is_gated = into.shape[0] == 2 * out_of.shape[1]
        shown["ACTIVATION"] = "swiglu" if is_gated else "gelu or quick_gelu"
    return shown


def _options(state: State, told: Mapping[str, Any]) -> dict[str, Any]:
    """Return MODEL.VIT of weights and the config beside them; {} where they say too little."""
    kind = next((k for k in _UNSAID if str(told.get("model_type", "")).startswith(k)), "")
    patches, into = state.get("patch_embed.proj.weight"), state.get("blocks.0.mlp.fc1.weight")
    shown = shown_options(state)
    if not (kind and shown and patches is not None and into is not None) or patches.dim() != 4:
        return {}
    heads, eps, act = _UNSAID[kind]
    act = told.get("hidden_act", act)
    is_gated = shown.get("ACTIVATION") == "swiglu"
    return shown | {
        "PATCH_SIZE": patches.shape[-1],
        "HIDDEN_SIZE": patches.shape[0],
        "MLP_DIM": into.shape[0],
        "NUM_HEADS": told.get("num_attention_heads", heads),
        "NUM_LAYERS": len({name.split(".")[1] for name in state if name.startswith("blocks.")}),
        "DROPOUT": 0.0,
        "QKV_BIAS": "blocks.0.attn.qkv.bias" in state,
        "NORM_EPS": told.get("layer_norm_eps", eps),
        "ACTIVATION": "swiglu" if is_gated else _ACTIVATIONS.get(act, act),
        "POS_RESIZE": "dinov2" if kind == "dinov2" and not shown["NUM_REGISTERS"] else "bicubic",
    }


def check_computation(model: nn.Module, expected: Mapping[str, Any], source: str) -> None:
    """Raise ValueError where a ViT of ours computes otherwise than its weights were trained for.

    Args:
        model: Any; one of another kind is refused elsewhere.
        expected: By the fields of `ViTSize`.
        source: Of the weights.
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
    hub = content.get("hub")
    config = hub.get("config", {}) if isinstance(hub, Mapping) else {}
    vision = config.get("vision_config")
    return vision | {"model_type": "clip"} if isinstance(vision, dict) else config


def _side(size: Any) -> int:
    """Return the side of frames in a preprocessor's words; 0 where they are none."""
    if isinstance(size, dict):
        size = size.get("shortest_edge") or size.get("height")
    return size if type(size) is int else 0
