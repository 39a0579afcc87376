"""Weights from elsewhere into our models: every tensor is accounted for, in a report.

Read are ImageNet-21k ``.npz`` files (arXiv:2010.11929); checkpoints of the TokShift and of the TSM
release, with or without ``module.``; ResNets of torchvision; TSM ``.pdparams`` of PaddleVideo; our
own checkpoints and state dicts.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from scipy import ndimage
from torch import Tensor, nn

from models.image_vit import read_npz
from models.paddle import in_order_of, read_pdparams, tsm_from_paddle
from models.released_tsm import (
    describe_released_tsm,
    describe_resnet,
    from_released_tsm,
    is_released_tsm,
    other_network,
)
from ops.checkpoint import read_checkpoint

State = dict[str, Tensor]

HEAD = ("head.weight", "head.bias", "fc.weight", "fc.bias")  # of a ViT, of a ResNet
PADDLE_TSM = "PaddleVideo .pdparams"
STUDENT = "student."  # names of the model that is kept of two that learned together
_ADDED = (".temporal.", ".non_local.")  # modules of a ResNet that an image model lacks
_RELEASED_PREFIX = "base_model."
_RELEASED_MARKS = ("base_model.transformer.", "base_model.head.")
_RELEASED_NAMES = (  # (ours, released), of the parts outside the blocks
    ("pos_embed", "transformer.embeddings.position_embeddings"),
    ("cls_token", "transformer.embeddings.cls_token"),
    ("patch_embed.proj.weight", "transformer.embeddings.patch_embeddings.weight"),
    ("patch_embed.proj.bias", "transformer.embeddings.patch_embeddings.bias"),
    ("norm.weight", "transformer.encoder.encoder_norm.weight"),
    ("norm.bias", "transformer.encoder.encoder_norm.bias"),
    ("head.weight", "head.weight"),
    ("head.bias", "head.bias"),
)
_RELEASED_LAYERS = (  # (ours, released), inside a block; in the order of the released state dict
    ("norm1", ("attention_norm",)),
    ("norm2", ("ffn_norm",)),
    ("mlp.fc1", ("ffn.fc1",)),
    ("mlp.fc2", ("ffn.fc2",)),
    ("attn.qkv", ("attn.query", "attn.key", "attn.value")),
    ("attn.proj", ("attn.out",)),
)


@dataclass
class LoadReport:
    """What became of every tensor of a file and of a model.

    Attributes:
        source: The file.
        kind: What sort of file it is.
        loaded: Names taken over as they are.
        resized: Name to how it was resized.
        reinitialised: Name to why it was set afresh.
        ignored: Names in the file that have no place in the model, and are known not to.
        notes: What else the user should know.
    """

    source: str
    kind: str
    loaded: list[str] = field(default_factory=list)
    resized: dict[str, str] = field(default_factory=dict)
    reinitialised: dict[str, str] = field(default_factory=dict)
    ignored: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        """Show the report, a line per kind of outcome."""
        lines = [f"weights from {self.source} ({self.kind}): {len(self.loaded)} tensors loaded"]
        lines += [f"  resized: {name}: {how}" for name, how in self.resized.items()]
        lines += [f"  re-initialised: {name}: {why}" for name, why in self.reinitialised.items()]
        if self.ignored:
            lines.append(f"  ignored: {', '.join(self.ignored)}")
        lines += [f"  note: {note}" for note in self.notes]
        return "\n".join(lines)


def load_weights(
    model: nn.Module, path: str | Path, head_may_differ: bool = True, drops_head: bool = False
) -> LoadReport:
    """Load the weights of a file into a model.

    A position embedding of another grid is resized. A head for other classes is zeroed in a ViT and
    left as it was drawn in a ResNet, as released.

    Args:
        model: A ViT, TokShift or TSM.
        path: ``.npz``, ``.pdparams`` or a torch file, see the module's docstring.
        head_may_differ: False makes a head that does not fit an error, and a temporal module that
            is not in the file: for testing.
        drops_head: Leave the file's head out even where it fits.

    Returns:
        The report; log it.

    Raises:
        ValueError: The file is missing, unreadable or of an unknown kind; or a tensor of the
            backbone is left over, missing or of the wrong shape.
    """
    state, kind, ignored = read_weights(path)
    report = LoadReport(str(path), kind, ignored=ignored)
    if kind == PADDLE_TSM:
        state, note = in_order_of(model, state)
        report.notes += [note] if note else []
    if drops_head:
        report.ignored += [name for name in HEAD if state.pop(name, None) is not None]
    return fit_weights(model, state, report, head_may_differ)


def read_weights(path: str | Path) -> tuple[State, str, list[str]]:
    """Read a file's weights under our names.

    Returns:
        Weights; what sort of file it is; names in it that no model of ours has.

    Raises:
        ValueError: As `load_weights`.
    """
    if str(path).endswith(".npz"):
        return read_npz(path)
    if str(path).endswith(".pdparams"):
        return tsm_from_paddle(read_pdparams(path)), PADDLE_TSM, []
    return weights_of(read_checkpoint(path), str(path))


def weights_of(content: Mapping[str, Any], source: str) -> tuple[State, str, list[str]]:
    """Return the weights in a checkpoint's content under our names; see `read_weights`."""
    kind = "state dict"
    for key in ("ema", "state_dict"):
        if isinstance(content.get(key), Mapping):
            content, kind = content[key], f"checkpoint, its {key}"
            break
    state = {
        name.removeprefix("module.").removeprefix("_orig_mod."): value
        for name, value in content.items()
        if isinstance(value, Tensor)
    }
    student = {k.removeprefix(STUDENT): v for k, v in state.items() if k.startswith(STUDENT)}
    if student:
        state, kind = student, f"{kind}, of a pair the student"
    if is_released(state):
        return from_released(state), f"released TokShift {kind}", []
    if is_released_tsm(state):
        how = describe_released_tsm(state)
        return from_released_tsm(state), f"released TSM {kind}, {how}", []
    if "cls_token" not in state and "layer1.0.bn1.weight" not in state:
        network = other_network(state)
        if network:
            raise ValueError(f"{source} holds {network}; of the TSM release only ResNets are here")
        shown = ", ".join(list(content)[:5]) or "nothing"
        raise ValueError(
            f"{source} holds no weights that this model knows: neither an ImageNet-21k .npz, nor a "
            "torchvision ResNet, nor a TokShift or TSM checkpoint, released or ours; "
            f"it holds {shown} ..."
        )
    return state, kind, []


def fit_weights(
    model: nn.Module, state: State, report: LoadReport, head_may_differ: bool = True
) -> LoadReport:
    """Put weights under our names into a model and complete the report; see `load_weights`."""
    own = model.state_dict()
    theirs, ours = describe_resnet(state), describe_resnet(own)
    if theirs != ours:
        raise ValueError(
            f"{report.source} ({report.kind}) holds {theirs or 'no ResNet'}; "
            f"the model is {ours or 'no ResNet'}"
        )
    fitted: State = {}
    faults = [f"left over: {name} {tuple(state[name].shape)}" for name in state.keys() - own.keys()]
    for name, target in own.items():
        value = state.get(name)
        if value is not None and value.shape == target.shape:
            fitted[name] = value
            report.loaded.append(name)
        elif value is not None and (resized := _resized(name, value, target)):
            fitted[name], report.resized[name] = resized
        elif value is None and name.endswith(".num_batches_tracked"):
            fitted[name] = target  # unknown to Paddle and old torch, and of no effect on ours
        elif head_may_differ and (name in HEAD or any(part in name for part in _ADDED)):
            is_zeroed = name.startswith("head.")
            fitted[name] = torch.zeros_like(target) if is_zeroed else target
            how = "zeros" if is_zeroed else "as drawn"
            report.reinitialised[name] = f"{how}, {_why_not(value, target)}"
        else:
            faults.append(f"{name}: {_why_not(value, target)}")
    if faults:
        raise ValueError(
            f"the weights of {report.source} ({report.kind}) do not fit the model:\n  "
            + "\n  ".join(sorted(faults))
        )
    model.load_state_dict(fitted)
    return report


def resize_pos_embed(pos_embed: Tensor, num_tokens: int) -> Tensor:
    """Resize the position embedding of a square grid as released: ``zoom`` of order 1.

    This is bilinear with the corners aligned; half-pixel centres cost PaddleVideo's port 3 points.

    Args:
        pos_embed: (1, 1 + side * side, C), class token first.
        num_tokens: Tokens wanted, class token included.

    Raises:
        ValueError: One of the two grids is not square.
    """
    old, new = _side(pos_embed.shape[1]), _side(num_tokens)
    grid = pos_embed[0, 1:].reshape(old, old, -1).double().numpy()
    zoomed = ndimage.zoom(grid, (new / old, new / old, 1), order=1)
    patches = torch.from_numpy(zoomed).to(pos_embed.dtype).reshape(1, new * new, -1)
    return torch.cat([pos_embed[:, :1], patches], dim=1)  # (1, 1 + new*new, C)


def is_released(names: Iterable[str]) -> bool:
    """Tell whether a state dict has the release's names, with or without ``module.``."""
    return any(name.removeprefix("module.").startswith(_RELEASED_MARKS) for name in names)


def from_released(state: Mapping[str, Tensor]) -> State:
    """Rename the release's tensors, ``base_model.*``, to ours; query, key and value become one.

    Names that the release does not have are kept, to be reported as left over.
    """
    rest = {name.removeprefix(_RELEASED_PREFIX): value for name, value in state.items()}
    ours: State = {}
    for name, parts in _released_parts(_num_released_layers(rest)):
        if all(part in rest for part in parts):
            ours[name] = torch.cat([rest.pop(part) for part in parts])
    return ours | rest


def to_released(state: Mapping[str, Tensor]) -> State:
    """Rename our tensors to the release's, ``base_model.*``, in its order; see `from_released`."""
    num_layers = len({name.split(".")[1] for name in state if name.startswith("blocks.")})
    released: State = {}
    for name, parts in _released_parts(num_layers):
        if name in state:
            pieces = state[name].chunk(len(parts)) if len(parts) > 1 else (state[name],)
            released |= {part: piece.clone() for part, piece in zip(parts, pieces, strict=True)}
    order = _released_order(num_layers)
    return {_RELEASED_PREFIX + name: released[name] for name in order if name in released}


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


def _released_parts(num_layers: int) -> list[tuple[str, tuple[str, ...]]]:
    """List (our name, released names that make it up)."""
    outside = [(ours, (released,)) for ours, released in _RELEASED_NAMES]
    inside = [
        (
            f"blocks.{layer}.{ours}.{what}",
            tuple(f"transformer.encoder.layer.{layer}.{part}.{what}" for part in released),
        )
        for layer in range(num_layers)
        for ours, released in _RELEASED_LAYERS
        for what in ("weight", "bias")
    ]
    return outside + inside


def _released_order(num_layers: int) -> list[str]:
    """List the names of the released state dict in its order, which its optimizer counts by."""
    names = [released for _, released in _RELEASED_NAMES]
    layers = [
        f"transformer.encoder.layer.{layer}.{part}.{what}"
        for layer in range(num_layers)
        for _, parts in _RELEASED_LAYERS
        for part in parts
        for what in ("weight", "bias")
    ]
    return names[:4] + layers + names[4:]


def _num_released_layers(names: Mapping[str, Any]) -> int:
    found = (re.match(r"transformer\.encoder\.layer\.(\d+)\.", name) for name in names)
    return max((int(match[1]) + 1 for match in found if match), default=0)


def _resized(name: str, value: Tensor, target: Tensor) -> tuple[Tensor, str] | None:
    """Return a tensor that can be made to fit, and how; None for one that cannot."""
    if name == "pos_embed" and value.shape[-1] == target.shape[-1]:
        grids = f"{_grid(value.shape[1])} to {_grid(target.shape[1])} patches"
        resized = resize_pos_embed(value, target.shape[1])
        return resized, f"{grids}, bilinear with aligned corners"
    if name == "conv1.weight" and value.shape[1] == 3 and value[:, 0].shape == target[:, 0].shape:
        how = f"mean over RGB for each of {target.shape[1]} input channels (TSN, arXiv:1608.00859)"
        return value.mean(1, keepdim=True).repeat(1, target.shape[1], 1, 1), how
    return None


def _why_not(value: Tensor | None, target: Tensor) -> str:
    if value is None:
        return "not in the file"
    return f"{tuple(value.shape)} in the file, {tuple(target.shape)} in the model"


def _side(num_tokens: int) -> int:
    side = round((num_tokens - 1) ** 0.5)
    if side * side != num_tokens - 1:
        raise ValueError(f"a position embedding of {num_tokens - 1} patches is not a square grid")
    return side


def _grid(num_tokens: int) -> str:
    side = _side(num_tokens)
    return f"{side}x{side}"
