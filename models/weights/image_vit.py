"""Image ViTs from elsewhere: Google's ``.npz`` (arXiv:2010.11929), timm's and torchvision's names.

timm's names are ours.
"""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from models.weights import State
from models.weights.npz_file import read_arrays

_NPZ_ATTENTION = "MultiHeadDotProductAttention_1"
_TORCHVISION_BLOCK = re.compile(r"encoder\.layers\.encoder_layer_(\d+)\.")
_TORCHVISION_NAMES = (  # the beginning of a name, outside and inside a block; ours
    ("class_token", "cls_token"),
    ("encoder.pos_embedding", "pos_embed"),
    ("conv_proj.", "patch_embed.proj."),
    ("encoder.ln.", "norm."),
    ("heads.head.", "head."),
    ("heads.pre_logits.", "pre_logits."),
    ("ln_1.", "norm1."),
    ("ln_2.", "norm2."),
    ("self_attention.in_proj_", "attn.qkv."),
    ("self_attention.out_proj.", "attn.proj."),
    ("mlp.0.", "mlp.fc1."),
    ("mlp.3.", "mlp.fc2."),
    ("mlp.linear_1.", "mlp.fc1."),  # before torchvision 0.14
    ("mlp.linear_2.", "mlp.fc2."),
)


def read_npz(path: str | Path) -> dict[str, np.ndarray]:
    """Return the arrays of a ``.npz`` file by their names, parts of which are split by ``/``.

    Raises:
        ValueError: The file is unreadable.
    """
    try:
        return {name.replace("\\", "/"): array for name, array in read_arrays(path).items()}
    except ValueError as error:
        raise ValueError(f"{path} is not a readable .npz file: {error}") from error


def from_npz(arrays: Mapping[str, np.ndarray], source: str) -> tuple[State, list[str]]:
    """Return a Flax ViT's weights under our names, and the names left out: those of its head.

    Raises:
        ValueError: The arrays of the source are those of another model.
    """
    ignored = [name for name in arrays if name.split("/")[0] in ("head", "pre_logits")]
    kept = {name: array for name, array in arrays.items() if name not in ignored}
    try:
        return _from_npz(kept), ignored
    except KeyError as error:
        raise ValueError(f"{source} is not an ImageNet-21k ViT: it has no {error}") from error
    except (ValueError, IndexError) as error:
        raise ValueError(f"{source} is not an ImageNet-21k ViT: {error}") from error


def is_torchvision(names: Iterable[str]) -> bool:
    """Tell whether a state dict is that of a ViT of torchvision."""
    return any(_TORCHVISION_BLOCK.match(name) for name in names)


def from_torchvision(state: Mapping[str, Tensor]) -> State:
    """Rename the tensors of torchvision's ViT to ours; others are kept, to be left over."""
    return {_from_torchvision(name): value for name, value in state.items()}


def without_unused(state: Mapping[str, Tensor]) -> tuple[State, list[str]]:
    """Leave out what belongs to a pretraining alone; return the rest and the names left out.

    That is the mask token, and the layer ``pre_logits`` with the head that was trained behind it.
    """
    unused: tuple[str, ...] = ("mask_token", "pre_logits.")
    if any(name.startswith("pre_logits.") for name in state):
        unused += ("head.",)
    ignored = [name for name in state if name.startswith(unused)]
    return {name: value for name, value in state.items() if name not in ignored}, ignored


def _from_torchvision(name: str) -> str:
    match = _TORCHVISION_BLOCK.match(name)
    block = f"blocks.{match[1]}." if match else ""
    rest = name[match.end() :] if match else name
    for theirs, ours in _TORCHVISION_NAMES:
        if rest.startswith(theirs):
            return block + ours + rest.removeprefix(theirs)
    return name


def _from_npz(arrays: dict[str, np.ndarray]) -> State:
    """Rename and turn the arrays of a Flax ViT; kernels are (in, out), convolutions HWIO."""
    state = {
        "cls_token": arrays.pop("cls"),
        "pos_embed": arrays.pop("Transformer/posembed_input/pos_embedding"),
        "patch_embed.proj.weight": arrays.pop("embedding/kernel").transpose(3, 2, 0, 1),  # OIHW
        "patch_embed.proj.bias": arrays.pop("embedding/bias"),
        "norm.weight": arrays.pop("Transformer/encoder_norm/scale"),
        "norm.bias": arrays.pop("Transformer/encoder_norm/bias"),
    }
    layer = 0
    while f"Transformer/encoderblock_{layer}/LayerNorm_0/scale" in arrays:
        source, target = f"Transformer/encoderblock_{layer}/", f"blocks.{layer}."
        for ours, theirs in (("norm1", "LayerNorm_0"), ("norm2", "LayerNorm_2")):
            state[f"{target}{ours}.weight"] = arrays.pop(f"{source}{theirs}/scale")
            state[f"{target}{ours}.bias"] = arrays.pop(f"{source}{theirs}/bias")
        for ours, theirs in (("fc1", "Dense_0"), ("fc2", "Dense_1")):
            state[f"{target}mlp.{ours}.weight"] = arrays.pop(
                f"{source}MlpBlock_3/{theirs}/kernel"
            ).T
            state[f"{target}mlp.{ours}.bias"] = arrays.pop(f"{source}MlpBlock_3/{theirs}/bias")
        state |= _attention_from_npz(arrays, f"{source}{_NPZ_ATTENTION}/", f"{target}attn.")
        layer += 1
    tensors = {name: torch.from_numpy(np.ascontiguousarray(a)) for name, a in state.items()}
    return tensors | {name: torch.from_numpy(array) for name, array in arrays.items()}


def _attention_from_npz(
    arrays: dict[str, np.ndarray], source: str, target: str
) -> dict[str, np.ndarray]:
    """Fuse query, key and value, (D, heads, D/heads) each; the output kernel is (heads, ., D)."""
    kernels = [arrays.pop(f"{source}{part}/kernel") for part in ("query", "key", "value")]
    biases = [arrays.pop(f"{source}{part}/bias") for part in ("query", "key", "value")]
    out = arrays.pop(f"{source}out/kernel")
    return {
        f"{target}qkv.weight": np.concatenate([k.reshape(k.shape[0], -1).T for k in kernels]),
        f"{target}qkv.bias": np.concatenate([bias.ravel() for bias in biases]),
        f"{target}proj.weight": out.reshape(-1, out.shape[-1]).T,
        f"{target}proj.bias": arrays.pop(f"{source}out/bias"),
    }
