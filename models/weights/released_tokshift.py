"""The parameter names of the TokShift release, and its optimizer's momentum, to ours and back."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from models.weights import State

_PREFIX = "base_model."
_MARKS = ("base_model.transformer.", "base_model.head.")
_NAMES = (  # (ours, released), of the parts outside the blocks
    ("pos_embed", "transformer.embeddings.position_embeddings"),
    ("cls_token", "transformer.embeddings.cls_token"),
    ("patch_embed.proj.weight", "transformer.embeddings.patch_embeddings.weight"),
    ("patch_embed.proj.bias", "transformer.embeddings.patch_embeddings.bias"),
    ("norm.weight", "transformer.encoder.encoder_norm.weight"),
    ("norm.bias", "transformer.encoder.encoder_norm.bias"),
    ("head.weight", "head.weight"),
    ("head.bias", "head.bias"),
)
_LAYERS = (  # (ours, released), inside a block; in the order of the released state dict
    ("norm1", ("attention_norm",)),
    ("norm2", ("ffn_norm",)),
    ("mlp.fc1", ("ffn.fc1",)),
    ("mlp.fc2", ("ffn.fc2",)),
    ("attn.qkv", ("attn.query", "attn.key", "attn.value")),
    ("attn.proj", ("attn.out",)),
)


def is_released(names: Iterable[str]) -> bool:
    """Tell whether a state dict has the release's names, with or without ``module.``."""
    return any(name.removeprefix("module.").startswith(_MARKS) for name in names)


def from_released(state: Mapping[str, Tensor]) -> State:
    """Rename the release's tensors, ``base_model.*``, to ours; query, key and value become one.

    Names that the release does not have are kept, to be reported as left over.
    """
    rest = {name.removeprefix(_PREFIX): value for name, value in state.items()}
    ours: State = {}
    for name, parts in _parts(_num_layers(rest)):
        if all(part in rest for part in parts):
            ours[name] = torch.cat([rest.pop(part) for part in parts])
    return ours | rest


def to_released(state: Mapping[str, Tensor]) -> State:
    """Rename our tensors to the release's, ``base_model.*``, in its order; see `from_released`."""
    num_layers = len({name.split(".")[1] for name in state if name.startswith("blocks.")})
    released: State = {}
    for name, parts in _parts(num_layers):
        if name in state:
            pieces = state[name].chunk(len(parts)) if len(parts) > 1 else (state[name],)
            released |= {part: piece.clone() for part, piece in zip(parts, pieces, strict=True)}
    order = _order(num_layers)
    return {_PREFIX + name: released[name] for name in order if name in released}


def momentum_from_released(content: Mapping[str, Any], model: nn.Module) -> dict[int, Any]:
    """Return the SGD state of a released checkpoint for the parameters of our model.

    Args:
        content: A released checkpoint with ``state_dict`` and ``optimizer``.
        model: The model that the optimizer was built for.

    Returns:
        The ``state`` of our optimizer's state dict.
    """
    states = content["optimizer"]["state"]
    names = [name.removeprefix("module.") for name in content["state_dict"]]
    buffers = from_released(
        {
            name: states[index]["momentum_buffer"]
            for index, name in enumerate(names)
            if states.get(index, {}).get("momentum_buffer") is not None
        }
    )
    return {
        index: {"momentum_buffer": buffers[name]}
        for index, (name, _) in enumerate(model.named_parameters())
        if name in buffers
    }


def momentum_to_released(states: Mapping[int, Any], model: nn.Module) -> dict[int, Any]:
    """Return our SGD state for the release's parameters; inverts `momentum_from_released`."""
    names = [name for name, _ in model.named_parameters()]
    buffers = to_released(
        {
            names[index]: state["momentum_buffer"]
            for index, state in states.items()
            if state.get("momentum_buffer") is not None
        }
    )
    released = to_released(dict(model.named_parameters()))
    return {
        index: {"momentum_buffer": buffers[name]}
        for index, name in enumerate(released)
        if name in buffers
    }


def _parts(num_layers: int) -> list[tuple[str, tuple[str, ...]]]:
    """List (our name, released names that make it up)."""
    outside = [(ours, (released,)) for ours, released in _NAMES]
    inside = [
        (
            f"blocks.{layer}.{ours}.{what}",
            tuple(f"transformer.encoder.layer.{layer}.{part}.{what}" for part in released),
        )
        for layer in range(num_layers)
        for ours, released in _LAYERS
        for what in ("weight", "bias")
    ]
    return outside + inside


def _order(num_layers: int) -> list[str]:
    """List the names of the released state dict in its order, which its optimizer counts by."""
    names = [released for _, released in _NAMES]
    layers = [
        f"transformer.encoder.layer.{layer}.{part}.{what}"
        for layer in range(num_layers)
        for _, parts in _LAYERS
        for part in parts
        for what in ("weight", "bias")
    ]
    return names[:4] + layers + names[4:]


def _num_layers(names: Mapping[str, Any]) -> int:
    found = (re.match(r"transformer\.encoder\.layer\.(\d+)\.", name) for name in names)
    return max((int(match[1]) + 1 for match in found if match), default=0)
