"""What a ViT computes and its tensors do not show: told by the file, or by who made such files."""

from collections.abc import Mapping
from typing import Any

from torch import nn

from models.vit import ViTSize
from models.weights import State
from models.weights.description import Description
from models.weights.embeddings import is_square

_ACTIVATIONS = {"gelu": "gelu", "quick_gelu": "quick_gelu", "silu": "swiglu", "swiglu": "swiglu"}
_ALIKE_EPS = 2e-6  # Hugging Face's 1e-12 against 1e-6 changes outputs by 6e-6
_OPENAI_ALONE = "input_resolution"  # OpenAI's own files of CLIP have it
_NO_HEAD = "the file has no classifier, and says no number of classes"


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


def describe_vit(
    tensors: Mapping[str, Any], content: Mapping[str, Any], source: str
) -> Description | None:
    """Return what a folder of Hugging Face says of an image ViT; None for a file without config.

    Args:
        tensors: By the names in the file.
        content: All that the file holds.
        source: The file.
    """
    told = _hub_config(content)
    if "hidden_size" not in told or "num_attention_heads" not in told:
        return None
    said = content["hub"].get("preprocessor", {})
    heads = [name for name in ("classifier.weight", "visual_projection.weight") if name in tensors]
    values = {
        "MODEL.NAME": "vit",
        "MODEL.BACKBONE": "custom",
        **{f"MODEL.VIT.{key}": value for key, value in _options(told).items()},
        "DATA.IMAGE_SIZE": _side(said.get("crop_size")) or told.get("image_size", 224),
        "DATA.TEST_SHORT_SIDE": _side(said.get("size")) or told.get("image_size", 224),
    }
    if heads:
        values["MODEL.NUM_CLASSES"] = int(tensors[heads[0]].shape[0])
    mean, std = said.get("image_mean"), said.get("image_std")
    if mean and std:
        values |= {"DATA.PIXEL_MEAN": mean, "DATA.PIXEL_STD": std}
    labels = told.get("id2label", {})
    is_named = heads and len(labels) == values["MODEL.NUM_CLASSES"]
    return Description(
        values,
        lacking={} if heads else {"MODEL.NUM_CLASSES": _NO_HEAD},
        class_names=[str(labels[key]) for key in sorted(labels, key=int)] if is_named else [],
        notes=[] if mean else ["no preprocessor_config.json tells which pixels it was trained on"],
    )


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


def _options(told: Mapping[str, Any]) -> dict[str, Any]:
    """Return MODEL.VIT of a config of Hugging Face."""
    width, kind = told["hidden_size"], told.get("model_type", "")
    is_gated = bool(told.get("use_swiglu_ffn") or told.get("use_gated_mlp"))
    mlp = told.get("intermediate_size") or width * told.get("mlp_ratio", 4)
    if told.get("use_swiglu_ffn"):  # as DINOv2: two thirds, in steps of 8
        mlp = (int(mlp * 2 / 3) + 7) // 8 * 8
    registers = told.get("num_register_tokens", 1 if kind == "deit" else 0)
    is_rotary, is_clip = kind == "dinov3_vit", kind.startswith("clip")
    act = _ACTIVATIONS.get(told.get("hidden_act", "gelu"), told.get("hidden_act"))
    return {
        "PATCH_SIZE": told.get("patch_size", 16),
        "HIDDEN_SIZE": width,
        "MLP_DIM": int(mlp) * (2 if is_gated else 1),
        "NUM_HEADS": told["num_attention_heads"],
        "NUM_LAYERS": told.get("num_hidden_layers", 12),
        "DROPOUT": 0.0,
        "QKV_BIAS": bool(told.get("qkv_bias", told.get("query_bias", True))),
        "NORM_EPS": told.get("layer_norm_eps", 1e-5 if is_clip or is_rotary else 1e-6),
        "ACTIVATION": "swiglu" if is_gated else act,
        "PRE_NORM": is_clip,
        "LAYER_SCALE": kind.startswith("dino"),
        "NUM_REGISTERS": registers,
        "POSITIONS": "rotary" if is_rotary else "patches" if registers else "all",
        "POS_RESIZE": "dinov2" if kind == "dinov2" else "bicubic",
    }


def check_computation(model: nn.Module, expected: Mapping[str, Any], source: str) -> None:
    """Raise ValueError where a ViT of ours computes otherwise than its weights were trained for.

    Args:
        model: Any; one of another kind is refused elsewhere.
        expected: By the fields of `ViTSize`.
        source: Of the weights.
    """
    size = getattr(model, "size", None)
    if not isinstance(size, ViTSize):
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
