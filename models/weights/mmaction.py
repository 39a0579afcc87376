"""The parameter names of MMAction2's ResNets, TSN and TSM, and of its TimeSformers, to ours."""

import re
from collections.abc import Iterable

from torch import nn

from models.resnet_tsm import ResNetTSM
from models.weights.conversion import Conversion, Table, convert, has_tensors
from models.weights.description import Description
from models.weights.found import Found
from models.weights.mmaction_config import (
    describe_resnet_tsm,
    describe_timesformer,
    non_local_mode,
    read_model_config,
)

_RESNET = re.compile(r"layer1\.(?:net\.)?0\.(?:(?:net|block)\.)*conv1\.conv\.(?:net\.)?weight")
_TIMESFORMER = re.compile(r"transformer_layers\.layers\.0\.attentions\.0\.attn\.in_proj_weight")
# Of a data preprocessor, in files of before 2023.
_LEFT_OUT = r"data_preprocessor\.(mean|std)$"
_RESNET_NAMES: Table = (
    # the wrappers of a temporal pool, of the two placements of the shift, of a non-local block
    (r"^(layer2\.)net\.", r"\1"),
    (r"^(layer\d\.\d+\.)(?:(?:net|block)\.)+", r"\1"),
    (r"\.conv\.net\.", ".conv."),
    (r"^conv1\.conv\.", "conv1."),
    (r"^conv1\.bn\.", "bn1."),
    (r"\.conv(\d)\.conv\.", r".conv\1."),
    (r"\.conv(\d)\.bn\.", r".bn\1."),
    (r"\.downsample\.conv\.", ".downsample.0."),
    (r"\.downsample\.bn\.", ".downsample.1."),
    (r"\.non_local_block\.(g|phi)(?:\.0)?\.conv\.", r".non_local.\1."),
    (r"\.non_local_block\.theta\.conv\.", ".non_local.theta."),
    (r"\.non_local_block\.conv_out\.conv\.", ".non_local.out."),
    (r"\.non_local_block\.conv_out\.bn\.", ".non_local.norm."),
    (r"^cls_head\.fc_cls\.", "fc."),
)
_TIMESFORMER_NAMES: Table = (
    (r"^patch_embed\.projection\.", "patch_embed.proj."),
    (r"^transformer_layers\.layers\.", "blocks."),
    (r"\.ffns\.0\.layers\.0\.0\.", ".mlp.fc1."),
    (r"\.ffns\.0\.layers\.1\.", ".mlp.fc2."),
    (r"\.ffns\.0\.norm\.", ".norm2."),
    (r"attn\.in_proj_(weight|bias)$", r"attn.qkv.\1"),
    (r"attn\.out_proj\.", "attn.proj."),
    (r"^cls_head\.fc_cls\.", "head."),
)
# `attentions.0` attends along time in a divided model, and within frames in the others.
_DIVIDED: Table = (
    (r"\.attentions\.0\.norm\.", ".temporal_norm1."),
    (r"\.attentions\.0\.attn\.", ".temporal_attn."),
    (r"\.attentions\.0\.temporal_fc\.", ".temporal_fc."),
    (r"\.attentions\.1\.norm\.", ".norm1."),
    (r"\.attentions\.1\.attn\.", ".attn."),
)
_UNDIVIDED: Table = (
    (r"\.attentions\.0\.attn\.", ".attn."),
    (r"\.norms\.0\.", ".norm1."),
    (r"\.norms\.1\.", ".norm2."),
)
_AVERAGED = "ema_state_dict"


def is_resnet(names: Iterable[str]) -> bool:
    """Tell whether names are those of a ResNet of MMAction2."""
    return any(_RESNET.fullmatch(name) for name in names)


def is_timesformer(names: Iterable[str]) -> bool:
    """Tell whether names are those of a TimeSformer of MMAction2."""
    return any(_TIMESFORMER.fullmatch(name) for name in names)


def shift_placement(names: Iterable[str]) -> str:
    """Return where the shift of a ResNet is placed, "" where there is none."""
    held = [*names]
    if any(".conv1.conv.net." in name for name in held):
        return "blockres"
    is_block = any(re.match(r"layer[134]\.\d+\.(block\.)?net\.", name) for name in held)
    return "block" if is_block else ""


def from_resnet(found: Found) -> Conversion:
    """Rename the tensors of a ResNet; the last convolution of its non-local blocks has no bias.

    Raises:
        ValueError: The network is another one than ours, with the same names.
    """
    tensors = found.tensors
    if any(value.dim() == 5 for name, value in tensors.items() if "non_local" not in name):
        raise ValueError(f"{found.source} holds a 3-D ResNet of MMAction2; TSN and TSM are here")
    if any(".non_local_block.g.conv." in name for name in tensors):
        raise ValueError(
            f"{found.source} holds non-local blocks of MMAction2 whose keys and values are not "
            "pooled (sub_sample False), which no model here computes"
        )
    made = convert(tensors, _RESNET_NAMES, found.source, _LEFT_OUT)
    for name, weight in list(made.state.items()):
        if name.endswith(".non_local.out.weight"):
            bias = name.replace(".weight", ".bias")
            if bias not in made.state:
                made.state[bias] = weight.new_zeros(weight.shape[0])
                made.filled[bias] = "zeros: this convolution of MMAction2's has no bias"
    return _with_average_noted(made, found)


def from_timesformer(found: Found) -> Conversion:
    """Rename the tensors of a TimeSformer, whichever attention it has."""
    is_divided = any(".attentions.1." in name for name in found.tensors)
    table = (*(_DIVIDED if is_divided else _UNDIVIDED), *_TIMESFORMER_NAMES)
    return _with_average_noted(convert(found.tensors, table, found.source, _LEFT_OUT), found)


def describe_resnet(found: Found) -> Description | None:
    """Return what a file says of its ResNet; see `Description`."""
    state, config = from_resnet(found).state, read_model_config(found.content)
    if not has_tensors(state, {"conv1.weight": 4}):
        return None
    return describe_resnet_tsm(state, shift_placement(found.tensors), config, found.source)


def describe_transformer(found: Found) -> Description | None:
    """Return what a file says of its TimeSformer; see `Description`."""
    state = from_timesformer(found).state
    needed = {"patch_embed.proj.weight": 4, "pos_embed": 3, "blocks.0.mlp.fc1.weight": 2}
    if not has_tensors(state, needed):
        return None
    return describe_timesformer(state, read_model_config(found.content), found.source)


def check_non_local(model: nn.Module, found: Found) -> None:
    """Make sure that non-local blocks compute in the model what they were trained to.

    Two of their kinds have the same names and shapes.

    Raises:
        ValueError: The model's kind is another, or neither file nor model say which it is.
    """
    is_non_local = isinstance(model, ResNetTSM) and model.options.non_local
    if not is_non_local or not any(".non_local_block." in name for name in found.tensors):
        return
    assert isinstance(model, ResNetTSM)
    theirs = non_local_mode(from_resnet(found).state, read_model_config(found.content))
    ours, key = model.options.non_local_mode, "MODEL.TSM.NON_LOCAL_MODE"
    if not theirs and not ours:
        raise ValueError(
            f"{found.source} does not say what its non-local blocks compute: set {key} "
            "embedded_gaussian or dot_product"
        )
    if theirs and theirs != (ours or "embedded_gaussian"):
        raise ValueError(
            f"the non-local blocks of {found.source} are of MMAction2's mode {theirs}; the "
            f"model's are {ours or 'embedded_gaussian'}: set {key} {theirs}"
        )


def _with_average_noted(made: Conversion, found: Found) -> Conversion:
    if _AVERAGED in found.content:
        made.notes.append(
            f"its state_dict is the average already; {_AVERAGED} has the weights that are not"
        )
    return made
