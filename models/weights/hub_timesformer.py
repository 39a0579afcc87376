"""Hugging Face's TimeSformer: its parameter names to ours, and what its folder says of it."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from models.weights.conversion import Conversion, Table, convert, has_tensors
from models.weights.description import Description
from models.weights.embeddings import grid_side
from models.weights.found import Found
from models.weights.hub_folder import hub_classes, hub_pixels, hub_said

# Fused, unlike in its other transformers.
_MARK = re.compile(r"(timesformer\.)?encoder\.layer\.\d+\.attention\.attention\.qkv\.weight")
_NAMES: Table = (
    (r"^timesformer\.", ""),
    (r"^embeddings\.patch_embeddings\.projection\.", "patch_embed.proj."),
    (r"^embeddings\.cls_token$", "cls_token"),
    (r"^embeddings\.position_embeddings$", "pos_embed"),
    (r"^embeddings\.time_embeddings$", "time_embed"),
    (r"^encoder\.layer\.", "blocks."),
    (r"\.temporal_layernorm\.", ".temporal_norm1."),
    (r"\.temporal_attention\.attention\.qkv\.", ".temporal_attn.qkv."),
    (r"\.temporal_attention\.output\.dense\.", ".temporal_attn.proj."),
    (r"\.temporal_dense\.", ".temporal_fc."),
    (r"\.layernorm_before\.", ".norm1."),
    (r"\.layernorm_after\.", ".norm2."),
    (r"\.attention\.attention\.qkv\.", ".attn.qkv."),
    (r"\.attention\.output\.dense\.", ".attn.proj."),
    (r"\.intermediate\.dense\.", ".mlp.fc1."),
    (r"\.output\.dense\.", ".mlp.fc2."),  # behind the two attentions' of the same end
    (r"^layernorm\.", "norm."),
    (r"^classifier\.", "head."),
)
_ATTENTIONS = {
    "divided_space_time": "divided",
    "joint_space_time": "joint",
    "space_only": "space_only",
}
_CHOICES = {  # what its code can do and ours cannot: key, the values that are here
    "hidden_act": ("gelu", "quick_gelu"),
    "num_channels": (3,),
    "attention_type": tuple(_ATTENTIONS),
}
_SIZES = {
    "patch_size": "MODEL.VIT.PATCH_SIZE",
    "hidden_size": "MODEL.VIT.HIDDEN_SIZE",
    "intermediate_size": "MODEL.VIT.MLP_DIM",
    "num_attention_heads": "MODEL.VIT.NUM_HEADS",
    "num_hidden_layers": "MODEL.VIT.NUM_LAYERS",
    "qkv_bias": "MODEL.VIT.QKV_BIAS",
    "layer_norm_eps": "MODEL.VIT.NORM_EPS",
    "hidden_act": "MODEL.VIT.ACTIVATION",
    "hidden_dropout_prob": "MODEL.VIT.DROPOUT",
    "drop_path_rate": "MODEL.DROP_PATH",
    "num_frames": "DATA.NUM_FRAMES",
}
_DEFAULTS = {  # of its class, which a config may leave out
    "patch_size": 16,
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_attention_heads": 12,
    "num_hidden_layers": 12,
    "qkv_bias": True,
    "layer_norm_eps": 1e-6,
    "hidden_act": "gelu",
    "num_channels": 3,
    "hidden_dropout_prob": 0.0,
    "drop_path_rate": 0.0,
    "num_frames": 8,
    "image_size": 224,
    "attention_type": "divided_space_time",
}
_PIXELS = ([0.45] * 3, [0.225] * 3)  # of Meta's weights, all that are published
_MODEL_TYPE = "timesformer"


def is_hub_timesformer(names: Iterable[str]) -> bool:
    """Tell whether names are those of a TimeSformer of Hugging Face, with or without a head."""
    return any(_MARK.fullmatch(name) for name in names)


def from_hub_timesformer(found: Found) -> Conversion:
    """Rename the tensors; none is turned or joined."""
    return convert(found.tensors, _NAMES, found.source)


def describe_hub_timesformer(found: Found) -> Description | None:
    """Return what the folder says of the network, else what the weights show.

    Raises:
        ValueError: The network computes what no model here does.
    """
    config, preprocessor = hub_said(found.content)
    state = from_hub_timesformer(found).state
    needed = {"patch_embed.proj.weight": 4, "pos_embed": 3, "blocks.0.mlp.fc1.weight": 2}
    if not has_tensors(state, needed):
        return None
    if config.get("model_type") != _MODEL_TYPE:
        said = _of_weights(state)
    else:
        said = _of_config(config, found.source)
    if has_tensors(state, {"head.weight": 2}):
        said.values["MODEL.NUM_CLASSES"] = K = state["head.weight"].shape[0]
        said.class_names = hub_classes(config, K)
    said.values["TEST.AVERAGE_LOGITS"] = False
    pixels = hub_pixels(preprocessor)
    if pixels is None:
        said.notes.append("no preprocessor_config.json lies beside it: Meta's pixels count")
    said.values["DATA.PIXEL_MEAN"], said.values["DATA.PIXEL_STD"] = pixels or _PIXELS
    return said


def _of_config(config: Mapping[str, Any], source: str) -> Description:
    config = {**_DEFAULTS, **config}
    for key, values in _CHOICES.items():
        if config[key] not in values:
            raise ValueError(
                f"{source}: {key} is {config[key]!r} in its config.json; of a timesformer here it "
                f"is one of {values}"
            )
    return Description(
        {
            "MODEL.NAME": "timesformer",
            "MODEL.BACKBONE": "custom",
            **{ours: config[theirs] for theirs, ours in _SIZES.items()},
            "MODEL.TIMESFORMER.ATTENTION": _ATTENTIONS[config["attention_type"]],
            "DATA.IMAGE_SIZE": config["image_size"],
            "DATA.TEST_SHORT_SIDE": config["image_size"],
        }
    )


def _of_weights(state: Mapping[str, Any]) -> Description:
    C, _, patch_size, _ = state["patch_embed.proj.weight"].shape
    size = grid_side(state["pos_embed"].shape[1]) * patch_size
    is_divided = any(".temporal_attn." in name for name in state)
    is_joint = not is_divided and "time_embed" in state
    said = Description(
        {
            "MODEL.NAME": "timesformer",
            "MODEL.BACKBONE": "custom",
            "MODEL.VIT.PATCH_SIZE": patch_size,
            "MODEL.VIT.HIDDEN_SIZE": C,
            "MODEL.VIT.MLP_DIM": state["blocks.0.mlp.fc1.weight"].shape[0],
            "MODEL.VIT.NUM_LAYERS": len({n.split(".")[1] for n in state if n[:7] == "blocks."}),
            "MODEL.VIT.QKV_BIAS": "blocks.0.attn.qkv.bias" in state,
            "MODEL.TIMESFORMER.ATTENTION": (
                "divided" if is_divided else "joint" if is_joint else "space_only"
            ),
            "DATA.IMAGE_SIZE": size,
            "DATA.TEST_SHORT_SIDE": size,
        },
        lacking={"MODEL.VIT.NUM_HEADS": "num_attention_heads, in the config.json of its folder"},
    )
    if "time_embed" in state:
        said.values["DATA.NUM_FRAMES"] = state["time_embed"].shape[1]
    else:
        said.lacking["DATA.NUM_FRAMES"] = "num_frames, in the config.json of its folder"
    return said
