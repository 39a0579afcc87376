"""Image ViTs under the names of other libraries, a table each; timm's names are ours.

CLIP is OpenAI's, open_clip's and Hugging Face's; DINOv2 and DINOv3 are facebookresearch's and
Hugging Face's; ViT, DeiT and MAE Hugging Face's.
"""

import re
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from models.weights import State
from models.weights.conversion import Conversion, Table, convert
from models.weights.embeddings import is_square
from models.weights.image_vit import without_unused

_TIMM: Table = (
    (r"^blocks\.\d+\.(\d+)\.", r"blocks.\1."),  # DINOv2 trains in chunks of blocks
    (r"^(register|storage)_tokens$", "reg_token"),
    (r"\.gamma_([12])$", r".ls\1.gamma"),
    (r"\.attn\.([qv])_bias$", r".attn.\1.bias"),
    (r"\.mlp\.w12\.", ".mlp.fc1."),
    (r"\.mlp\.w3\.", ".mlp.fc2."),
    (r"\.mlp\.(w1|fc1_g)\.", ".mlp.gate."),
    (r"\.mlp\.(w2|fc1_x)\.", ".mlp.up."),
    (r"^linear_head\.", "head."),  # of facebookresearch's classifiers, dinov2_vitb14_lc say
)
_OF_TRAINING = r"decoder_|dino_head\.|ibot_head\.|rope_embed\.|local_cls_norm\.|.*\.bias_mask$"
_OPENAI_CLIP: Table = (
    (r"^visual\.", ""),
    (r"^class_embedding$", "cls_token"),
    (r"^positional_embedding$", "pos_embed"),
    (r"^conv1\.", "patch_embed.proj."),
    (r"^ln_pre\.", "norm_pre."),
    (r"^transformer\.resblocks\.(\d+)\.", r"blocks.\1."),
    (r"\.ln_([12])\.", r".norm\1."),
    (r"\.attn\.in_proj_", ".attn.qkv."),
    (r"\.attn\.out_proj\.", ".attn.proj."),
    (r"\.mlp\.c_fc\.", ".mlp.fc1."),
    (r"\.mlp\.c_proj\.", ".mlp.fc2."),
    (r"^ln_post\.", "norm."),
)
_HUGGING_FACE_CLIP: Table = (
    (r"^vision_model\.", ""),
    (r"^embeddings\.class_embedding$", "cls_token"),
    (r"^embeddings\.position_embedding\.weight$", "pos_embed"),
    (r"^embeddings\.patch_embedding\.", "patch_embed.proj."),
    (r"^pre_layrnorm\.", "norm_pre."),  # sic
    (r"^encoder\.layers\.(\d+)\.", r"blocks.\1."),
    (r"\.layer_norm([12])\.", r".norm\1."),
    (r"\.self_attn\.([qkv])_proj\.", r".attn.\1."),
    (r"\.self_attn\.out_proj\.", ".attn.proj."),
    (r"^post_layernorm\.", "norm."),
    (r"^visual_projection\.", "head."),
)
_TEXT_OF_CLIP = (
    r"text_model\.|text_projection|logit_scale|(vision_model\.)?embeddings\.position_ids"
)
_HUGGING_FACE: Table = (  # in files, and in the memory of transformers 5
    (r"^(vit|deit|dinov2|dinov2_with_registers|dinov3_vit)\.", ""),
    (r"^embeddings\.position_embeddings$", "pos_embed"),
    (r"^embeddings\.(register_tokens|distillation_token)$", "reg_token"),
    (r"^embeddings\.patch_embeddings\.(projection\.)?", "patch_embed.proj."),
    (r"^embeddings\.", ""),
    (r"^(encoder\.layer|layers|layer)\.(\d+)\.", r"blocks.\2."),
    (r"\.layernorm_before\.", ".norm1."),
    (r"\.layernorm_after\.", ".norm2."),
    (r"\.attention\.attention\.([qkv])(uery|ey|alue)\.", r".attn.\1."),
    (r"\.attention\.([qkv])_proj\.", r".attn.\1."),
    (r"\.attention\.(output\.dense|o_proj)\.", ".attn.proj."),
    (r"\.(intermediate\.dense|mlp\.weights_in)\.", ".mlp.fc1."),
    (r"\.mlp\.(gate|up)_proj\.", r".mlp.\1."),
    (r"(?<=\d)\.(output\.dense|mlp\.weights_out|mlp\.down_proj)\.", ".mlp.fc2."),
    (r"\.layer_scale([12])\.lambda1$", r".ls\1.gamma"),
    (r"^layernorm\.", "norm."),
    (r"^classifier\.", "head."),
)
_NOT_IN_VIT = r"((vit|deit)\.)?pooler\.|decoder\.|(\w+\.)?embeddings\.mask_token$"
_HUGGING_FACE_VIT = re.compile(
    r"((vit|deit|dinov2|dinov2_with_registers|dinov3_vit)\.)?embeddings\.cls_token"
)
_PART = re.compile(r"(.*\.)(attn\.[qkv]|mlp\.(?:gate|up))\.(weight|bias)$")
_WHOLES = {"attn.qkv": ("attn.q", "attn.k", "attn.v"), "mlp.fc1": ("mlp.gate", "mlp.up")}


def is_openai_clip(names: Iterable[str]) -> bool:
    """Tell whether a state dict is a CLIP of OpenAI or open_clip, whole or its images' part."""
    return any(name in ("visual.class_embedding", "class_embedding") for name in names)


def is_clip_on_timm(names: Iterable[str]) -> bool:
    """Tell whether a state dict is an open_clip whose images' part is a ViT of timm."""
    return "visual.trunk.cls_token" in names


def is_hugging_face_clip(names: Iterable[str]) -> bool:
    """Tell whether a state dict is a CLIP of Hugging Face, whole or its images' part."""
    return any(name.endswith("embeddings.class_embedding") for name in names)


def is_hugging_face_vit(names: Iterable[str]) -> bool:
    """Tell whether a state dict is a ViT, DeiT, DINOv2 or DINOv3 of Hugging Face."""
    held = [*names]
    is_video = any("time_embeddings" in n or ".attention.attention.qkv." in n for n in held)
    return not is_video and any(_HUGGING_FACE_VIT.fullmatch(name) for name in held)


def is_dinov3(names: Iterable[str]) -> bool:
    """Tell whether a state dict is a DINOv3 of timm or facebookresearch."""
    held = {*names}
    has_registers = not {"reg_token", "storage_tokens"}.isdisjoint(held)
    return has_registers and "cls_token" in held and "pos_embed" not in held


def from_timm(state: Mapping[str, Tensor], source: str = "") -> Conversion:
    """Return what is left of timm's and facebookresearch's names under ours.

    Raises:
        ValueError: Two tensors would have one name.
    """
    made = _joined(convert(state, _TIMM, source, _OF_TRAINING))
    made.state, unused = without_unused(made.state)
    made.ignored += unused
    if any(name.endswith(".bias_mask") for name in state):
        _without_key_bias(made)
    # timm's registers, of another name, stand behind positions that are folded already
    return _folded(made, num_positions=1) if "register_tokens" in state else made


def from_openai_clip(state: Mapping[str, Tensor], source: str = "") -> Conversion:
    """Return the images' part of a CLIP of OpenAI or open_clip under our names; else as above."""
    is_whole = any(name.startswith("visual.") for name in state)
    made = convert(state, _OPENAI_CLIP, source, r"(?!visual\.)" if is_whole else None)
    projection = made.state.pop("proj", None)
    if projection is not None:  # x @ proj
        made.state["head.weight"] = projection.T.contiguous()
        made.renamed.pop("proj", None)
        made.renamed["head.weight"] = "visual.proj, transposed" if is_whole else "proj, transposed"
    return _with_head_bias(_in_our_shapes(made))


def from_clip_on_timm(state: Mapping[str, Tensor], source: str = "") -> Conversion:
    """Return the images' part of an open_clip on a ViT of timm under our names; else as above."""
    return convert(state, [(r"^visual\.trunk\.", ""), *_TIMM], source, r"(?!visual\.trunk\.)")


def from_hugging_face_clip(state: Mapping[str, Tensor], source: str = "") -> Conversion:
    """Return the images' part of a CLIP of Hugging Face under our names; else as above."""
    made = _joined(convert(state, _HUGGING_FACE_CLIP, source, _TEXT_OF_CLIP))
    return _with_head_bias(_in_our_shapes(made))


def from_hugging_face_vit(state: Mapping[str, Tensor], source: str = "") -> Conversion:
    """Return a ViT, DeiT, DINOv2 or DINOv3 of Hugging Face under our names; else as above.

    The distillation token of a DeiT, which its classifier does not see, is a register.
    """
    made = _joined(convert(state, _HUGGING_FACE, source, _NOT_IN_VIT))
    is_distilled = any(name.endswith("distillation_token") for name in state)
    return _folded(made, num_positions=2 if is_distilled else 1)


def with_zero_biases(model: nn.Module, state: State) -> tuple[State, str]:
    """Fill up the biases of queries, keys and values that timm left out, being zero (DINOv3)."""
    lacking = {
        name: torch.zeros_like(value)
        for name, value in model.state_dict().items()
        if name.endswith("qkv.bias") and name not in state
    }
    is_file_s = not lacking or any(name.endswith("qkv.bias") for name in state)
    if is_file_s:
        return state, ""
    return state | lacking, f"zero-filled, not in the file: {len(lacking)} x attn.qkv.bias"


def _joined(made: Conversion) -> Conversion:
    """Join queries, keys and values, gates and what they gate; keys without biases get zeros."""
    parts = {name: match for name in made.state if (match := _PART.fullmatch(name))}
    for match in parts.values():
        whole = next(whole for whole, of in _WHOLES.items() if match[2] in of)
        ours = f"{match[1]}{whole}.{match[3]}"
        names = [f"{match[1]}{part}.{match[3]}" for part in _WHOLES[whole]]
        there = [name for name in names if name in made.state]
        if ours in made.state or not there:
            continue
        values = [made.state.pop(name) for name in there]
        theirs = [made.renamed.pop(name, name) for name in there]
        if len(there) == 2 and len(names) == 3 and match[3] == "bias" and names[1] not in there:
            values.insert(1, torch.zeros_like(values[0]))
            made.filled[ours] = "zeros, in the part of the keys"
        if len(values) == 1:  # an MLP that is not gated
            made.renamed[ours] = theirs[0]
        else:
            made.fused[ours] = theirs
        made.state[ours] = torch.cat(values)
    return made


def _folded(made: Conversion, num_positions: int) -> Conversion:
    """Add the positions of class token and registers to them, where registers stand behind it.

    Args:
        made: Weights under our names.
        num_positions: Number of tokens before the patches that have a position.
    """
    positions, registers = made.state.get("pos_embed"), made.state.get("reg_token")
    if positions is None or registers is None or not is_square(positions.shape[1] - num_positions):
        return made
    own, made.state["pos_embed"] = positions[:, :num_positions], positions[:, num_positions:]
    own = own.float()  # of files of half precision the sums are not rounded
    made.state["cls_token"] = made.state["cls_token"] + own[:, :1]
    if num_positions > 1:
        made.state["reg_token"] = registers + own[:, 1:]
    made.notes.append(
        f"the positions of the first {num_positions} tokens were added to cls_token"
        + (" and reg_token" if num_positions > 1 else "")
    )
    return made


def _without_key_bias(made: Conversion) -> None:
    """Set the biases of the keys to zero, which facebookresearch's DINOv3 masks."""
    for name, value in made.state.items():
        if name.endswith("attn.qkv.bias"):
            query, key, value_ = value.chunk(3)
            made.state[name] = torch.cat([query, torch.zeros_like(key), value_])
            made.filled[name] = "zeros, in the part of the keys, as masked there"


def _in_our_shapes(made: Conversion) -> Conversion:
    """Give class token (C) and positions (N, C) a batch of one."""
    for name, num_dims in (("cls_token", 3), ("pos_embed", 3)):
        value = made.state.get(name)
        if value is not None and value.dim() < num_dims:
            made.state[name] = value.reshape(*[1] * (num_dims - value.dim()), *value.shape)
    return made


def _with_head_bias(made: Conversion) -> Conversion:
    """Give a projection, which has no bias, one of zeros: it is a head of as many outputs."""
    head = made.state.get("head.weight")
    if head is not None and head.dim() == 2:
        made.state["head.bias"] = head.new_zeros(len(head))
        made.filled["head.bias"] = "zeros, the projection to the texts' space has none"
    return made
